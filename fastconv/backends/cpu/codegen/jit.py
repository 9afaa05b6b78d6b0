"""The only place that compiles: kernels, their flags, their disk cache, threads, locks and forks.

Three decorators::

    @kernel                                  what each thread does; called from Python as _scale(x, y, a)
    def _scale(thread, threads, x, y, a):
        first, end = split_range(thread, threads, x.size)
        _scale_run(x[first:end], y[first:end], a)

    @body                                    called from kernels only, or by each thread in one stage
    def _scale_run(x, y, a): ...

    @stages                                  parts with a barrier between them, where one thread works
    def _mean(threads, x, sums, mean):       alone; called from Python as _mean(x, sums, mean)
        in_parallel(_sums, threads, (x, sums))
        mean[0] = sums.sum() / x.size

No thread reads what another one writes in the same part, so a result depends on the number of threads at
most, never on timing.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import pickle
import threading
from importlib.metadata import version
from io import BytesIO
from pathlib import Path

import numba
import numpy as np
from numba import types
from numba.core.caching import _Cache
from numba.core.ccallback import CFunc
from numba.core.compiler import CompileResult
from numba.core.registry import cpu_target
from numba.core.serialize import dumps

from fastconv._version import __version__
from fastconv.backends import between, compiling, disk, settings

from . import own_copies
from .in_parallel import in_parallel

if numba.config.DISABLE_JIT:
    raise RuntimeError(
        "backend 'cpu': its kernels must be compiled, but NUMBA_DISABLE_JIT is set; unset it, or use the "
        "numpy backend, with FASTCONV_BACKEND=numpy or fc.set_backend('numpy')"
    )
settings.limit_threads(numba.config.NUMBA_NUM_THREADS)

#: How the compiler may rearrange float arithmetic. "nnan" and "ninf" are not here, because NaN and infinity
#: must propagate. "arcp" allows it to multiply by a reciprocal instead of dividing.
FASTMATH = {"contract", "reassoc", "nsz", "arcp"}

# GNU OpenMP lets threads that wait for each other spin for milliseconds before they sleep. If another process
# uses the same processors, spinning takes time from the thread that they wait for. OpenMP reads the variable
# when it starts, with the first kernel.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")

#: Type of the indices in loops over elements. A signed index may count from the end, and the test for that
#: keeps loops from becoming vector code.
U = np.uint64
KERNELS: dict[str, Kernel] = {}
_c_functions: list[CFunc] = []
lock = threading.RLock()  # held by the thread that launches or compiles


class _Local(threading.local):
    record = None  # called with each launch, or None


_local = _Local()
_launched = False  # a parallel kernel has started the thread pool of this process
_forked = False  # this process is the fork of one whose thread pool was running


def _after_fork():
    global _forked
    _forked = _launched
    lock.release()


# A fork waits for the kernel or compilation of another thread. The child has no such thread, so it would wait
# for ever.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=_after_fork)


# ------------------------------------------------------------------------------------------------- disk cache
def machine() -> tuple[str, str, str]:
    """What LLVM generates code for: target triple, processor, features (``+avx2,-sve``)."""
    return cpu_target.target_context.codegen().magic_tuple()


#: Numba's settings that change the code of a kernel (``NUMBA_OPT`` and so on).
_OPTIONS = "OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "BOUNDSCHECK", "DEBUGINFO_DEFAULT", "DISABLE_INTEL_SVML"


@functools.cache
def cache_key() -> str:
    """Hash of everything compiled code depends on: all kernel sources, versions and this processor."""
    options = [getattr(numba.config, name) for name in _OPTIONS]
    return disk.key("cpu", __version__, numba.__version__, version("llvmlite"), machine(), *options)


@functools.cache
def cache_dir() -> Path | None:
    """Folder of compiled kernels, or None if none can be used."""
    return disk.kernels("kernels", cache_key())


def _what_takes_long() -> str:
    if cache_dir() is None:
        return (
            "compiling kernels, in every process, as no cache folder can be written "
            "(FASTCONV_CACHE_DIR names one)"
        )
    return "compiling kernels, once for each new kind of call (fastconv warmup compiles all)"


#: The names that a kernel's file may contain, beside Numba's types.
_PICKLED = {
    ("builtins", "object"),
    ("copyreg", "_reconstructor"),
    ("numba.core.environment", "_rebuild_env"),
    ("numba.core.funcdesc", "PythonFunctionDescriptor"),
    ("numba.core.typing.templates", "Signature"),
    ("numpy", "dtype"),
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if (module, name) in _PICKLED or module.startswith("numba.core.types."):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} has no place in a kernel's file")


class DiskCache(_Cache):
    """One file per kernel and signature, written atomically, so processes may compile the same kernel at
    once.

    Numba's own cache numbers its data files through a shared index, which two writers at once can damage, and
    it does not notice edits of other files whose functions a kernel calls. A file holds machine code, so it
    is read only if nobody else can have written it (``disk.read``). The checksum detects damage, and the
    short list of names limits what unpickling can run.
    """

    def __init__(self, name: str):
        self._name = name

    @property
    def cache_path(self):
        return str(cache_dir())

    def file_of(self, sig, codegen) -> Path | None:
        folder = cache_dir()
        digest = hashlib.sha256(repr((sig, codegen.magic_tuple())).encode()).hexdigest()[:16]
        return folder and folder / f"{self._name}-{digest}.bin"

    def load_overload(self, sig, target_context):
        target_context.refresh()
        data = disk.read(self.file_of(sig, target_context.codegen()))
        if hashlib.sha256(data[32:]).digest() != data[:32]:
            return None
        try:
            parts = _Unpickler(BytesIO(data[32:])).load()
        except pickle.UnpicklingError:
            return None
        return CompileResult._rebuild(target_context, *parts)

    def save_overload(self, sig, data):
        path = self.file_of(sig, data.codegen)
        if path is None or data.library.has_dynamic_globals:
            return
        payload = dumps(data._reduce())
        # a disk that is full or gone costs some seconds at the next start, nothing else
        with contextlib.suppress(OSError):
            disk.write_atomically(path, hashlib.sha256(payload).digest() + payload)
        disk.prune_once(path.parent)

    def enable(self):
        pass

    disable = flush = enable


def _cache(compiled, name: str) -> None:
    """Store on disk what ``compiled`` (a dispatcher or a C function) compiles, and tell the user about it."""
    compiled._cache = DiskCache(name)
    compiled._compiler.compile = compiling.watched(compiled._compiler.compile, _what_takes_long)


def _name(func) -> str:
    """The dotted path of a kernel below the engine, such as ``ops.dense.linear``: files of different folders
    may have the same name."""
    return f"{func.__module__}.{func.__qualname__}".removeprefix("fastconv.backends.cpu.")


def _compile(func, **options):
    return numba.njit(nogil=True, fastmath=FASTMATH, error_model="numpy", **options)(func)


def body(func=None, *, inline: bool = False):
    """Compile a function that kernels call. ``inline`` copies it into its callers before optimisation."""
    if func is None:
        return functools.partial(body, inline=inline)
    return _compile(func, inline="always" if inline else "never")


@body(inline=True)
def split_range(part, parts, total):
    """Start and end of share ``part`` when ``total`` jobs are split into ``parts`` nearly equal shares."""
    return part * total // parts, (part + 1) * total // parts


def c_function(func, name: str) -> int:
    """Compile ``func`` to a C function of a pointer to int64.

    Parameters
    ----------
    func : function of one argument
    name : str
        Identifies it in the disk cache.

    Returns
    -------
    int
        Its address, for ``emitter.call``.
    """
    options = {"nopython": True, "nogil": True, "fastmath": FASTMATH, "error_model": "numpy"}
    compiled = CFunc(func, ((types.CPointer(types.int64),), types.void), {}, options, own_copies.Compiler)
    _cache(compiled, name)
    with lock:
        compiled.compile()
    _c_functions.append(compiled)  # the code lives as long as the object
    return compiled.address


class Kernel:
    """A compiled function of ``threads`` and more; calling it fills in ``threads`` and keeps the pool safe.

    One kernel runs at a time: not every threading layer of Numba survives two Python threads in it. In a
    process forked after the pool was started (where that pool is dead) kernels run in one thread.
    """

    def __init__(self, func, run):
        functools.update_wrapper(self, func)
        self.dispatcher = _compile(run, pipeline_class=own_copies.Compiler)
        _cache(self.dispatcher, _name(func))
        KERNELS[_name(func)] = self

    def __call__(self, *args):
        global _launched
        with lock:
            threads = 1 if _forked else settings.get_num_threads()
            if not _launched:
                numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)  # this starts the pool
                _launched = True
            result = self.dispatcher(threads, *args)
        if _local.record is not None:
            _local.record(self, args)
        if between.local.work is not None:
            between.local.work()
        return result


@contextlib.contextmanager
def recording(record):
    """Call ``record(kernel, args)`` after every launch of this Python thread.

    Before a launch whose arguments hold addresses of arrays it is called as ``record(None, arrays)``.
    """
    _local.record = record
    try:
        yield
    finally:
        _local.record = None


def by_address(arrays) -> None:
    """Tell the recorder of launches which arrays (or other objects) the next launch knows by address."""
    if _local.record is not None:
        _local.record(None, arrays)


def by_numpy(function, *args) -> None:
    """Call a function of NumPy inside an op; a recorder of launches is told of it as of a kernel."""
    function(*args)
    if _local.record is not None:
        _local.record(function, args)


def kernel(func):
    """Register ``func(thread, threads, *args)``, which says what each thread does (see the module's
    docstring).

    No array among the arguments that is written to may overlap another one.
    """
    compiled = _compile(func, pipeline_class=own_copies.NoAlias)

    def run(threads, *args):
        in_parallel(compiled, threads, args)

    return Kernel(func, run)


def stages(func):
    """Register ``func(threads, *args)``, which calls a :func:`body` for each stage by :func:`in_parallel`."""
    return Kernel(func, func)
