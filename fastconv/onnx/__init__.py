"""ONNX: graphs that other programs exported become modules, and networks of fastconv become ONNX files.

Both need the package ``onnx``: ``pip install "fastconv[onnx]"``.

::

    reader.py      a file, checked, as nodes and constants
    operators/     how each operator is computed, with functions of fastconv; a file per subject
    module.py      the module that runs the nodes
    exporting.py   a network, captured as a program, as a file; writer.py: its nodes and constants
    lowering/      the calls of the engine contract as nodes
    backend.py     the interface of ONNX's own tests
"""

from __future__ import annotations

from typing import Any

from ..typing import PathLike
from .exporting import export
from .module import OnnxModule
from .node import Node
from .reader import Input, read

__all__ = ["Input", "Node", "OnnxModule", "export", "load"]


def load(path: PathLike | bytes | Any) -> OnnxModule:
    """Read an ONNX file as a module, which can be run, trained and optimized for inference.

    Parameters
    ----------
    path : str, os.PathLike, bytes or onnx.ModelProto
        A file, the contents of one, or a model in memory. Opsets 7 to 28. Weights in other files are read if
        these lie in the folder of the model. Nothing in the file is executed.

    Returns
    -------
    OnnxModule
        Its parameters are the float initialisers of the graph. Types that fastconv does not have are computed
        in wider ones: float16 and bfloat16 in float32, unsigned integers beyond uint8 in int32 and int64.

    Raises
    ------
    ImportError
        The package ``onnx`` is not installed.
    FileNotFoundError
        There is no such file.
    ValueError, TypeError
        The file is damaged or not ONNX, or it has an opset, an operator or a type that is not supported; the
        message names the node.

    Examples
    --------
    >>> net = fc.onnx.load("resnet18.onnx")  # doctest: +SKIP
    >>> fc.optimize_for_inference(net)(images)  # doctest: +SKIP
    """
    return OnnxModule(read(path))
