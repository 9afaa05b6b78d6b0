"""Saving and loading: state dicts and checkpoints as ``.npz`` or ``.safetensors``, without pickle; reading PyTorch's.

Both formats hold named arrays. Whatever else a checkpoint contains (numbers, strings, the nesting itself) is one JSON
text in which an array stands as ``{"__array__": name}``: an entry of its own in ``.npz``, metadata in
``.safetensors``.
A flat dict of arrays needs no such text, so these files are what other programs read and write.
"""

from __future__ import annotations

import json
import os
import secrets
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np

from ..spec import check
from ..tensor import Tensor
from . import pth, raw

_TREE = "__fastconv__"  # name of the JSON text
_RESERVED = {_TREE, "__metadata__"}  # the second has a meaning in .safetensors
_MARKS = {"__array__", "__tuple__", "__items__"}


def save(obj, path) -> None:
    """Write ``obj`` to ``path``, atomically: a failure half-way leaves an older file as it was.

    Parameters
    ----------
    obj : dict
        A state dict, or any nesting of dicts (keys str or int), lists and tuples with arrays,
        Tensors, numbers, strings, booleans and None at its ends.
    path : str or os.PathLike
        Ends in ``.npz`` or ``.safetensors``.

    Raises
    ------
    ValueError
        Unknown extension.
    TypeError
        Something in ``obj`` is neither a container nor a value as above; the message says where.
    """
    path, write = Path(path), _format("save", Path(path), _WRITERS)
    arrays: dict[str, np.ndarray] = {}
    tree = _pack(obj, "", arrays)
    flat = isinstance(obj, dict) and tree == {k: {"__array__": k} for k in obj}
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as f:
            write(f, arrays, None if flat else json.dumps(tree))
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def load(path):
    """Read what :func:`save` wrote, with every array as a Tensor on the host; also other programs' plain files.

    ``.pth`` and ``.pt`` are what ``torch.save`` writes, in the zip format or the one before it, as long as they hold
    nothing but tensors, numbers, strings and containers: nothing in the file is executed, PyTorch is not needed.
    Tensors that share memory there share it here; bfloat16 becomes float32.

    Raises
    ------
    FileNotFoundError
    ValueError
        Unknown extension, a damaged file or one of another kind; a PyTorch file with anything else in it, by name.
    """
    path, read = Path(path), _format("load", Path(path), _READERS)
    try:
        return read(path)
    except (OSError, ImportError):
        raise
    except pth.Refused as e:
        raise ValueError(
            f"load: {path} is refused: {e}, and only tensors of real numbers, numbers, strings and containers are read. "
            "Nothing in it was executed. Of a network, save the state_dict()"
        ) from None
    except Exception as e:  # whatever the parsers trip over, it is the file
        with open(path, "rb") as f:
            head = f.read(8)
        raise ValueError(
            f"load: expected a {path.suffix} file as {_author(path)} writes it, got {path} with {path.stat().st_size} "
            f"bytes that start with {head!r} ({e}); it is damaged, incomplete or of another kind"
        ) from e


def _format(name: str, path: Path, formats: dict):
    check(path.suffix in formats, name, f"expected a file name that ends in {' or '.join(formats)}, got {path}")
    return formats[path.suffix]


def _author(path: Path) -> str:
    return "fastconv.save" if path.suffix in _WRITERS else "torch.save"


# ------------------------------------------------------------------------------------------------- the tree
def _pack(x, where, arrays):
    """``x`` as JSON values; its arrays go to ``arrays`` under the path of keys that leads to them."""
    if isinstance(x, (Tensor, np.ndarray)):
        a = x.numpy() if isinstance(x, Tensor) else x
        check(a.dtype.kind in "fiub", "save", f"array at {where or 'the top'} has dtype {a.dtype}", TypeError)
        name = where or "value"
        while name in arrays or name in _RESERVED:
            name += "_"
        arrays[name] = np.asarray(a, order="C")
        return {"__array__": name}
    if isinstance(x, np.generic):
        x = x.item()
    if x is None or isinstance(x, (bool, int, float, str)):
        return x
    if isinstance(x, (list, tuple)):
        items = [_pack(v, f"{where}/{i}" if where else str(i), arrays) for i, v in enumerate(x)]
        return {"__tuple__": items} if isinstance(x, tuple) else items
    check(isinstance(x, dict), "save", f"cannot save {type(x).__name__} (at {where or 'the top'}); expected arrays, "
          "numbers, strings, None, lists and dicts", TypeError)  # fmt: skip
    for k in x:
        check(isinstance(k, (int, str)), "save", f"keys must be strings or ints, got {k!r} (at {where or 'the top'})",
              TypeError)  # fmt: skip
    items = {k: _pack(v, f"{where}/{k}" if where else str(k), arrays) for k, v in x.items()}
    plain = all(isinstance(k, str) for k in items) and not _MARKS & set(items)
    return items if plain else {"__items__": list(items.items())}


def _tree(arrays, text):
    """The inverse: what was saved, with Tensors for arrays."""
    tensors = {name: Tensor(a) for name, a in arrays.items()}
    return tensors if text is None else _unpack(json.loads(text), tensors)


def _unpack(x, tensors):
    if isinstance(x, list):
        return [_unpack(v, tensors) for v in x]
    if not isinstance(x, dict):
        return x
    if "__array__" in x:
        return tensors[x["__array__"]]
    if "__tuple__" in x:
        return tuple(_unpack(v, tensors) for v in x["__tuple__"])
    items = x["__items__"] if "__items__" in x else x.items()
    return {k: _unpack(v, tensors) for k, v in items}


# ------------------------------------------------------------------------------------------------- the two formats
def _write_npz(f, arrays, text):
    if text is not None:
        arrays = {**arrays, _TREE: np.frombuffer(text.encode(), np.uint8)}
    with zipfile.ZipFile(f, "w") as z:
        for name, a in arrays.items():
            with z.open(name + ".npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, a, allow_pickle=False)


def _read_npz(path):
    with zipfile.ZipFile(path) as z:  # read() checks each entry's CRC
        entries = {n.removesuffix(".npy"): BytesIO(z.read(n)) for n in z.namelist()}
    arrays = {n: np.lib.format.read_array(b, allow_pickle=False) for n, b in entries.items()}
    text = arrays.pop(_TREE, None)
    return _tree(arrays, None if text is None else text.tobytes().decode())


#: Numbers in .safetensors files: dtype -> code for ``raw``.
_SAFE = {"F64": "f8", "F32": "f4", "F16": "f2", "BF16": "bf", "I64": "i8", "I32": "i4", "I16": "i2", "I8": "i1",
         "U64": "u8", "U32": "u4", "U16": "u2", "U8": "u1", "BOOL": "?"}  # fmt: skip


def _write_safetensors(f, arrays, text):
    """The length of a JSON header, the header, the arrays one after the other (wide numbers first: all are aligned)."""
    header, end = {} if text is None else {"__metadata__": {_TREE: text}}, 0
    names = {np.dtype(code): name for name, code in _SAFE.items() if code != "bf"}
    order = sorted(arrays, key=lambda name: -arrays[name].itemsize)
    for name in order:
        a, start = arrays[name], end
        end += a.nbytes
        header[name] = {"dtype": names[a.dtype.newbyteorder("=")], "shape": a.shape, "data_offsets": [start, end]}
    words = json.dumps({name: header[name] for name in ("__metadata__", *arrays) if name in header}).encode()
    words += b" " * (-len(words) % 8)
    f.write(len(words).to_bytes(8, "little") + words)
    for name in order:
        f.write(np.ascontiguousarray(arrays[name].astype(arrays[name].dtype.newbyteorder("<"), copy=False)).data)


def _read_safetensors(path):
    arrays = {}
    with open(path, "rb") as f:
        size, length = path.stat().st_size, int.from_bytes(f.read(8), "little")
        if length > size - 8:
            raise ValueError(f"a header of {length} bytes was announced")
        header = json.loads(f.read(length))
        text = header.pop("__metadata__", {}).get(_TREE)
        for name, entry in header.items():
            if entry["dtype"] not in _SAFE:
                raise ValueError(f"{name} is of type {entry['dtype']}, and {', '.join(_SAFE)} are read")
            start, end = entry["data_offsets"]
            f.seek(8 + length + start)
            arrays[name] = raw.decode(f.read(end - start), _SAFE[entry["dtype"]]).reshape(entry["shape"])
    return _tree(arrays, text)


_WRITERS = {".npz": _write_npz, ".safetensors": _write_safetensors}
_READERS = {".npz": _read_npz, ".safetensors": _read_safetensors, ".pth": pth.read, ".pt": pth.read}
