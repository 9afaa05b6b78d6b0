"""From kernels to machine code and into the driver; the compiler needs no GPU."""

from __future__ import annotations

import functools
import os
import struct
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from conftest import SIMULATED, needs_cuda

import fastconv as fc

if fc.cuda.is_available():
    from fastconv.backends.cuda.codegen import compiler
    from fastconv.backends.cuda.runtime import device, driver

pytestmark = needs_cuda
ROOT = Path(__file__).parents[2]


def factory(*given):
    def kernel():
        return given

    return kernel


def test_a_fingerprint_tells_kernels_apart():
    """By what their factories were given, at any depth, and by their place where two share a line."""
    both = (lambda a, b: a < b), (lambda a, b: a > b)
    values = [
        1,
        1.0,
        True,
        "1",
        None,
        np.float32(1),
        np.dtype("f4"),
        np.float32,
        (1,),
        ((1,),),
        [1],
        {"a": 1},
    ]
    kernels = [factory(v) for v in values] + [factory(f) for f in both] + [factory(factory(f)) for f in both]
    kernels += [factory(functools.partial(both[0], n)) for n in (1, 2)]
    found = [compiler.fingerprint(k) for k in kernels]
    assert len(set(found)) == len(found)
    assert found == [compiler.fingerprint(k) for k in kernels]
    assert compiler.fingerprint(factory(1)) == compiler.fingerprint(factory(1))
    with pytest.raises(TypeError, match="was given a object"):
        compiler.fingerprint(factory(object()))


def test_a_damaged_file_is_compiled_anew(tmp_path):
    good, path = compiler.Cubin("name", b"\0code\0"), tmp_path / "kernel.cubin"
    assert compiler.load(path) is None
    compiler.save(path, good)
    assert compiler.load(path) == good
    path.write_bytes(path.read_bytes()[:-1])
    assert compiler.load(path) is None


# ------------------------------------------------------------------------------------------------- a compiler
# is there
NETS = """
import os, sys, warnings
from pathlib import Path
sys.path[:0] = ["tools"]
import cuda_report
if not cuda_report.compiler_found():
    print("no compiler"); sys.exit()
from fastconv.backends.cuda.codegen import compiler
from fastconv.backends.cuda.runtime import driver, launch
from fastconv.cli import cuda_kernels
import re, struct
cuda_kernels.NETS = (("lenet5", {}, (4,), (1, 28, 28)),)
cuda_kernels.PRECISIONS = ("high",)
if sys.argv[1:]:
    def compiled(*args):
        raise AssertionError("compiled again")
    compiler.compile_ptx = compiled
names = cuda_kernels.compile_share((9, 0), 0, 1)
size = {f"{kind}{bits}": bits // 8 for kind in "bsuf" for bits in (8, 16, 32, 64)}
for kernel, kinds in () if sys.argv[1:] else cuda_kernels.noted((9, 0))[::3]:
    head = compiler.compile_ptx(kernel, kinds, (9, 0)).split(".entry ", 1)[1].split(")", 1)[0]
    formats = "".join(map(launch._formats, kinds))
    assert [size[p] for p in re.findall(r"[.]param [.](?:align \\d+ [.])?(\\w+)", head)] == [
        struct.calcsize(f"@{f}") for f in formats
    ], (kernel, kinds, formats)
print(len(names), len(list(compiler.cache_dir().glob("*.cubin"))))
"""


@pytest.mark.full  # half a minute of compilation
def test_kernels_are_compiled_once_and_take_the_arguments_that_are_packed(tmp_path):
    """A second process finds every kernel on disk. The sizes of a kernel's parameters in PTX (of every third)
    are those that launches pack."""

    def run(*args):
        environment = os.environ | {"FASTCONV_CACHE_DIR": str(tmp_path), "NUMBA_ENABLE_CUDASIM": "0"}
        done = subprocess.run(
            [sys.executable, "-c", NETS, *args], cwd=ROOT, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.split("\n")[-2]

    first = run()
    if first == "no compiler":
        pytest.skip("needs numba-cuda and NVVM")
    launched, files = map(int, first.split())
    assert launched == files > 15
    assert run("again") == first


LAUNCHES = """
import ctypes, sys, types
from typing import NamedTuple
import numpy as np
from fastconv.backends.cuda.codegen import compiler
from fastconv.backends.cuda.runtime import device, driver, launch
from fastconv.backends.cuda.runtime.array import Block, DeviceArray

class Function:
    def __init__(self, label, name, code, formats):
        made.append(formats)
        self.formats = formats

    def start(self, values, grid, block, shared, stream):
        values = [v.item() if isinstance(v, np.generic) else v for v in values]
        started.append((self.formats, values, grid, block))

class Pair(NamedTuple):
    array: DeviceArray
    given: bool

made, started = [], []
driver.Function, driver.main_stream = Function, lambda: 1
compiler.cubin, device.capability = lambda *args: ("name", b""), lambda: (9, 0)
x, y = (DeviceArray(Block(1 << 40, None), (4,), kind, offset=8) for kind in (np.float32, bool))
at = x.address
k = launch.kernel(lambda *args: None)

def go(*args, grid=3):
    launch.launch(k, grid, (32, 2), *args)
    return started[-1]

assert go(x, 5) == ("Pi", [at, 5], (3, 1, 1), (32, 2, 1)), started
assert go(x, True, grid=(3, np.int64(2)))[:3] == ("Pi", [at, True], (3, 2, 1))
assert go(x, np.bool_(True))[1] == [at, 1] and go(y, -(2**31))[:2] == ("Pi", [at, -(2**31)])
assert made == ["Pi", "Pi"], made  # x and y are pointers to different types; 5 and True are both int32
assert go(x, 2**31)[0] == go(x, np.int64(1))[0] == "Pq"
assert go(x, np.uint32(7))[0] == "PI" and go(np.float32(2), np.float64(3))[0] == "fd"
assert go((1, 2), 3)[:2] == ("iii", [1, 2, 3]) and go((1,), 2, 3)[0] == go(1, (2, 3))[0] == "iii"
assert go(Pair(x, False), (np.uint64(1), (2, 3)))[:2] == ("PiQii", [at, False, 1, 2, 3])
assert go()[0] == ""
assert len(made) == 10, made
for wrong, words in ((np.zeros(3), "argument 1 is a host array"), (0.5, "argument 1 is a float")):
    for value in (wrong, (1, wrong)):
        for _ in range(2):
            try:
                go(x, value)
            except TypeError as e:
                assert words in str(e)
            else:
                raise AssertionError(wrong)
before = len(started)
launch.launch(k, 0, 32, x)
launch.launch(k, (2, 0), 32, x)
assert len(started) == before
print("as expected")
"""


def test_a_launch_finds_the_kernel_for_its_arguments():
    """Kernels are compiled for the types of arguments, once for each, and get them in the order of their
    packing. No device is needed, because nothing is started."""
    environment = os.environ | {"NUMBA_ENABLE_CUDASIM": "0"}
    done = subprocess.run(
        [sys.executable, "-c", LAUNCHES], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    if "No module named 'numba.cuda" in done.stderr:
        pytest.skip("needs numba-cuda")
    assert done.stdout == "as expected\n", done.stderr


# ------------------------------------------------------------------------------------------------- the driver
@pytest.fixture
def asked(monkeypatch):
    """What was asked of a stand-in for the driver; a function named in ``asked.failing`` fails."""
    calls, names = (
        [],
        ("cuLibraryLoadData", "cuLibraryGetKernel", "cuKernelGetFunction", "cuFuncSetAttribute"),
    )
    attribute = SimpleNamespace(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES="shared")
    stand_in = SimpleNamespace(CUresult=SimpleNamespace(CUDA_SUCCESS=0), CUfunction_attribute=attribute)
    found = SimpleNamespace(calls=calls, failing=None)

    def function(name):
        def call(*args):
            calls.append((name, *args))
            failed = name == found.failing
            return SimpleNamespace(name="CUDA_ERROR_INVALID_VALUE") if failed else 0, f"{name}'s result"

        return call

    for name in (*names, "cuLaunchKernel", "cuCtxSynchronize"):
        setattr(stand_in, name, function(name))
    bindings = ModuleType("cuda.bindings")
    bindings.driver = stand_in
    monkeypatch.setitem(sys.modules, "cuda", ModuleType("cuda"))
    monkeypatch.setitem(sys.modules, "cuda.bindings", bindings)
    monkeypatch.setattr(device, "attach", lambda: None)
    return found


@pytest.mark.skipif(not SIMULATED, reason="a stand-in for the driver")
def test_a_launch_packs_its_arguments(asked):
    """Each where the kernel expects it; shared memory beyond what every kernel may use is asked for once."""
    import ctypes

    kernel = driver.Function("scale", "_Zscale", b"code", "PBqfdi")
    for shared in (0, 100_000, 90_000):
        kernel.start([1 << 40, 200, -3, np.float32(0.5), 2.5, np.int32(-7)], (2, 1, 1), (32, 1, 1), shared, 9)
    name, handle, *grid_and_block, shared, stream, parameters, extra = asked.calls[-1]
    assert (name, handle) == ("cuLaunchKernel", "cuKernelGetFunction's result")
    assert grid_and_block == [2, 1, 1, 32, 1, 1] and (shared, stream, extra) == (90_000, 9, 0)
    places = (ctypes.c_void_p * 6).from_address(parameters)
    sizes = zip(places, "PBqfdi")
    got = [struct.unpack(f"@{f}", ctypes.string_at(at, struct.calcsize(f"@{f}")))[0] for at, f in sizes]
    assert got == [1 << 40, 200, -3, 0.5, 2.5, -7]
    granted = [args for name, *args in asked.calls if name == "cuFuncSetAttribute"]
    assert granted == [["cuKernelGetFunction's result", "shared", 100_000]]


@pytest.mark.skipif(not SIMULATED, reason="a stand-in for the driver")
@pytest.mark.parametrize(
    ("failing", "words"),
    [
        ("cuLaunchKernel", r"scale: grid \(2, 1, 1\), block \(32, 1, 1\), 50000 bytes: cuLaunchKernel: "),
        ("cuFuncSetAttribute", "scale: 50000 bytes of shared memory per block are not available here"),
    ],
)
def test_a_launch_that_fails_names_its_kernel(failing, words, asked):
    kernel = driver.Function("scale", "_Zscale", b"code", "")
    asked.failing = failing
    with pytest.raises(RuntimeError, match=f"{words}.*CUDA_ERROR_INVALID_VALUE"):
        kernel.start([], (2, 1, 1), (32, 1, 1), 50_000, 9)


@pytest.mark.skipif(not SIMULATED, reason="a stand-in for the driver")
def test_a_fault_names_the_kernel_that_was_waited_for(asked):
    asked.failing = "cuCtxSynchronize"
    with pytest.raises(RuntimeError, match="scale: cuCtxSynchronize: CUDA_ERROR_INVALID_VALUE"):
        driver.wait("scale")
