"""From a kernel to machine code: PTX, then a cubin, which is kept on disk.

::

    kernel, argument types, capability
      fingerprint      the name of its function, and what that function's factory was given
      cubin            from disk, or  numba.cuda -> PTX -> assembler -> disk

No step needs a GPU, so kernels can be compiled on another machine (``fastconv warmup --backend cuda``).
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from fastconv._version import __version__
from fastconv.backends import disk

Capability = tuple[int, int]


class Cubin(NamedTuple):
    """Machine code, and the name of the kernel in it."""

    name: str
    code: bytes


# ------------------------------------------------------------------------------------------- compilation
def _architecture(capability: Capability) -> tuple[Any, ...]:
    # "a": with the instructions that only this capability has
    return (*capability, "a") if capability >= (9, 0) else capability


def _options(kernel: Any) -> dict[str, Any]:
    """What a kernel's decorator was given."""
    return {k: kernel.targetoptions.get(k) for k in ("fastmath", "launch_bounds")}


def compile_ptx(kernel: Any, kinds: tuple[Any, ...], capability: Capability) -> str:
    """The PTX of a kernel for argument types of numba.cuda."""
    from numba import cuda

    options = {k: v for k, v in _options(kernel).items() if v is not None}
    with _compiling_for(capability):
        return cuda.compile(
            kernel.py_func, kinds, device=False, cc=_architecture(capability), abi="numba", **options
        )[0]


@contextlib.contextmanager
def _compiling_for(capability: Capability) -> Iterator[None]:
    """Let functions that kernels call compile for ``capability``, whatever GPU is here.

    Numba compiles them for "the device", of which it asks nothing but the capability.
    """
    from numba.cuda import dispatcher

    before = dispatcher.get_current_device
    dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=capability)
    try:
        yield
    finally:
        dispatcher.get_current_device = before


def entry_name(ptx: str) -> str:
    """The name of the kernel in its PTX."""
    return ptx.split(".entry ", 1)[1].split("(", 1)[0].strip()


@functools.cache
def find_ptxas() -> str | None:
    """The toolkit's assembler: of the package ``nvidia-cuda-nvcc``, on the path, or below ``CUDA_HOME``."""
    found = importlib.util.find_spec("nvidia")
    roots = found.submodule_search_locations if found else None
    packaged = (str(p) for root in roots or () for p in Path(root).glob("*/bin/ptxas*"))
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    return next(packaged, None) or shutil.which("ptxas") or shutil.which("ptxas", path=home and f"{home}/bin")


def assemble(ptx: str, capability: Capability) -> bytes:
    """The cubin of a PTX text.

    ``ptxas`` knows that the text is all there is. The library that cuda-core calls (nvJitLink) could link it
    with others, so a division of floats is a call to a function outside, and the products of Hopper wait for
    each other in a kernel with such a call.
    """
    arch = "sm_" + "".join(map(str, _architecture(capability)))
    if (ptxas := find_ptxas()) is not None:
        with tempfile.TemporaryDirectory() as folder:
            source, made = Path(folder, "kernel.ptx"), Path(folder, "kernel.cubin")
            source.write_text(ptx)
            command = [ptxas, f"-arch={arch}", str(source), "-o", str(made)]
            if subprocess.run(command, capture_output=True, check=False).returncode == 0:
                return made.read_bytes()

    from cuda.core import Program, ProgramOptions

    return bytes(Program(ptx, "ptx", ProgramOptions(arch=arch)).compile("cubin").code)


# ------------------------------------------------------------------------------------------------- disk
@functools.cache
def cache_dir() -> Path | None:
    """Folder of compiled kernels, or None if none can be used."""
    assembler = "nvJitLink" if find_ptxas() is None else "ptxas"
    versions = (__version__, *map(version, ("numba-cuda", "llvmlite")))
    return disk.kernels("cuda", disk.key("cuda", assembler, *versions))


def _place(code) -> str:
    """Where a function is in its file; two lambdas may share a line."""
    if code.co_name != "<lambda>":
        return str(code.co_firstlineno)
    if not hasattr(code, "co_positions"):  # before Python 3.11
        return f"{code.co_firstlineno} {code.co_code.hex()}"
    return str(min((line, column) for line, _, column, _ in code.co_positions() if line and column))


def fingerprint(value: Any) -> str:
    """What tells a kernel, or a value that its factory was given, from others of the same sources.

    Raises
    ------
    TypeError
        For a value that a later process would not describe in the same way.
    """
    if isinstance(value, (bool, int, float, str, type(None), np.dtype, np.generic)):
        return repr(value)
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, ModuleType):
        return value.__name__
    if isinstance(value, (tuple, list)):
        return f"{type(value).__qualname__}({','.join(map(fingerprint, value))})"
    if isinstance(value, dict):
        return f"dict({','.join(f'{fingerprint(k)}:{fingerprint(v)}' for k, v in value.items())})"
    if isinstance(value, functools.partial):
        return f"partial{fingerprint((value.func, value.args, value.keywords))}"
    if isinstance(value, FunctionType):
        inside = (*(c.cell_contents for c in value.__closure__ or ()), *(value.__defaults__ or ()))
        return f"{value.__module__}.{value.__qualname__}:{_place(value.__code__)}{fingerprint(inside)}"
    if isinstance(function := getattr(value, "py_func", None), FunctionType):  # a kernel, or a body
        return fingerprint((function, _options(value)))
    if isinstance(function := getattr(value, "_defn", None), FunctionType):  # an intrinsic
        return fingerprint(function)
    if type(value).__module__.startswith(("numba.", "llvmlite.")):  # a type, or the signature of an intrinsic
        return f"{type(value).__qualname__} {value}"
    raise TypeError(f"fingerprint: a kernel's factory was given a {type(value).__name__}")


def _path(kernel, kinds, capability) -> Path | None:
    folder = cache_dir()
    digest = hashlib.sha256(repr((fingerprint(kernel), kinds, capability)).encode()).hexdigest()[:24]
    return folder and folder / f"{kernel.py_func.__name__}-{digest}.cubin"


def cubin(kernel: Any, kinds: tuple[Any, ...], capability: Capability) -> Cubin:
    """The machine code of a kernel for argument types of numba.cuda, from disk where it is there."""
    path = _path(kernel, kinds, capability)
    if (found := load(path)) is None:
        ptx = compile_ptx(kernel, kinds, capability)
        found = Cubin(entry_name(ptx), assemble(ptx, capability))
        save(path, found)
    return found


# A file: the SHA-256 of what follows | the kernel's name | a zero byte | the code.
def load(path: Path | None) -> Cubin | None:
    """What a file holds; None if there is none, or a damaged one."""
    data = disk.read(path)
    if hashlib.sha256(data[32:]).digest() != data[:32]:
        return None
    name, _, code = data[32:].partition(b"\0")
    return Cubin(name.decode(), code)


def save(path: Path | None, found: Cubin) -> None:
    """Write a file, where there is a folder for it."""
    if path is not None:
        payload = found.name.encode() + b"\0" + found.code
        with contextlib.suppress(OSError):  # a full disk: the next process compiles anew
            disk.write_atomically(path, hashlib.sha256(payload).digest() + payload)
        disk.prune_once(path.parent)
