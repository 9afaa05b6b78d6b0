"""The first look: versions, then one step of each kind from a single kernel to a recorded training step.

Most of the time goes into compiling convolutions, so those of each precision run in a process of their own.
"""

from __future__ import annotations

import functools
import os
import platform
import shutil
import subprocess
import traceback
from importlib import metadata
from statistics import median
from time import perf_counter

import numpy as np

from . import results
from .results import ROOT, Stage, attempt, detail, say

PACKAGES = ("numpy", "numba", "numba-cuda", "llvmlite", "cuda-bindings", "cuda-core", "cuda-toolkit", "torch")
LIMITS = {"highest": 1e-5, "high": 2e-3, "medium": 2e-2}
WRONG, INCOMPLETE = 1, 3  # exit codes: without an essential step, without another one
LEAST = 6  # seconds that a step may need to compile


# ------------------------------------------------------------------------------------------------- versions
def commit() -> str:
    if given := os.environ.get("FASTCONV_COMMIT"):
        return given
    try:
        command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
        return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.strip() or "unknown"
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def driver() -> str:
    program = shutil.which("nvidia-smi")
    if program is None:
        return "no nvidia-smi"
    query = [program, "--query-gpu=name,driver_version,memory.total,clocks.max.sm", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError) as e:
        return results.first_line(e)


def versions() -> dict:
    found = {
        "commit": commit(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "cpus": os.cpu_count(),
        "driver": driver(),
        **{p: version(p) for p in PACKAGES},
    }
    return found


def torch_versions() -> dict:
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    cudnn = torch.backends.cudnn.version()
    return {"torch": torch.__version__, "torch_cuda": torch.version.cuda, "torch_gpu": gpu, "cudnn": cudnn}


# ------------------------------------------------------------------------------------------------- the oracle
def shifted(x, i, j, stride, shape):
    """What tap ``i, j`` sees of a padded input, a view."""
    return x[:, :, i : i + stride * shape[2] : stride, j : j + stride * shape[3] : stride]


def convolution(x, w, gy, stride, padding):
    """The three passes in float64, one matrix product per tap."""
    x, w, gy = (v.astype(np.float64) for v in (x, w, gy))
    edge = ((0, 0), (0, 0), (padding, padding + stride), (padding, padding + stride))
    x = np.pad(x, edge)
    y, gx, gw = np.zeros_like(gy), np.zeros_like(x), np.zeros_like(w)
    for i, j in np.ndindex(*w.shape[2:]):
        seen = shifted(x, i, j, stride, gy.shape)
        y += np.tensordot(seen, w[:, :, i, j], (1, 1)).transpose(0, 3, 1, 2)
        gw[:, :, i, j] = np.tensordot(gy, seen, ((0, 2, 3), (0, 2, 3)))
        shifted(gx, i, j, stride, gy.shape)[...] += np.tensordot(gy, w[:, :, i, j], (1, 0)).transpose(
            0, 3, 1, 2
        )
    end = -padding - stride
    return {"fwd": y, "bwd_data": gx[:, :, padding:end, padding:end], "bwd_weight": gw}


# ------------------------------------------------------------------------------------------------- the steps
def steps(stage: Stage):
    """(group, name, whether it is essential, function, limit of the number that it returns), in order."""
    import fastconv as fc
    from fastconv import spec
    from fastconv.nn import functional as F

    from . import sides

    fc.set_float32_precision("highest")  # until convolutions ask for others
    rng = np.random.default_rng(0)
    engine, error = fc.backends.load("cuda"), sides.relative_error

    def values(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    def on_device(array, **options):
        return fc.tensor(array, device="cuda", **options)

    n = 37 if stage.dry else 1_000_003
    side = 12 if stage.dry else 515  # of matrices
    a, b, m = values(n), values(n), values(side, side)
    images = values(2, 3, 6, 6) if stage.dry else values(8, 64, 33, 33)

    def copies():
        assert np.array_equal(on_device(a).numpy(), a), "other values came back"

    def pointwise():
        return error((on_device(a) * on_device(b) + 1.0).numpy(), a.astype(np.float64) * b + 1)

    def reduction():
        return error(on_device(np.abs(a)).sum().numpy(), np.abs(a).sum(dtype=np.float64))

    def matmul():
        return error((on_device(m) @ on_device(m)).numpy(), m.astype(np.float64) @ m)

    def max_pool():
        windows = np.lib.stride_tricks.sliding_window_view(images, (3, 3), (2, 3))[:, :, ::2, ::2]
        return error(F.max_pool2d(on_device(images), 3, 2).numpy(), windows.max((4, 5)))

    def avg_pool():
        windows = np.lib.stride_tricks.sliding_window_view(images, (2, 2), (2, 3))[:, :, ::2, ::2]
        return error(F.avg_pool2d(on_device(images), 2).numpy(), windows.mean((4, 5), dtype=np.float64))

    def batch_norm():
        x, axes = images.astype(np.float64), (0, 2, 3)
        mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
        got = F.batch_norm(on_device(images), None, None, training=True, activation="relu")
        return error(got.numpy(), np.maximum((x - mean) / np.sqrt(var + 1e-5), 0))

    def cross_entropy():
        x, target = values(33, 10), np.arange(33) % 10
        leaf = on_device(x, requires_grad=True)
        loss = F.cross_entropy(leaf, on_device(target))
        loss.backward()
        e = np.exp(x.astype(np.float64))
        p = e / e.sum(1, keepdims=True)
        want = np.append((p - np.eye(10)[target]) / 33, -np.log(p[np.arange(33), target]).mean())
        assert leaf.grad is not None
        return error(np.append(leaf.grad.numpy(), loss.numpy()), want)

    def sgd():
        p = on_device(a, requires_grad=True)
        optimizer, want, velocity = fc.optim.SGD([p], lr=0.1, momentum=0.9), a.astype(np.float64), 0.0
        for _ in range(2):
            p.grad = on_device(b)
            optimizer.step()
            velocity = 0.9 * velocity + b.astype(np.float64)
            want = want - 0.1 * velocity
        return error(p.numpy(), want)

    @functools.cache
    def problem(shape, kernels, stride):
        geometry = spec.conv_spec("conv2d", shape, kernels, stride, 1)
        arrays = values(*shape), values(*kernels), values(*geometry.y_shape)
        return geometry, arrays, convolution(*arrays, stride, 1)

    def convolve(precision, which, shape, kernels, stride=1, largest_tile=False):
        def run():
            from fastconv.backends.cuda.conv import cost

            geometry, arrays, results_of = problem(shape, kernels, stride)
            x, w, gy = (engine.asarray(v) for v in arrays)
            fc.set_float32_precision(precision)
            call = {
                "fwd": lambda: engine.conv_fwd(x, w, None, geometry, "implicit_gemm"),
                "bwd_data": lambda: engine.conv_bwd_data(gy, w, geometry, "implicit_gemm"),
                "bwd_weight": lambda: engine.conv_bwd_weight(x, gy, geometry, "implicit_gemm"),
            }[which]
            mode = cost.MODES[precision]
            mode = cost.packed(mode, shape[1], kernels[0])
            tiles = cost.SMALL if stage.dry else cost.WIDE[mode]
            with cost.only_plans(cost.Plan(tiles[0], 1, 0.0)) if largest_tile else fc.no_grad():
                return error(engine.to_host(call()), results_of[which])

        return run

    def graph_of_a_step():
        """A step recorded and replayed gives the bits of ordinary steps."""

        def train(how):
            fc.manual_seed(0)
            net = fc.nn.Sequential(fc.nn.Flatten(), fc.nn.Linear(12, 8), fc.nn.ReLU(), fc.nn.Linear(8, 3))
            net.to("cuda")
            x = on_device(np.arange(48, dtype=np.float32).reshape(4, 3, 2, 2) / 48)
            y = on_device(np.arange(4) % 3)
            optimizer = fc.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)

            def step():
                optimizer.zero_grad()
                loss = F.cross_entropy(net(x), y)
                loss.backward()
                optimizer.step()
                return loss

            losses = [step()]
            if how == "graph":
                graph = engine.Graph([])
                losses.append(graph.rehearse(step))
                loss = graph.record(step)
                for _ in range(2):
                    graph.replay([])
                losses.append(loss)
            else:
                losses += [step() for _ in range(3)][::2]
            return [p.numpy() for p in net.parameters()] + [v.numpy() for v in losses]

        for got, want in zip(train("graph"), train("steps"), strict=True):
            np.testing.assert_array_equal(got, want)

    def fit_with_a_graph():
        x, y = values(16, 1, 6, 6), np.arange(16) % 4

        def weights(graph):
            fc.manual_seed(0)
            net = fc.nn.Sequential(
                fc.nn.Conv2d(1, 4, 3, bias=False),
                fc.nn.BatchNorm2d(4),
                fc.nn.ReLU(),
                fc.nn.Flatten(),
                fc.nn.Linear(64, 4),
            ).to("cuda")
            loader = fc.data.DataLoader((x, y), 4, shuffle=True, seed=0)
            fc.train.fit(net, loader, epochs=1, progress=False, graph=graph)
            return [p.numpy() for p in net.parameters()]

        for got, want in zip(weights(True), weights(False), strict=True):
            np.testing.assert_array_equal(got, want)

    def torch_found():
        found = torch_versions()
        results.add_to_machine(stage.out, found)
        return "  ".join(f"{k} {v}" for k, v in found.items())

    def dlpack():
        import torch

        if not torch.cuda.is_available():
            return "not tried: this PyTorch has no CUDA"
        mine = on_device(m)
        theirs = torch.from_dlpack(mine)
        assert theirs.data_ptr() == mine.array.address, "a copy was made"
        np.testing.assert_array_equal(theirs.cpu().numpy(), m)
        back = fc.from_dlpack(torch.from_numpy(m).cuda())
        np.testing.assert_array_equal(back.numpy(), m)

    def launches():
        """Microseconds of one launch from Python."""
        from fastconv.backends.cuda.runtime import launch, layout, memory

        y, count, times = memory.empty((1,), np.float32), 3 if stage.dry else 1000, []
        for _ in range(1 if stage.dry else 5):
            start = perf_counter()
            for _ in range(count):
                launch.launch(layout.fill_kernel(), 1, 32, y, np.float32(0), 1)
            times.append((perf_counter() - start) / count)
            fc.cuda.synchronize()
        return f"{1e6 * median(times):.2f} us per launch"

    small, large = ((2, 8, 9, 9), (16, 8, 3, 3)), ((8, 64, 32, 32), (64, 64, 3, 3))
    if stage.dry:
        small, large = ((1, 4, 4, 4), (4, 4, 3, 3)), ((1, 8, 3, 3), (8, 8, 1, 1))
    passes = ("fwd", "bwd_data", "bwd_weight")

    def convolution_of(which, precision, shapes, words, **options):
        name = f"conv {which} {precision}, {words}"
        return name, False, convolve(precision, which, *shapes, **options), LIMITS[precision]

    def convolutions(precision):
        for which in passes:
            yield precision, *convolution_of(which, precision, small, "small")
        for which in passes:
            yield precision, *convolution_of(which, precision, large, "largest tile", largest_tile=True)
        for which in passes if precision == "high" else ():
            yield precision, *convolution_of(which, precision, small, "stride 2", stride=2)

    yield "", "copy to the device and back", True, copies, None
    yield "", "a pointwise kernel", True, pointwise, 1e-6
    yield "", "a reduction", True, reduction, 1e-6
    yield "", "matmul", True, matmul, 1e-5
    name, _, run, limit = convolution_of("fwd", "highest", small, "first")
    yield "", name, True, run, limit
    yield "", "launches from Python", False, launches, None
    yield "", "max pool", False, max_pool, 0.0
    yield "", "avg pool", False, avg_pool, 1e-6
    yield "", "batch norm, training, with ReLU", False, batch_norm, 1e-5
    yield "", "cross entropy and its gradient", False, cross_entropy, 1e-5
    yield "", "SGD with momentum", False, sgd, 1e-6
    yield "", "a step recorded and replayed", False, graph_of_a_step, None
    yield "", "train.fit with a graph and without", False, fit_with_a_graph, None
    yield "", "versions of PyTorch", False, torch_found, None  # it takes seconds to import
    yield "", "DLPack to PyTorch and back", False, dlpack, None
    for precision in LIMITS:
        yield from convolutions(precision)


def run_steps(stage: Stage, group: str, first: int = 0) -> int:
    """Run the steps of a group, of all steps from number ``first`` on; the exit code."""
    from . import sides

    code = 0
    for number, (of_group, name, essential, run, limit) in enumerate(steps(stage)):
        if of_group != group or number < first:
            continue
        if stage.left() < LEAST:
            say(f"FAILED to run before the time was up: {name}")
        elif attempt(stage, name, run, limit):
            continue
        code = WRONG if essential else code or INCOMPLETE
        if sides.lost():
            rest = results.go_on(stage, f"{group}:{number + 1}")
            return WRONG if WRONG in (code, rest) else INCOMPLETE
    return code


def main(stage: Stage) -> int:
    if stage.part:
        group, first = stage.part.split(":")
        return run_steps(stage, group, int(first))
    found = versions()
    results.add_to_machine(stage.out, found)
    say("  ".join(f"{k} {v}" for k, v in found.items() if v))
    parts = [] if stage.dry else [f"{precision}:0" for precision in LIMITS]
    running = [(part, results.start_part(stage, part, stage.left() - 2)) for part in parts]
    try:
        import fastconv as fc

        gpu = fc.cuda.describe()
        results.add_to_machine(stage.out, {"fastconv": fc.__version__, "gpu": gpu})
        say(f"fastconv {fc.__version__}: {gpu}; missing: {fc.cuda.missing()}")
        groups = ["", *LIMITS] if stage.dry else [""]
        codes = [run_steps(stage, group) for group in groups]
    except Exception as e:
        detail(traceback.format_exc())
        say(f"FAILED outside of the steps: {results.first_line(e)}")
        codes = [WRONG]
    good = [results.wait_for_part(part, process, stage.left() - 1) for part, process in running]
    code = WRONG if WRONG in codes else INCOMPLETE if any(codes) or not all(good) else 0
    say({WRONG: "an essential step failed", INCOMPLETE: "some steps failed"}.get(code, "every step passed"))
    return code
