"""What carries the kernels: compilation and its disk cache, threads, forks, the buffer pool."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import fastconv as fc
from fastconv.backends import cpu, settings
from fastconv.backends.cpu.codegen import jit
from fastconv.backends.cpu.runtime import layout, memory
from fastconv.nn import functional as F

PACKAGE = Path(fc.__file__).parent
CONV = """
import sys, hashlib, numpy as np, fastconv as fc
from fastconv.nn import functional as F
rng = np.random.default_rng(0)
x = fc.tensor(rng.standard_normal((3, 5, 9, 11)).astype("float32"), requires_grad=True)
w = fc.tensor(rng.standard_normal((7, 5, 3, 3)).astype("float32"), requires_grad=True)
y = F.conv2d(x, w, padding=1, algorithm="direct")
y.backward(rng.standard_normal(y.shape).astype("float32"))
"""
DIGEST = (
    CONV
    + """
print(hashlib.sha256(b"".join(t.numpy().tobytes() for t in (y, x.grad, w.grad))).hexdigest())
"""
)
#: A kernel that compiles in a second, and what it gives: for tests of where kernels are kept.
LIGHT = """
import numpy as np, fastconv as fc
print(float(fc.tensor(np.linspace(-1, 1, 1 << 16, dtype="float32")).relu().sum().item()))
"""
LIGHT_RESULT = float(np.maximum(np.linspace(-1, 1, 1 << 16, dtype=np.float32), 0).sum(dtype=np.float64))


def start(code: str, cache: Path | None, **environment) -> subprocess.CompletedProcess:
    """``code`` in a fresh Python with its own kernel cache; a variable of None is not set."""
    environment = {
        **os.environ,
        "FASTCONV_CACHE_DIR": str(cache),
        "PYTHONPATH": str(PACKAGE.parent),
        **environment,
    }
    environment = {name: value for name, value in environment.items() if value is not None}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=PACKAGE.anchor,
        capture_output=True,
        text=True,
        timeout=300,
    )  # in a folder without a fastconv of its own


def run(code: str, cache: Path | None, **environment) -> str:
    """What ``code`` prints (see :func:`start`)."""
    done = start(code, cache, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A kernel cache that two processes filled at the same time, and what they printed."""
    folder = tmp_path_factory.mktemp("cache")
    outputs = []
    threads = [threading.Thread(target=lambda: outputs.append(run(DIGEST, folder))) for _ in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(outputs) == 2
    return folder, outputs


# -------------------------------------------------------------------------------------------------
# compilation
@pytest.mark.full
def test_two_processes_may_compile_at_once(cache):
    folder, outputs = cache
    assert outputs[0] == outputs[1]
    assert list(folder.rglob("*.bin")) and not list(folder.rglob("*.tmp"))


@pytest.mark.full
def test_a_warm_cache_is_used_and_gives_the_same_bits(cache):
    folder, outputs = cache
    before = {f: f.stat().st_mtime_ns for f in folder.rglob("*.bin")}
    assert run(DIGEST, folder) == outputs[0]
    assert {f: f.stat().st_mtime_ns for f in folder.rglob("*.bin")} == before


@pytest.mark.full
def test_damaged_cache_files_are_compiled_anew(cache, tmp_path):
    shutil.copytree(cache[0], tmp_path / "c")
    files = sorted((tmp_path / "c").rglob("*.bin"), key=lambda f: f.stat().st_size)[:6]  # not the tile
    for i, f in enumerate(files):
        data = f.read_bytes()
        f.write_bytes([b"", data[: len(data) // 2], data[:-1] + bytes([data[-1] ^ 1])][i % 3])
    assert run(DIGEST, tmp_path / "c") == cache[1][0]
    assert all(f.stat().st_size > 100 for f in files)


@pytest.mark.full
def test_without_a_writable_folder_kernels_still_run(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    code = "import tempfile; tempfile.tempdir = '/dev/null'\n" + LIGHT
    result = run(code, blocked, HOME="/dev/null", XDG_CACHE_HOME="/dev/null")
    assert float(result) == pytest.approx(LIGHT_RESULT, rel=1e-6)
    assert blocked.read_text() == "not a folder"


@pytest.mark.full
def test_the_cache_key_changes_with_any_kernel_source(tmp_path):
    copy = tmp_path / "fastconv"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "mini"))
    code = "import fastconv.backends.cpu.codegen.jit as j; print(j.cache_key())"
    keys = [run(code, tmp_path, PYTHONPATH=str(tmp_path))]
    assert keys[0] == run(code, tmp_path, PYTHONPATH=str(tmp_path))
    for name in sorted(p.name for p in (copy / "backends" / "cpu").glob("*.py")):
        with open(copy / "backends" / "cpu" / name, "a") as f:
            f.write("\n# edited\n")
        keys.append(run(code, tmp_path, PYTHONPATH=str(tmp_path)))
    (copy / "_version.py").write_text('__version__ = "9.9.9"\n')
    keys.append(run(code, tmp_path, PYTHONPATH=str(tmp_path)))
    keys.append(
        run(
            code,
            tmp_path,
            PYTHONPATH=str(tmp_path),
            NUMBA_CPU_NAME="haswell",
            NUMBA_CPU_FEATURES="+avx2,+fma",
        )
    )
    assert len(set(keys)) == len(keys)


def test_fastmath_flags_keep_nan_and_infinity():
    assert not jit.FASTMATH & {"fast", "nnan", "ninf"}


# ------------------------------------------------------------------------------------------------- threads
# and forks
def _expected(x, w):
    with fc.backend("numpy"):
        return F.conv2d(x, w).numpy()


def test_calls_from_several_python_threads():
    rng = np.random.default_rng(0)
    jobs = [
        (rng.standard_normal((2, 3, 8 + i, 9)).astype("f4"), rng.standard_normal((5, 3, 3, 3)).astype("f4"))
        for i in range(4)
    ]
    wrong = []

    def work(x, w):
        for _ in range(20):
            if not np.allclose(F.conv2d(x, w).numpy(), expected[id(x)], atol=1e-4):
                wrong.append(x.shape)

    expected = {id(x): _expected(x, w) for x, w in jobs}
    threads = [threading.Thread(target=work, args=job) for job in jobs]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_computes():
    code = (
        CONV
        + """
import os
before = y.numpy().copy()
reader, writer = os.pipe()
child = os.fork()
if child == 0:
    again = F.conv2d(x, w, padding=1, algorithm="direct").numpy()
    os.write(writer, b"same" if np.allclose(again, before, atol=1e-5) else b"different")
    os._exit(0)
print(os.read(reader, 20).decode(), os.waitpid(child, 0)[1])
"""
    )
    assert run(code, cache=None, FASTCONV_CACHE_DIR=os.environ.get("FASTCONV_CACHE_DIR")) == "same 0"


FORK = """
import os, signal, threading, time
def child(work):
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)  # a child that hangs ends by this
        work()
        os._exit(0)
    return os.waitpid(pid, 0)[1]
def busy(work):
    def loop():
        while not stop:
            work()
    threading.Thread(target=loop, daemon=True).start()
stop = []
"""
#: What other threads do, and what the child of a fork then does itself.
AT_FORK = {
    "draw random numbers": (
        "busy(lambda: fc.rand(300, 300))",
        "fc.rand(3); fc.manual_seed(1); fc.random.next_seed()",
    ),
    "take and give memory": (
        "busy(lambda: [memory.empty((5000,), 'f4') for _ in range(50)])",
        "[memory.empty((5000,), 'f4') for _ in range(50)]",
    ),
    "run kernels": (
        "busy(lambda: F.conv2d(x, w, padding=1, algorithm='direct'))",
        "F.conv2d(x, w, padding=1, algorithm='direct')",
    ),
}


@pytest.mark.full
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("what", AT_FORK)
def test_a_fork_while_other_threads(cache, what):
    there, here = AT_FORK[what]
    code = (
        CONV
        + FORK
        + f"""
from fastconv.backends.cpu.runtime import memory
{there}
{there}
print({{child(lambda: ({here.replace(";", ",")})) for _ in range(40)}})
stop.append(1)
"""
    )
    assert run(code, cache[0]) == "{0}"


@pytest.mark.full
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_while_another_thread_compiles(cache, tmp_path):
    code = FORK + CONV.replace(
        "y = F",
        """
from fastconv.backends import compiling
fc.backends.load("cpu")
threading.Thread(target=lambda: F.conv2d(x, w, padding=1, algorithm="direct")).start()
while not compiling.state.depth:
    time.sleep(0.001)
print(child(lambda: F.relu(F.conv2d(x, w, padding=1, algorithm="direct"))))
y = F""",
    )
    assert run(code.replace("signal.alarm(20)", "signal.alarm(200)"), tmp_path) == "0"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_an_epoch_does_not_go_on_in_the_child_of_a_fork(tmp_path):
    code = (
        FORK
        + """
import numpy as np, fastconv as fc
loader = fc.data.DataLoader((np.zeros((40, 3)), np.zeros(40)), 4)
batches = iter(loader)
next(batches)
def work():
    try:
        next(batches)
    except RuntimeError as e:
        assert str(e).startswith("DataLoader: this epoch began before the process was forked"), e
    else:
        os._exit(3)
    assert len(list(loader)) == 10
print(child(work), len(list(batches)))
"""
    )
    assert run(code, tmp_path) == "0 9"


@pytest.mark.skipif(settings.available_cpus() < 2, reason="needs two processors")
def test_every_number_of_threads_computes_the_same_within_rounding():
    rng = np.random.default_rng(0)
    x = fc.tensor(rng.standard_normal((2, 16, 15, 13)).astype("f4"), requires_grad=True)
    w = fc.tensor(rng.standard_normal((24, 16, 3, 3)).astype("f4"), requires_grad=True)
    results = []
    before = fc.get_num_threads()
    try:
        for n in (1, 2):
            fc.set_num_threads(n)
            x.grad = w.grad = None
            y = F.conv2d(x, w, padding=1)
            y.backward(np.ones(y.shape, np.float32))
            results.append([t.numpy().copy() for t in (y, x.grad, w.grad)])
    finally:
        fc.set_num_threads(before)
    for one, two in zip(*results):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bad", [0, -1, 1.5, "two", None])
def test_bad_thread_counts_are_refused(bad):
    with pytest.raises(ValueError, match="set_num_threads: expected"):
        fc.set_num_threads(bad)


def test_more_threads_than_there_are_processors_are_cut_to_them():
    before = fc.get_num_threads()
    try:
        with pytest.warns(
            UserWarning, match=f"set_num_threads: 10000 threads asked for, {settings.available_cpus()} used"
        ):
            fc.set_num_threads(10_000)
        assert fc.get_num_threads() == settings.available_cpus()
    finally:
        fc.set_num_threads(before)


THREADS = """
import fastconv as fc
print(fc.get_num_threads())
fc.rand(64, 64) @ fc.rand(64, 64)
print(fc.get_num_threads())
"""


def test_thread_count_from_the_environment(tmp_path):
    assert run(THREADS, tmp_path, FASTCONV_NUM_THREADS="1", FASTCONV_BACKEND="numpy") == "1\n1"
    many = start(THREADS, tmp_path, FASTCONV_NUM_THREADS="10000", FASTCONV_BACKEND="numpy")
    assert many.stdout.split() == [str(settings.available_cpus())] * 2
    assert many.stderr.count("FASTCONV_NUM_THREADS: 10000 threads asked for") == 1


@pytest.mark.full
def test_never_more_threads_than_numba_was_allowed(cache):
    """As in the workers of joblib, which sets the variable there."""
    done = start(DIGEST + "print(fc.get_num_threads())", cache[0], NUMBA_NUM_THREADS="1")
    assert done.stdout.split() == [run(DIGEST, cache[0], FASTCONV_NUM_THREADS="1"), "1"]
    assert "Warning" not in done.stderr
    done = start(
        CONV + "fc.set_num_threads(2); F.conv2d(x, w); print(fc.get_num_threads())",
        cache[0],
        NUMBA_NUM_THREADS="1",
    )
    assert done.stdout.strip() == "1"
    if settings.available_cpus() > 1:
        assert "set_num_threads: 2 threads asked for, 1 used (NUMBA_NUM_THREADS=1)" in done.stderr


@pytest.mark.parametrize(
    "quota, processors",
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, np.inf),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, np.inf),
        ({"cpu.max": ""}, np.inf),
        ({}, np.inf),
    ],
)
def test_the_limit_of_a_container_counts(tmp_path, quota, processors):
    for name, text in quota.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert settings.container_cpus(tmp_path) == processors


# -------------------------------------------------------------------------------------------------
# environment
@pytest.mark.parametrize(
    "name, value, use",
    [
        ("FASTCONV_BACKEND", "gpu", "fc.nn.functional.relu(fc.ones(3))"),
        ("FASTCONV_BACKEND", "CPU", "fc.get_backend()"),
        ("FASTCONV_CONV_ALGORITHM", "fast", "F.conv2d(fc.ones(1, 1, 3, 3), fc.ones(1, 1, 3, 3))"),
        ("FASTCONV_NUM_THREADS", "0", "fc.get_num_threads()"),
        ("FASTCONV_NUM_THREADS", "all", "fc.get_num_threads()"),
        ("FASTCONV_CUDA_POISON", "yes", "fc.backends.settings.switch('FASTCONV_CUDA_POISON', False)"),
    ],
)
def test_a_wrong_variable_is_named_where_it_is_used_and_lets_fastconv_be_imported(tmp_path, name, value, use):
    code = "import fastconv as fc; from fastconv.nn import functional as F; print('imported')\n" + use
    done = start(code, tmp_path, **{name: value})
    assert done.stdout == "imported\n" and done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"ValueError: {name}: expected ")
    assert done.stderr.rstrip().endswith(f"got {value!r}")


@pytest.mark.parametrize(
    "name", ["FASTCONV_BACKEND", "FASTCONV_CONV_ALGORITHM", "FASTCONV_NUM_THREADS", "FASTCONV_CACHE_DIR"]
)
def test_an_empty_variable_is_none(tmp_path, name):
    code = "import fastconv as fc; from fastconv.backends import disk; print(fc.get_backend(), disk.folder())"
    assert run(code, tmp_path, **{"XDG_CACHE_HOME": str(tmp_path), name: ""}).startswith(f"cpu {tmp_path}")


def test_without_compilation_the_numpy_backend_is_named(tmp_path):
    code = "import fastconv as fc; print(float((fc.rand(3, 3) @ fc.ones(3, 3)).sum()) > 0)"
    done = start(code, tmp_path, NUMBA_DISABLE_JIT="1")
    last = done.stderr.splitlines()[-1]
    assert last.startswith("RuntimeError: backend 'cpu': ") and "NUMBA_DISABLE_JIT" in last
    assert "FASTCONV_BACKEND=numpy" in last and "fc.set_backend('numpy')" in last
    assert run(code, tmp_path, NUMBA_DISABLE_JIT="1", FASTCONV_BACKEND="numpy") == "True"


#: A user without a home, and whom the system does not know by name (``docker run --user 4711``).
NOBODY = """
import os
try:
    import pwd
    def unknown(uid):
        raise KeyError(f"getpwuid(): uid not found: {uid}")
    pwd.getpwuid = unknown
except ImportError:
    pass
"""


@pytest.mark.full
@pytest.mark.parametrize("given", [True, False])
def test_a_user_without_home_and_name(cache, tmp_path, given):
    (tmp_path / "t").mkdir()
    none = dict.fromkeys(
        ("HOME", "USER", "LOGNAME", "USERNAME", "USERPROFILE", "XDG_CACHE_HOME", "LOCALAPPDATA")
    )
    folder, temporary = (str(cache[0]), None) if given else (None, str(tmp_path / "t"))
    code = NOBODY + DIGEST + "from fastconv import data; data.fashion_mnist_or_mini(download=False)"
    output = run(code, **none, cache=folder, TMPDIR=temporary, TEMP=temporary, FASTCONV_CACHE_DIR=folder)
    assert output == cache[1][0]
    assert given or len(list((tmp_path / "t").rglob("*.bin"))) > 3


def test_a_tilde_in_the_name_of_the_cache_folder(tmp_path):
    code = "from fastconv.backends import disk; print(disk.folder())"
    assert run(code, "~/kernels", HOME=str(tmp_path), USERPROFILE=str(tmp_path)) == str(tmp_path / "kernels")


@pytest.mark.full
def test_without_a_temporary_directory(cache):
    code = """
import tempfile
def none():
    raise FileNotFoundError("No usable temporary directory found")
tempfile.gettempdir = none
"""
    assert run(code + DIGEST, cache[0]) == cache[1][0]


@pytest.mark.full
@pytest.mark.skipif(os.name == "nt", reason="no limit on the size of files")
def test_on_a_full_disk_kernels_still_run(tmp_path):
    code = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
    assert float(run(code + LIGHT, tmp_path)) == pytest.approx(LIGHT_RESULT, rel=1e-6)
    assert not [
        f for f in tmp_path.rglob("*") if f.is_file() and f.stat().st_size > 1000 or f.suffix == ".tmp"
    ]


def test_vectors_are_those_of_the_processor_that_numba_compiles_for(tmp_path):
    code = "from fastconv.backends.cpu.codegen import target as t; print(t.TARGET.vector_bytes, t.features())"
    assert run(code, tmp_path, NUMBA_CPU_NAME="generic") == "16 {}"


@pytest.mark.full
def test_a_read_only_install_works(cache, tmp_path):
    copy = tmp_path / "site" / "fastconv"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for path in [*copy.rglob("*"), copy]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = sorted(copy.rglob("*"))
    try:
        code = DIGEST + "\nfrom fastconv import data\nassert len(data.FashionMNISTMini()) == 6000"
        assert run(code, cache[0], PYTHONPATH=str(copy.parent), PYTHONDONTWRITEBYTECODE="1") == cache[1][0]
        assert sorted(copy.rglob("*")) == before
    finally:
        for path in [copy, *copy.rglob("*")]:
            path.chmod(0o755)


# ------------------------------------------------------------------------------------------------- memory
def test_blocks_are_aligned_and_used_again():
    memory.trim()
    a = memory.empty((1000, 100), np.float32)
    assert a.ctypes.data % memory.ALIGN == 0 and a.flags.c_contiguous and a.flags.writeable
    address, fresh = a.ctypes.data, memory.statistics()["fresh"]
    view = a[10:].T
    del a
    gc.collect()
    assert memory.empty((1000, 100), np.float32).ctypes.data != address  # a view is still in use
    fresh += 1
    assert memory.statistics()["fresh"] == fresh
    del view
    gc.collect()
    b = memory.empty((100, 1000), np.float32)
    assert memory.statistics()["fresh"] == fresh and b.size == 100_000


def test_the_pool_can_be_trimmed():
    a = memory.empty((1 << 18,), np.float32)
    del a
    gc.collect()
    assert memory.statistics()["free_bytes"] >= 1 << 20
    memory.trim()
    assert memory.statistics()["free_bytes"] == 0


def test_the_pool_serves_several_threads():
    def work(k):
        for i in range(300):
            a = memory.empty((2000 + i,), np.float32)
            a.fill(k)
            if not (a == k).all():
                wrong.append(k)

    wrong = []
    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == []


def test_a_steady_training_step_takes_no_fresh_memory():
    net = fc.nn.Sequential(
        fc.nn.Conv2d(3, 16, 3, padding=1),
        fc.nn.BatchNorm2d(16),
        fc.nn.ReLU(),
        fc.nn.MaxPool2d(2),
        fc.nn.Flatten(),
        fc.nn.Linear(16 * 64, 10),
    )
    optimizer = fc.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    loss = fc.nn.CrossEntropyLoss()
    x, y = np.random.default_rng(0).random((32, 3, 16, 16), np.float32), np.arange(32) % 10

    def step():
        optimizer.zero_grad()
        loss(net(x), y).backward()
        optimizer.step()

    with fc.backend("cpu"):
        for _ in range(5):
            step()
        gc.collect()
        fresh = memory.statistics()["fresh"]
        for _ in range(5):
            step()
        assert memory.statistics()["fresh"] == fresh


def test_layout_views_channels_last_memory_without_a_copy():
    x, inner = layout.empty((2, 3, 5, 7), np.float32)
    assert x.shape == (2, 3, 5, 7) and inner.shape == (2, 1, 5, 7, 3)
    assert np.shares_memory(layout.to_ndhwc(x), inner) and np.shares_memory(x, inner)
    plain = np.zeros((2, 3, 5, 7), np.float32)
    assert not np.shares_memory(layout.to_ndhwc(plain), plain)


def test_convolution_results_are_channels_last():
    y = cpu.conv_fwd(
        np.ones((1, 2, 4, 4), np.float32),
        np.ones((3, 2, 3, 3), np.float32),
        None,
        fc.spec.conv_spec("conv2d", (1, 2, 4, 4), (3, 2, 3, 3)),
    )
    assert y.transpose(0, 2, 3, 1).flags.c_contiguous


SHAPES = [((2, 3, 9, 7), (5, 3, 3, 3)), ((1, 40, 6, 6), (33, 40, 3, 3)), ((3, 70, 5, 9), (48, 70, 3, 3))]


@pytest.mark.parametrize("algorithm", ["direct", "im2col", "winograd"])
@pytest.mark.parametrize("shape, weight", SHAPES)
def test_convolution_reads_no_scratch_memory_it_did_not_write(monkeypatch, algorithm, shape, weight):
    """All memory comes poisoned with NaN; several runs, since a missing barrier shows now and then only."""
    plain = memory.empty

    def poisoned(shape, dtype):
        a = plain(shape, dtype)
        if a.dtype.kind == "f":
            a.fill(np.nan)
        return a

    rng = np.random.default_rng(0)
    x, w = rng.standard_normal(shape).astype("f4"), rng.standard_normal(weight).astype("f4")
    spec = fc.spec.conv_spec("conv2d", shape, weight, padding=1)
    gy = rng.standard_normal(spec.y_shape).astype("f4")
    calls = [("conv_fwd", (x, w, None)), ("conv_bwd_data", (gy, w)), ("conv_bwd_weight", (x, gy))]
    reference = fc.backends.load("numpy")
    expected = [getattr(reference, name)(*args, spec) for name, args in calls]
    monkeypatch.setattr(memory, "empty", poisoned)
    for _ in range(5):
        for (name, args), want in zip(calls, expected):
            got = getattr(cpu, name)(*args, spec, algorithm)
            np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 * np.abs(want).max())
