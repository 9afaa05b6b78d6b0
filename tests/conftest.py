"""Fixtures for every test: the backends present, fixed seeds, and a hypothesis profile that repeats
itself."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

# The tests run in as many processes as there are processors, each with threads of fastconv and of PyTorch.
# A thread that spins while it waits takes the time of those that work. OpenMP reads this when it is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

PTX = os.environ.get("FASTCONV_PTX_MACHINE") == "1"  # tools/ptx_machine.py runs what a GPU would get

try:
    if PTX:
        os.environ["NUMBA_ENABLE_CUDASIM"] = "0"
    ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    if find_spec("numba_cuda") is None:
        raise OSError
except OSError:  # no driver, or nothing to use it with: numba's simulator stands in for a GPU
    os.environ.setdefault("NUMBA_ENABLE_CUDASIM", "1")

import fastconv as fc  # noqa: E402 - numba asks for the variable when it is imported
from fastconv.backends import compiling  # noqa: E402

settings.register_profile(
    "fastconv",
    deadline=None,  # the first example of a shape may compile
    max_examples=30,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("fastconv")


compiling.shown = False  # tests compare what is printed

# Collecting makes millions of objects that stay, which the garbage collector would look at again and again.
gc.disable()

# A shell that starts the tests in the background has told them to ignore Ctrl-C, which some of them send
# themselves.
signal.signal(signal.SIGINT, signal.default_int_handler)

if PTX:
    sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))
    import ptx_machine

    ptx_machine.install()

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1" and fc.cuda.is_available()
HAS_GPU = fc.cuda.is_available() and not SIMULATED and not PTX
BACKENDS = ["numpy", "cpu", *(["cuda"] if HAS_GPU else [])]
# the simulator is too slow for more than single ops
RATES = 2.4e11, 2.5e10  # FLOP/s and bytes/s that tests assume of a processor
OP_BACKENDS = [*BACKENDS, *(["cuda"] if SIMULATED or PTX else [])]


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="also the tests marked full: every combination")


@pytest.hookimpl(tryfirst=True)  # before pytest looks at the markers for -m
def pytest_collection_modifyitems(config, items):
    """Without ``--full`` the tests marked ``full`` are deselected, which pytest counts in its last line."""
    for item in items:
        marker = item.get_closest_marker("full_on")
        if marker and set(map(str, item.callspec.params.values())) & set(marker.args):
            item.add_marker("full")
    if not config.getoption("full"):
        left = [item for item in items if item.get_closest_marker("full")]
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if not item.get_closest_marker("full")]


def pytest_collection_finish(session):
    """Garbage collections leave out what is there before the first test, which is much."""
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_report_header(config):
    where = "a machine for PTX" if PTX else "the simulator" if SIMULATED else None
    how = f"on {where}, single ops only" if where else fc.cuda.missing() or "on the device"
    part = "every test" if config.getoption("full") else "chosen cases; --full adds every combination"
    return [f"fastconv backends under test: {', '.join(OP_BACKENDS)}", f"cuda: {how}", f"tests: {part}"]


@pytest.fixture(scope="session", autouse=True)
def _rates():
    """Nothing is measured: neither rates of arithmetic and memory, on which the choice of an algorithm
    depends, nor tiles on a GPU, each of which takes seconds to compile."""
    from fastconv.backends.cpu.conv import cost

    with pytest.MonkeyPatch.context() as m:
        m.setattr(cost, "rates", lambda threads: RATES)
        if HAS_GPU:
            from fastconv.backends.cuda.runtime import autotune

            m.setattr(autotune, "can_measure", lambda: False)
        yield


needs_gpu = pytest.mark.skipif(not HAS_GPU, reason="needs a CUDA device")
needs_cuda = pytest.mark.skipif(not fc.cuda.is_available(), reason="needs a CUDA device or numba's simulator")


def is_slow(backend):
    """Whether a stand-in for a GPU computes, which is too slow for large arrays."""
    return backend == "cuda" and not HAS_GPU


def _each(backends):
    @pytest.fixture(params=backends)
    def backend(request):
        """Runs the test once on each backend present; the value is its name."""
        with fc.backend(request.param):
            yield request.param

    return backend


@pytest.fixture(autouse=True)
def _precision(request):
    """On a GPU float32 stays float32, or convolutions round what they multiply to TF32.

    That is wanted wherever "cuda" is a parameter. Tests of tensor cores set a precision themselves.
    """
    before = fc.get_float32_precision()
    parameters = request.node.callspec.params.values() if hasattr(request.node, "callspec") else ()
    if any(isinstance(p, str) and p == "cuda" for p in parameters):
        fc.set_float32_precision("highest")
    yield
    fc.set_float32_precision(before)


# a module says which it wants: backend = conftest.op_backend
backend, op_backend = _each(BACKENDS), _each(OP_BACKENDS)


@pytest.fixture(autouse=True)
def seeds():
    """Every test draws the same random numbers, whichever tests ran before it."""
    fc.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - a test that uses the global generator by mistake still repeats itself


@pytest.fixture
def blank_weights(monkeypatch):
    """New layers keep zero weights: nothing is drawn, and memory is only used where a test writes."""
    for name in ("uniform_", "normal_"):
        monkeypatch.setattr(fc.nn.init, name, lambda t, *options: t)
