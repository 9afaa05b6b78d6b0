"""Saving and loading: state dicts and checkpoints as ``.npz``, ``.safetensors`` or PyTorch's files.

The first two formats hold named arrays and no pickle. Everything else in a checkpoint is one JSON text
(``tree.py``): an entry of its own in ``.npz``, metadata in ``.safetensors``. A flat dict of arrays needs no
such text, so other programs can read and write such files too. PyTorch's files hold a pickle. It is written
and read without PyTorch, and nothing in it is executed.
"""

# A file holds values of any type.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from io import BytesIO, TextIOBase
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

from ..checks import check
from ..devices import device
from ..tensor import Tensor
from ..typing import PathLike
from . import npz, pth, pth_writer, safetensors, tree
from .atomic import replacing
from .pickled import Refused, Unread

__all__ = ["Unread", "load", "save"]

_EXPECTED = {
    ".npz": "a .npz file as fastconv.save writes it",
    ".safetensors": "a .safetensors file as fastconv.save writes it",
    ".pth": "a .pth file as torch.save writes it",
}
_LIKE_PTH = (".pth", ".pt", ".tar", ".ckpt", ".bin")
_WRITERS: dict[str, Callable[..., None]] = {
    ".npz": npz.write,
    ".safetensors": safetensors.write,
    **dict.fromkeys(_LIKE_PTH, pth_writer.write),
}


def save(obj: Any, path: PathLike | BinaryIO) -> None:
    """Write ``obj`` to ``path``, atomically: after a failure an older file is unchanged.

    Parameters
    ----------
    obj : dict
        A state dict, or dicts (keys str or int), lists and tuples, nested in any way, of arrays, Tensors,
        numbers, strings, booleans and None.
    path : str, os.PathLike or binary file
        The ending of the name decides the format: ``.npz``, ``.safetensors``, or, with ``.pth``, ``.pt``,
        ``.tar``, ``.ckpt`` or ``.bin``, PyTorch's format, which ``torch.load`` reads. A link stays a link,
        and the file that it points to is replaced. The permissions of an existing file are kept. To an open
        file without a name (``io.BytesIO``) or without an ending, the format ``.npz`` is written.

    Raises
    ------
    ValueError
        The ending is unknown, or ``path`` is a device or a pipe.
    TypeError
        ``obj`` holds a value of another type (the message says where), or ``path`` is not a path or is a file
        that is open as text.

    Examples
    --------
    >>> import io, fastconv as fc
    >>> file = io.BytesIO()
    >>> fc.save({"step": 3, "weight": fc.ones(2)}, file)
    >>> _ = file.seek(0)
    >>> fc.load(file)["step"]
    3
    """
    is_open, name = hasattr(path, "write"), _name("save", path)
    check(
        not isinstance(path, TextIOBase),
        "save",
        f"{name} is open as text; open it in binary mode, 'wb'",
        TypeError,
    )
    kind = Path(name).suffix or (".npz" if is_open else "")
    check(kind in _WRITERS, "save", f"expected a file name that ends in {', '.join(_WRITERS)}, got {name}")
    arrays, text = tree.pack(obj)
    if is_open:
        _WRITERS[kind](path, arrays, text)
        return
    with replacing("save", name) as f:
        _WRITERS[kind](f, arrays, text)


def load(path: PathLike | BinaryIO, map_location: Any = None, *, weights_only: bool = True) -> Any:
    """Read a file that :func:`save`, ``torch.save`` or another program wrote; arrays become Tensors.

    The format is recognised by the contents of the file, not by its name. A file of ``torch.save``, in the
    zip format or the one before PyTorch 1.6, is read without PyTorch, and nothing in it is executed. It may
    hold tensors, numbers, strings, containers, NumPy arrays and scalars (which stay NumPy's), dtypes (which
    become NumPy's), paths, dates and ``argparse.Namespace`` (which becomes ``types.SimpleNamespace``).
    Tensors that share memory in the file share it after loading. bfloat16 becomes float32. Python attributes
    of tensors and dicts are left out. No loaded tensor requires gradients.

    Parameters
    ----------
    path : str, os.PathLike or binary file
    map_location : {"cpu", "cuda"}, device, dict or callable, optional
        The device of the tensors; the host by default. As in PyTorch, it may be a dict or a callable, but
        these must map to the host.
    weights_only : bool
        True: a file of PyTorch's format that holds any other object is refused. False: such an object becomes
        a placeholder, an :class:`Unread` with its name and what the file says about it, and the rest is read.
        Nothing in the file is executed in either case.

    Returns
    -------
    object
        What was saved, with a Tensor for every array.

    Raises
    ------
    FileNotFoundError
        The file does not exist.
    ValueError
        The file is damaged or has another format, or it is a PyTorch file with an object that is not read,
        which the message names.
    TypeError
        ``path`` is not a path, or it is a file that is open as text.
    """
    where, name = _location(map_location), _name("load", path)
    source: Any = path
    if hasattr(source, "read"):
        data, name = source.read(), name or type(path).__name__
        check(
            isinstance(data, bytes),
            "load",
            f"{name} is open as text; open it in binary mode, 'rb'",
            TypeError,
        )
        value = _read(BytesIO(data), len(data), name, weights_only)
    else:
        with open(source, "rb") as f:
            value = _read(f, os.fstat(f.fileno()).st_size, name, weights_only)
    return value if where == "cpu" else _to(where, value, {})


def _name(function: str, path: Any) -> str:
    """The name of a path or an open file; "" if it has none."""
    if hasattr(path, "read") or hasattr(path, "write"):
        name = getattr(path, "name", "")
        return name if isinstance(name, str) else ""
    check(
        isinstance(path, (str, bytes, os.PathLike)),
        function,
        f"expected a path or a file opened in binary mode, got {type(path).__name__}",
        TypeError,
    )
    return os.fsdecode(path)


def _read(f: BinaryIO, size: int, name: str, strict: bool) -> Any:
    """The contents of an open file; its errors name the file."""
    head = f.read(16)
    f.seek(0)
    suffix = Path(name).suffix.lower()
    suffix = ".pth" if suffix in _LIKE_PTH else suffix
    try:
        match _kind(head) or suffix:
            case ".safetensors":
                return safetensors.read(f, size)
            case ".zip" | ".npz":
                with zipfile.ZipFile(f) as archive:
                    names = archive.namelist()
                    arrays = bool(names) and all(n.endswith(".npy") for n in names)
                    theirs = any(n.rpartition("/")[2] == "data.pkl" for n in names) or (
                        suffix == ".pth" and not arrays
                    )
                    return pth.read_zip(archive, strict) if theirs else npz.read(archive)
            case ".pth":
                return pth.read_legacy(f, size, strict)
            case _:
                raise ValueError("its first bytes are not those of any of these formats")
    except Refused as e:
        raise ValueError(
            f"load: {name} is refused: {e}, and only tensors of real numbers, numbers, strings, containers "
            "and plain values of NumPy are read. Nothing in it was executed. Of a network, save the "
            "state_dict(). weights_only=False reads the rest of such a file, without executing anything "
            "either"
        ) from None
    except Exception as e:  # any error of a parser means that the file is damaged
        # except errors of the operating system, which have an errno
        if isinstance(e, ImportError) or getattr(e, "errno", None) is not None:
            raise
        expected = _EXPECTED.get(suffix) or " or ".join(_EXPECTED.values())
        raise ValueError(
            f"load: expected {expected}, got {name} with {size} bytes that start with {head[:8]!r} ({e}); "
            "it is damaged, incomplete or of another kind"
        ) from e


def _kind(head: bytes) -> str | None:
    """The format of a file that begins with these bytes; None if they do not show it."""
    if head[8:9] == b"{":
        return ".safetensors"
    if head[:4] in (b"PK\3\4", b"PK\5\6"):
        return ".zip"
    return ".pth" if head[:1] == b"\x80" and head[1:2] <= b"\5" else None  # a pickle


# ------------------------------------------------------------------------------------------------- location
def _location(map_location: Any) -> str:
    """The device that ``map_location`` means: ``"cpu"`` or ``"cuda"``."""
    cure = (
        'expected None, "cpu", "cuda", or a dict or callable that means the host; everything is read to the '
        'host first, so map_location="cpu" is enough'
    )
    if map_location is None:
        return "cpu"
    if isinstance(map_location, dict):
        check(
            {str(v) for v in map_location.values()} <= {"cpu"},
            "load",
            f"map_location: {cure}, got {map_location}",
        )
        return "cpu"
    if callable(map_location):
        storage = Tensor(0.0)
        place = map_location(storage, "cpu")
        check(place is None or place is storage, "load", f"map_location: {cure}, got {map_location}")
        return "cpu"
    return device(map_location)


def _to(where: str, value: Any, moved: dict[int, Any]) -> Any:
    """``value`` with its tensors on the device ``where``; an object that occurs twice stays one object."""
    if id(value) not in moved:
        if isinstance(value, Tensor):
            moved[id(value)] = value.to(where)
        elif isinstance(value, dict):
            moved[id(value)] = value
            value.update({k: _to(where, v, moved) for k, v in value.items()})
        elif isinstance(value, list):
            moved[id(value)] = value
            value[:] = [_to(where, v, moved) for v in value]
        elif isinstance(value, tuple):
            moved[id(value)] = tuple(_to(where, v, moved) for v in value)
        elif isinstance(value, (SimpleNamespace, Unread)):
            moved[id(value)] = value
            vars(value).update(_to(where, dict(vars(value)), moved))
        else:
            return value
    return moved[id(value)]
