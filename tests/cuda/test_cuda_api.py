"""``fc.cuda``: devices, memory, streams and events, names for profilers.

Without a GPU it runs under the simulator.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import SIMULATED, needs_cuda

import fastconv as fc
from fastconv import data, nn
from fastconv.cuda import nvtx

pytestmark = needs_cuda


def run_python(program, **environment):
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=os.environ | environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


# ------------------------------------------------------------------------------------------------- devices
def test_there_is_a_device():
    count, number = fc.cuda.device_count(), fc.cuda.current_device()
    assert count >= 1 and 0 <= number < count
    found = fc.cuda.get_device_properties()
    assert found == fc.cuda.get_device_properties(number) == fc.cuda.get_device_properties(f"cuda:{number}")
    assert fc.cuda.get_device_name() == found.name
    assert fc.cuda.get_device_capability("cuda") == (found.major, found.minor)
    if SIMULATED:
        assert found == ("simulator", 0, 0, 0, 0)
    else:
        assert found.total_memory > 1 << 30 and found.multi_processor_count > 0 and found.major >= 5


@pytest.mark.parametrize(
    "call", [fc.cuda.set_device, fc.cuda.get_device_properties, fc.cuda.get_device_name, fc.cuda.synchronize]
)
def test_a_device_that_is_not_there_is_refused(call):
    for number in (-1, 99, "cuda:99"):
        with pytest.raises(ValueError, match=f"^{call.__name__.replace('_name', '_properties')}: there "):
            call(number)
    for wrong in ("gpu", 1.5, "cuda:x", [0]):
        with pytest.raises(TypeError, match="expected the number of a GPU or 'cuda:NUMBER', got"):
            call(wrong)


@pytest.mark.skipif(not SIMULATED, reason="pretends that there are two devices")
def test_the_device_is_chosen_before_its_first_use():
    program = """
import fastconv as fc
from fastconv import data, nn
fc.backends.load("cuda").properties.count = lambda: 2
print(fc.cuda.device_count(), fc.cuda.is_initialized())
fc.cuda.set_device(1)
print(fc.cuda.current_device(), fc.device("cuda:1"))
x = fc.ones(2).to("cuda:1").to(1).cuda(1).cuda("cuda")
nn.Linear(2, 2).cuda(1)
print(x.device, fc.cuda.is_initialized())
fc.cuda.set_device("cuda:1")
for wrong in (fc.cuda.set_device, lambda n: x.to(f"cuda:{n}"), x.cuda, fc.cuda.synchronize):
    try:
        wrong(0)
    except (RuntimeError, ValueError) as e:
        print(e)
"""
    assert run_python(program) == [
        "2 False",
        "1 cuda",
        "cuda True",
        "set_device: this process computes on GPU 1 already, and a process uses one GPU; call it before the "
        "first tensor is made there",
        "device: expected 'cpu' or 'cuda', got 'cuda:0'; fc.cuda.set_device chooses the GPU",
        "cuda: expected the GPU, 1 or 'cuda', got 0; use to(device) for another device",
        "synchronize: this process computes on GPU 1 only, got 0",
    ]


@pytest.mark.skipif(not SIMULATED, reason="pretends that there is a device")
def test_every_thread_makes_the_device_its_own():
    """The driver knows of one current device in each thread, and Numba would take the first one."""
    program = """
import threading
import fastconv as fc
from types import SimpleNamespace
device = fc.backends.load("cuda").device
chosen = []
device.cuda = SimpleNamespace(select_device=lambda n: chosen.append((n, threading.current_thread().name)))
device.choose(3)
device.on_host = False
for name in "abc":
    thread = threading.Thread(target=lambda: [device.attach() for _ in range(3)], name=name)
    thread.start()
    thread.join()
print(chosen)
"""
    assert run_python(program) == ["[(3, 'a'), (3, 'b'), (3, 'c')]"]


@pytest.mark.skipif(not SIMULATED, reason="there is a GPU")
def test_without_a_gpu():
    program = """
import fastconv as fc
print(fc.cuda.device_count(), fc.cuda.is_initialized())
fc.cuda.manual_seed(0); fc.cuda.manual_seed_all(0)
event = fc.cuda.Event()
with fc.cuda.nvtx.range("nothing"):
    pass
for call in "current_device get_device_name memory_allocated synchronize current_stream init".split():
    try:
        getattr(fc.cuda, call)()
    except RuntimeError as e:
        print(str(e)[:16])
"""
    assert run_python(program, NUMBA_ENABLE_CUDASIM="0") == ["0 False"] + 6 * ["backend 'cuda': "]


def test_init_uses_the_device():
    assert run_python("import fastconv as fc; fc.cuda.init(); print(fc.cuda.is_initialized())") == ["True"]


# ------------------------------------------------------------------------------------------------- memory
def test_memory_in_use():
    fc.cuda.empty_cache()
    before, reserved = fc.cuda.memory_allocated(), fc.cuda.memory_reserved()
    assert reserved == before
    x = fc.zeros(1 << 18, device="cuda")
    assert fc.cuda.memory_allocated() - before == x.nbytes == 1 << 20
    fc.cuda.reset_peak_memory_stats()
    y = fc.zeros(1 << 17, device="cuda")
    del x, y
    assert fc.cuda.memory_allocated() == before
    assert fc.cuda.max_memory_allocated() - before == 3 << 19
    assert fc.cuda.memory_reserved() - before == 3 << 19, "the pool keeps it"
    fc.cuda.reset_peak_memory_stats()
    assert fc.cuda.max_memory_allocated() == before, "less than was in use lately is a new peak"
    z = fc.zeros(1 << 16, device="cuda")
    assert fc.cuda.max_memory_allocated() == fc.cuda.memory_allocated() > before
    del z
    fc.cuda.empty_cache()
    assert fc.cuda.memory_reserved() == before


def test_the_memory_of_graphs_counts():
    from fastconv.backends.cuda.runtime import pool

    before = fc.cuda.memory_reserved()
    own = pool.Pool(bounded=False)
    block = own.take(1 << 20)
    assert fc.cuda.memory_reserved() - before == 1 << 20
    del block, own
    assert fc.cuda.memory_reserved() == before


def test_one_generator_for_both_devices():
    numbers = []
    for seed in (fc.manual_seed, fc.cuda.manual_seed, fc.cuda.manual_seed_all):
        seed(3)
        numbers.append(fc.rand(4, device="cuda").numpy())
    assert (numbers[0] == numbers[1]).all() and (numbers[0] == numbers[2]).all()


# ------------------------------------------------------------------------------------------------- streams
def test_events_measure_time():
    start, end = (fc.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    y = nn.Linear(3, 3).cuda()(fc.ones(2, 3, device="cuda"))
    time.sleep(0.002)
    end.record(fc.cuda.current_stream())
    end.synchronize()
    assert y.shape == (2, 3) and start.query() and end.query()
    assert 1 < start.elapsed_time(end) < 1e5 and end.elapsed_time(start) < 0
    again = end.elapsed_time(start)
    start.record()
    end.synchronize()
    start.synchronize()
    assert end.elapsed_time(start) > again, "a second record moves the event"


def test_wrong_uses_of_events():
    one, other = fc.cuda.Event(enable_timing=True), fc.cuda.Event()
    other.record()
    assert one.query()
    one.synchronize()
    with pytest.raises(ValueError, match="enable_timing=True"):
        one.elapsed_time(other)
    with pytest.raises(ValueError, match="must be recorded"):
        one.elapsed_time(one)
    with pytest.raises(TypeError, match="Event.record: expected fc.cuda.current_stream"):
        one.record(0)


def test_there_is_one_stream():
    stream = fc.cuda.current_stream()
    assert stream == fc.cuda.Stream() == fc.cuda.current_stream(0) and hash(stream) == hash(fc.cuda.Stream())
    assert stream != 0 and isinstance(stream.cuda_stream, int) and (stream.cuda_stream == 0) == SIMULATED
    event = fc.cuda.Event(enable_timing=True)
    assert stream.record_event(event) is event
    stream.synchronize()
    assert event.query() and stream.query()


# ------------------------------------------------------------------------------------------------- pinned
def test_pinned_memory():
    images = np.arange(120, dtype=np.float32).reshape(2, 3, 4, 5)
    for array in (images, images.transpose(1, 3, 0, 2), np.array(3.0), np.zeros((0, 2)), images > 3):
        x = fc.from_numpy(array)
        y = x.pin_memory()
        assert y.is_pinned() and not x.is_pinned() and y.pin_memory() is y and y.dtype == x.dtype
        np.testing.assert_array_equal(y.numpy(), array)
        for non_blocking in (False, True):
            moved = [y.to("cuda", non_blocking=non_blocking), y.cuda(non_blocking=non_blocking)]
            moved.append(y.to("cuda", x.dtype, non_blocking))
            assert not any(m.is_pinned() for m in moved)
            for m in moved:
                np.testing.assert_array_equal(m.numpy(), array)
    assert y[1:].is_pinned() and not (y + 1).is_pinned() and not y.clone().is_pinned()
    with pytest.raises(ValueError, match="pin_memory: the tensor is on the GPU"):
        moved[0].pin_memory()


def test_the_gradient_passes_pinned_memory():
    x = fc.ones(3, requires_grad=True)
    (x.pin_memory().to("cuda", non_blocking=True) * 2).sum().backward()
    assert x.grad.tolist() == [2, 2, 2]


def test_pinned_memory_is_used_again():
    x = fc.ones(1000).pin_memory()
    address = x.numpy().ctypes.data
    del x
    assert fc.zeros(1000).pin_memory().numpy().ctypes.data == address


@pytest.mark.skipif(not SIMULATED, reason="looks at the calls of a device that it stands in for")
def test_a_move_waits_unless_it_is_told_not_to(monkeypatch):
    """The source of a copy that may still run is kept, until the event after it is reached."""
    from fastconv.backends.cuda.runtime import device, driver, memory, pinned

    done, reached = [], []

    class Event:
        def record(self, stream):
            done.append("event")

        def query(self):
            return bool(reached)

    class Stream:
        def synchronize(self):
            done.append("waited")

    x = pinned.copy(np.ones(4, np.float32))
    numbers = SimpleNamespace(address=0, base=SimpleNamespace(known={}))
    monkeypatch.setattr(driver, "copy_to_device", lambda *args: done.append("copy"))
    monkeypatch.setattr(device, "on_host", False)
    monkeypatch.setattr(device, "stream", Stream)
    monkeypatch.setattr(pinned.events, "event", lambda timing: Event())
    memory.write(numbers, np.ones(4, np.float32), non_blocking=True)
    memory.write(numbers, x)
    memory.write(numbers, x, non_blocking=True)
    assert done == ["copy", "copy", "waited", "copy", "event"]
    before = sys.getrefcount(x)
    reached.append(True)
    memory.write(numbers, pinned.copy(np.ones(1, np.float32)), non_blocking=True)
    assert sys.getrefcount(x) == before - 1


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_pins_its_batches(workers):
    arrays = np.arange(24, dtype=np.float32).reshape(6, 1, 2, 2), np.arange(6)
    plain, pins = (list(data.DataLoader(arrays, 4, num_workers=workers, pin_memory=p)) for p in (False, True))
    for before, after in zip(plain, pins):
        for a, b in zip(before, after):
            assert b.is_pinned() and not a.is_pinned() and b.dtype == a.dtype
            np.testing.assert_array_equal(a.numpy(), b.numpy())
    items = [{"x": fc.ones(2), "name": "a", "n": 1}, {"x": fc.ones(2), "name": "b", "n": 2}]
    (batch,) = data.DataLoader(items, 2, pin_memory=True)
    assert batch["x"].is_pinned() and batch["n"].is_pinned() and batch["name"] == ["a", "b"]
    with fc.backend("cuda"):
        x, y = next(iter(data.DataLoader(arrays, 4, pin_memory=True)))
    assert x.is_cuda and y.is_cuda


# ------------------------------------------------------------------------------------------------- profilers
class Library:
    """NVTX as far as it is called: a stack of names."""

    def __init__(self):
        self.said, self.depth = [], 0

    def nvtxRangePushA(self, name):  # noqa: N802 - NVIDIA's name
        self.said.append(name)
        self.depth += 1
        return self.depth - 1

    def nvtxRangePop(self):  # noqa: N802
        self.depth -= 1
        return self.depth

    def nvtxMarkA(self, name):  # noqa: N802
        self.said.append(name)


@pytest.mark.parametrize("library", [None, Library()])
def test_names_for_profilers(library, monkeypatch):
    monkeypatch.setattr(nvtx, "library", lambda: library)
    assert nvtx.is_available() == (library is not None)

    @nvtx.range("step")
    def step():
        with nvtx.range("batch {}", 3):
            nvtx.mark("é")
            return nvtx.range_push("x"), nvtx.range_pop()

    assert step() == ((-1, -1) if library is None else (2, 2))
    with pytest.raises(KeyError), nvtx.range("fails"):
        raise KeyError
    if library is not None:
        assert library.said == [b"step", b"batch 3", "é".encode(), b"x", b"fails"] and library.depth == 0


def test_the_library_of_names_is_found_or_not():
    """Whatever this machine has: the functions can be called."""
    assert isinstance(nvtx.range_push("a"), int) and isinstance(nvtx.range_pop(), int)
    nvtx.mark("b")
    assert np.isfinite(fc.ones(1).item())
