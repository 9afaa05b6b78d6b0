"""What a GPU is borrowed for, in one go of under nine minutes: the CUDA tests, NVIDIA's checkers, 1,000 steps
of LeNet with and without a graph, the processor's own speed by threads, and times beside PyTorch's.

    python bench/gpu_session.py [--out DIR] [--minutes 8.5] [--no-tests] [--dry-run]

Writes ``tests.txt``, ``memcheck.txt``, ``racecheck.txt``, ``times.csv`` (line by line), ``ratios.png`` and
``machine.json``. A time is the median between two events on the device's own clock, gaps included in which
the device waits for the host. Modes are those of ``fc.set_float32_precision``, PyTorch's set alike: "highest"
float32, "high" TF32 in convolutions, "medium" bfloat16 (autocast). "fastconv-graph" and "torch-graph" replay
a network's step as a CUDA graph. "error" is the largest deviation from PyTorch in float64, relative to the
largest value. "ratio" is PyTorch's time over that of fastconv's faster way; for threads, the time of one over
that of several. What the minutes do not suffice for is listed, not timed.

``--dry-run`` goes the same way without a GPU, on the little that the simulator can do; its times mean
nothing.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import gc
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import threading
import warnings
from functools import partial
from importlib import metadata
from pathlib import Path
from statistics import median
from time import perf_counter

DRY = "--dry-run" in sys.argv
os.environ["NUMBA_ENABLE_CUDASIM"] = str(int(DRY))
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

import engines  # noqa: E402
import numpy as np  # noqa: E402
import workload  # noqa: E402
from compare import Worker, git, unused  # noqa: E402

import fastconv as fc  # noqa: E402

FIELDS = (
    "suite",
    "name",
    "pass",
    "mode",
    "engine",
    "milliseconds",
    "low",
    "high",
    "runs",
    "tflops",
    "gbytes_per_second",
    "error",
    "ratio",
    "note",
)
TEST_SECONDS, CHECK_SECONDS, THREAD_SECONDS = 180, 40, 60
RUNS, SECONDS = (1, 0.0) if DRY else (20, 0.2)
MODES = ("high", "highest", "medium")
THREAD_JOBS = workload.jobs(
    "net", ["lenet"] if DRY else ["lenet", "resnet18_32"], ["infer" if DRY else "train"]
)


class Fastconv(engines.Fastconv):
    """fastconv's arrays on the device, channels-last as a layer before would have left them."""

    def __init__(self, graph=False):
        super().__init__(threads=1, backend="cuda")
        self.channels_last, self.graph = True, graph

    def timer(self):
        """How to make an event, and the stream to record it in."""
        from numba import cuda

        return HostEvent if DRY else cuda.event, self.engine.device.stream()

    def prepare(self, job):
        if not self.graph:
            return super().prepare(job)
        if job["suite"] != "net":
            raise engines.Unsupported("graphs are timed for networks only")
        call = super().prepare(job)
        call.run(None)
        graph = self.engine.Graph([])
        graph.rehearse(lambda: call.run(None))
        found = graph.record(lambda: call.run(None))
        return engines.Call(lambda _: graph.replay([]) or found, call.results)

    def conv_backward(self, job, spec, x, w, gy):
        op = getattr(self.engine, f"conv_{job['pass']}")
        first, second = (gy, w) if job["pass"] == "bwd_data" else (x, gy)
        return lambda _: self.lib.Tensor(op(first.array, second.array, spec))


class HostEvent:
    """For the dry run."""

    def record(self, stream):
        self.at = perf_counter()

    def synchronize(self):
        pass

    def elapsed_time(self, after):
        return 1e3 * (after.at - self.at)


class Torch(engines.Torch):
    """PyTorch on the device, channels-last."""

    def __init__(self, dtype="float32", bf16=False, graph=False):
        super().__init__(1, "channels_last", dtype, bf16)
        self.graph = graph

    def timer(self):
        cuda = self.lib.cuda
        return partial(cuda.Event, enable_timing=True), cuda.current_stream()

    def tensor(self, array):
        return super().tensor(array).cuda()

    def numpy(self, t):
        return super().numpy(t.cpu())

    def context(self, job):
        return self.lib.autocast("cuda", self.lib.bfloat16, enabled=self.bf16)

    def prepare(self, job):
        if not self.graph:
            return super().prepare(job)
        if job["suite"] != "net":
            raise engines.Unsupported("graphs are timed for networks only")
        call, torch = super().prepare(job), self.lib
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):  # what a first step allocates must not be captured
            for _ in range(3):
                call.run(None)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            found = call.run(None)
        return engines.Call(lambda _: (graph.replay(), found)[1], call.results)


def set_precision(mode, torch):
    fc.set_float32_precision(mode)
    if torch is not None:
        torch.backends.cudnn.allow_tf32 = mode != "highest"
        torch.backends.cudnn.benchmark = True  # as fastconv, it may try which algorithm is fastest


def milliseconds(engine, call) -> list[float]:
    """Times of single runs by the device's clock, after two that are not counted; one wait at the end."""
    for _ in range(2):
        call.run(call.setup())
    (event, stream), pairs, start = engine.timer(), [], perf_counter()
    while len(pairs) < RUNS or (perf_counter() - start < SECONDS and len(pairs) < 500):
        state = call.setup()
        before, after = event(), event()
        before.record(stream)
        call.run(state)
        after.record(stream)
        pairs.append((before, after))
    after.synchronize()
    return [before.elapsed_time(after) for before, after in pairs]


def deviation(got, want) -> float:
    """The largest difference over the largest value, the worst of all arrays."""
    pairs = [(np.asarray(a, np.float64), np.asarray(b, np.float64)) for a, b in zip(got, want, strict=True)]
    return max(float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30)) for a, b in pairs)


def cell(engine, job, expected) -> dict:
    """What one engine makes of a job."""
    try:
        call = engine.prepare(job)
        error = deviation(call.results(call.run(call.setup())), expected) if expected is not None else None
        times = milliseconds(engine, call)
    except engines.Unsupported as e:
        return {"note": str(e)}
    except Exception as e:  # a failure is a line of the results, not their end
        return {"note": f"failed: {type(e).__name__}: {str(e).splitlines()[0] if str(e) else ''}"}
    t, work = median(times), workload.flops(job)
    moved = None if job["suite"] == "net" else workload.bytes_moved(job)
    return {
        "milliseconds": t,
        "low": min(times),
        "high": max(times),
        "runs": len(times),
        "error": error,
        "tflops": work and work / t / 1e9,
        "gbytes_per_second": moved and moved / t / 1e6,
    }


def jobs():
    """(mode, job), what matters most first."""
    if DRY:
        shape = dict(zip(workload.FIELDS, (1, 1, 4, 5, 5, 4, 3, 3, 1, 1, 1, 1))) | {
            "set": "dry",
            "name": "dry",
        }
        found = [{"suite": "conv", "pass": p} | shape for p in ("fwd", "bwd_data", "bwd_weight")]
        found += workload.jobs("net", ["lenet"], ["infer"], batches=[1])
        return [(m, j) for m in MODES[:1] for j in found]
    net = workload.jobs("net", ["lenet"], ("train", "infer"))
    net += workload.jobs("net", ["resnet18_32"], ("train", "infer"), batches=(128, 512))
    conv = workload.jobs("conv", ["resnet18_32"], ("fwd", "bwd_data", "bwd_weight"), batches=(128,))
    ops = workload.jobs("op", workload.OP_NAMES, workload.PASSES["op"])
    return [
        *((m, j) for m in MODES for j in net),
        *((m, j) for m in MODES for j in conv),
        *(("high", j) for j in ops),
    ]


def compare(deadline, torch, add) -> None:
    """Call ``add`` with each row of the CSV file."""
    columns = {"fastconv": Fastconv(), "fastconv-graph": Fastconv(graph=True)}
    reference = torch and Torch("float64")
    skipped = 0
    for mode, job in jobs():
        if perf_counter() > deadline:
            skipped += 1
            continue
        set_precision(mode, torch)
        if torch:
            bf16 = mode == "medium"
            columns |= {"torch": Torch(bf16=bf16), "torch-graph": Torch(bf16=bf16, graph=True)}
        expected = None
        if torch and job["suite"] != "net":
            call = reference.prepare(job)
            expected = call.results(call.run(call.setup()))
        found = {name: cell(engine, job, expected) for name, engine in columns.items()}
        ours = min(
            (found[c]["milliseconds"] for c in found if "fastconv" in c and "milliseconds" in found[c]),
            default=None,
        )
        for name, values in found.items():
            if "torch" in name and ours and values.get("milliseconds"):
                values["ratio"] = values["milliseconds"] / ours
            if not name.endswith("-graph") or job["suite"] == "net":
                add({k: job[k] for k in ("suite", "name", "pass")} | {"mode": mode, "engine": name} | values)
    if skipped:
        print(f"time is up: {skipped} jobs were not timed")


def draw(rows, path) -> None:
    """How many times faster than PyTorch fastconv is, a bar per job."""
    try:
        import matplotlib
    except ImportError:
        return print("No picture: it needs matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    bars = [r for r in rows if "torch" in r["engine"] and "ratio" in r]
    height = 0.16 * len(bars)
    figure, (ax, below) = plt.subplots(
        2, figsize=(8, 4 + height), height_ratios=(1 + height, 3), layout="constrained"
    )
    for name in dict.fromkeys(r["name"] for r in rows if r["suite"] == "threads"):
        points = [(int(r["mode"]), r["ratio"]) for r in rows if r["suite"] == "threads" and r["name"] == name]
        below.plot(*zip(*points), "o-", label=name)
        below.legend()
    below.set(xlabel="threads of the processor", ylabel="times as fast as one")
    ax.barh(
        [f"{r['name']} {r['pass']}, {r['mode']}, {r['engine']}" for r in bars],
        [r["ratio"] for r in bars],
        color=["C0" if r["engine"] == "torch" else "C1" for r in bars],
    )
    ax.axvline(1, color="k", lw=1)
    ax.invert_yaxis()
    ax.tick_params(axis="y", labelsize=6)
    ax.set(xlabel="time of PyTorch / time of fastconv", title=fc.cuda.describe().split(",")[0])
    figure.savefig(path, dpi=120)


def run_tests(folder) -> str:
    """The CUDA part of the test-suite; its last line."""
    suites = ["tests/cuda", "tests/core/test_contract.py", "tests/ops/test_ops.py"]
    return logged(
        [*PYTEST, "-k", "cuda", *(["--collect-only"] if DRY else []), *suites],
        folder / "tests.txt",
        TEST_SECONDS,
    )


PYTEST = (sys.executable, "-m", "pytest", "-q")


def logged(command, path, seconds) -> str:
    """The last line a program prints."""
    with open(path, "w") as log:
        try:
            subprocess.run(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, timeout=seconds)
        except subprocess.TimeoutExpired:
            return f"stopped after {seconds} s, see {path.name}"
    return ([line for line in path.read_text().splitlines() if line.strip()] or ["nothing was printed"])[-1]


def run_checkers(folder) -> dict[str, str]:
    """What compute-sanitizer says of convolutions, sums in shared memory and an optimizer."""
    wheels = Path(sysconfig.get_paths()["purelib"], "nvidia").glob("*/bin/compute-sanitizer")
    places = [shutil.which("compute-sanitizer"), *wheels, Path("/usr/local/cuda/bin/compute-sanitizer")]
    program = next((str(p) for p in places if p and os.access(p, os.X_OK)), None)
    if program is None:
        return {"checkers": "no compute-sanitizer"}
    tests = [
        *PYTEST,
        "tests/cuda/test_cuda_conv.py",
        "tests/cuda/test_cuda.py",
        "-k",
        "wide or narrow or long_reductions or optimizers",
    ]
    return {
        tool: logged([program, "--tool", tool, *tests], folder / f"{tool}.txt", CHECK_SECONDS)
        for tool in ("memcheck", "racecheck")
    }


def train_long(seconds) -> dict:
    """1,000 steps of LeNet at batch 256 by ``train.fit``, as a graph and without: do they give the same bits,
    and does memory grow after the first tenth?"""
    (steps, a), (replays, b) = _train(False, seconds / 2), _train(True, seconds / 2)
    return {"graph": replays, "steps": steps, "same_bits": a == b}


def _train(graph, seconds):
    """What came out, and every bit of the weights."""
    epochs, images = (2, 8) if DRY else (100, 2560)
    x, y = workload.draw("x", (images, 1, 28, 28)), workload.labels(images, 10)
    fc.manual_seed(0)
    net = fc.nn.Sequential(fc.nn.Flatten(), fc.nn.Linear(784, 10)) if DRY else fc.models.lenet5()
    loader = fc.data.DataLoader((x, y), images // 10 or 2, shuffle=True, seed=0)
    used = []

    def note(history):
        gc.collect()  # of a net that was trained before, too
        used.append(fc.cuda.memory_stats()["used_bytes"])

    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        history = fc.train.fit(
            net.to("cuda"),
            loader,
            epochs=epochs,
            progress=False,
            graph=graph,
            callback=note,
            time_limit=seconds,
        )
    found = {
        "steps": len(used) * len(loader),
        "images_per_second": history.images_per_second,
        "loss": history.train_loss,
        "grown_bytes": used[-1] - used[len(used) // 10] if used else None,
        "warnings": [str(w.message) for w in given],
    }
    return found, [p.numpy().tobytes() for p in net.parameters()]


def scale(deadline, add) -> None:
    """Training steps on the processor by threads."""
    cpus = workload.available_cpus()
    first: dict[str, float] = {}
    for threads in dict.fromkeys([*(2**i for i in range(cpus.bit_length())), cpus]):
        worker = Worker("fastconv", threads)
        for job in THREAD_JOBS if worker.ready() else ():
            if perf_counter() < deadline:
                times = worker.ask(job | {"repeats": 3, "seconds": 10 * SECONDS, "save": None}).get("seconds")
                t = times and 1e3 * median(times)
                ratio = t and first.setdefault(job["name"], t) / t
                add(
                    {
                        "suite": "threads",
                        "name": job["name"],
                        "pass": job["pass"],
                        "mode": threads,
                        "engine": "fastconv cpu",
                    }
                    | ({"milliseconds": t, "runs": len(times), "ratio": ratio} if t else {"note": "failed"})
                )
        worker.close()


def compile_for_processor() -> None:
    """Fill the kernel cache while others are at work that is not timed."""
    worker = Worker("fastconv", workload.available_cpus())
    if worker.ready():
        for job in THREAD_JOBS:
            worker.ask(job | {"repeats": 0, "seconds": 0, "save": None})
    worker.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--out",
        type=Path,
        help="folder of the results (default: bench/results/DATE-GPU; -2 is added if there is one)",
    )
    parser.add_argument("--minutes", type=float, default=8.5, help="for everything (default: 8.5)")
    parser.add_argument("--no-tests", action="store_true", help="neither tests nor checkers")
    parser.add_argument("--dry-run", action="store_true", help="under the simulator")
    options, start = parser.parse_args(), perf_counter()
    if not fc.cuda.is_available():
        print(f"gpu_session: nothing to measure: {fc.cuda.missing()}", file=sys.stderr)
        return 2
    try:
        import torch
    except ImportError:
        torch = None
    if torch is not None and not torch.cuda.is_available():
        print("gpu_session: this PyTorch has no CUDA; fastconv is timed alone")
        torch = None
    device, now = fc.cuda.describe(), datetime.datetime.now()
    name = "-".join(device.split(",")[0].lower().split())
    out = unused(options.out or ROOT / "bench" / "results" / f"{now:%Y-%m-%d}-{name}")
    out.mkdir(parents=True, exist_ok=True)
    machine = {
        "date": now.isoformat(timespec="minutes"),
        "gpu": device,
        "system": platform.platform(),
        "python": platform.python_version(),
        "fastconv": fc.__version__,
        "commit": git("rev-parse", "--short", "HEAD")
        + "+changes" * bool(git("status", "--porcelain", "fastconv")),
        **{p: metadata.version(p) for p in ("numpy", "numba", *([] if DRY else ["numba-cuda"]))},
        "torch": torch
        and f"{torch.__version__}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}",
        "cpus": workload.available_cpus(),
    }
    compiling = threading.Thread(target=compile_for_processor, daemon=True)
    compiling.start()
    machine |= {"tests": "not run"} if options.no_tests else {"tests": run_tests(out)} | run_checkers(out)
    compiling.join(THREAD_SECONDS)
    machine |= {"lenet": train_long(40)}
    print(json.dumps(machine, indent=1))
    (out / "machine.json").write_text(json.dumps(machine, indent=1) + "\n")
    rows = []
    with open(out / "times.csv", "w", newline="") as f:
        writer = csv.DictWriter(f, FIELDS)
        writer.writeheader()

        def add(row):
            rows.append(row)
            writer.writerow({k: f"{v:.5g}" if isinstance(v, float) else v for k, v in row.items()})
            f.flush()
            print(*(f"{v:.4g}" if isinstance(v, float) else v for v in row.values()), flush=True)

        if not compiling.is_alive():
            scale(perf_counter() + THREAD_SECONDS, add)
        compare(start + 60 * options.minutes - 15, torch, add)
    draw(rows, out / "ratios.png")
    machine |= {"memory": fc.cuda.memory_stats(), "minutes": round((perf_counter() - start) / 60, 2)}
    (out / "machine.json").write_text(json.dumps(machine, indent=1) + "\n")
    print(f"results in {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
