"""fastconv as a backend of the package ``onnx``: the interface of its tests and of tools that compare them.

::

    import fastconv.onnx.backend as backend

    backend.run_model(model, [x])

Importing this file needs the package ``onnx``. Inputs and results are NumPy arrays in the types that the
model declares, those included that :func:`fastconv.onnx.load` computes in wider ones.
"""

# onnx declares few types
# pyright: reportIncompatibleMethodOverride=false

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx.backend.base import Backend, BackendRep

from .. import cuda
from ..backends import backend as backend_in_force
from ..tape import no_grad
from ..tensor import Tensor
from . import load
from .module import OnnxModule

#: The name of a device of ONNX -> the backend that computes there.
BACKENDS = {"CPU": "cpu", "CUDA": "cuda"}


class FastconvRep(BackendRep):
    """A model that is ready to run."""

    def __init__(self, model: Any, device: str) -> None:
        self._backend = BACKENDS[device.partition(":")[0]]
        with backend_in_force(self._backend):
            self.net: OnnxModule = load(model)
        self._types = [
            onnx.helper.tensor_dtype_to_np_dtype(o.type.tensor_type.elem_type) for o in model.graph.output
        ]

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """The results for arrays in the order of the inputs."""
        arrays = [np.asarray(x).astype(i.dtype) for x, i in zip(inputs, self.net.inputs, strict=True)]
        with backend_in_force(self._backend), no_grad():
            result = self.net(*arrays)
        results: Sequence[Tensor] = result if isinstance(result, tuple) else (result,)
        return tuple(r.numpy().astype(dtype, copy=False) for r, dtype in zip(results, self._types))


class FastconvBackend(Backend):
    """What ONNX calls a backend; see the page of ``onnx.backend.base``."""

    @classmethod
    def prepare(cls, model: Any, device: str = "CPU", **kwargs: Any) -> FastconvRep:
        """The model, ready to run."""
        return FastconvRep(model, device)

    @classmethod
    def run_node(
        cls, node: Any, inputs: Any, device: str = "CPU", outputs_info: Any = None, **kwargs: Any
    ) -> tuple[Any, ...]:
        """The results of one node."""
        arrays = [np.asarray(x) for x in inputs]
        types = outputs_info or [(arrays[0].dtype, None)] * len(node.output)
        about, of_dtype = onnx.helper.make_tensor_value_info, onnx.helper.np_dtype_to_tensor_dtype
        graph = onnx.helper.make_graph(
            [node],
            "node",
            [about(n, of_dtype(x.dtype), x.shape) for n, x in zip(node.input, arrays)],
            [about(n, of_dtype(np.dtype(t)), shape) for n, (t, shape) in zip(node.output, types)],
        )
        version = kwargs.get("opset_version", onnx.defs.onnx_opset_version())
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", version)])
        return cls.prepare(model, device).run(arrays)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether the device is there."""
        kind = device.partition(":")[0]
        return kind == "CPU" or (kind == "CUDA" and cuda.is_available())


is_compatible = FastconvBackend.is_compatible
prepare = FastconvBackend.prepare
run_model = FastconvBackend.run_model
run_node = FastconvBackend.run_node
supports_device = FastconvBackend.supports_device
