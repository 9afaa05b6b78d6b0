"""What a GPU is borrowed for, in one go of under nine minutes: the CUDA tests, then times beside PyTorch's.

    python bench/gpu_session.py [--out DIR] [--minutes 8.5] [--no-tests]

Writes ``tests.txt``, ``times.csv``, ``ratios.png`` and ``machine.json``. A time is the median between two events on the
device's own clock, gaps included in which the device waits for the host. Modes are those of ``fc.set_float32_precision``,
PyTorch's set alike: "highest" float32, "high" TF32 in convolutions, "medium" bfloat16 (autocast). "torch-graph" replays a
network's step as a CUDA graph. "error" is the largest deviation from PyTorch in float64, relative to the largest value.
What the minutes do not suffice for is listed, not timed.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import os
import platform
import subprocess
import sys
from functools import partial
from importlib import metadata
from pathlib import Path
from statistics import median
from time import perf_counter

os.environ["NUMBA_ENABLE_CUDASIM"] = "0"  # a simulator's times mean nothing
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

import engines  # noqa: E402
import numpy as np  # noqa: E402
import workload  # noqa: E402
from compare import git  # noqa: E402

import fastconv as fc  # noqa: E402

FIELDS = ("suite", "name", "pass", "mode", "engine", "milliseconds", "low", "high", "runs", "tflops", "gbytes_per_second",
          "error", "ratio", "note")  # fmt: skip
TEST_SECONDS = 240
MODES = ("high", "highest", "medium")


class Fastconv(engines.Fastconv):
    """fastconv's arrays on the device, channels-last as a layer before would have left them."""

    def __init__(self):
        super().__init__(threads=1, backend="cuda")
        self.channels_last = True

    def timer(self):
        """How to make an event, and the stream to record it in."""
        from numba import cuda

        return cuda.event, self.engine.launch.stream()

    def conv_backward(self, job, spec, x, w, gy):
        op = getattr(self.engine, f"conv_{job['pass']}")
        first, second = (gy, w) if job["pass"] == "bwd_data" else (x, gy)
        return lambda _: self.lib.Tensor(op(first._array, second._array, spec))


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


def milliseconds(engine, call, runs=20, seconds=0.2) -> list[float]:
    """Times of single runs by the device's clock, after two that are not counted; one wait at the end."""
    for _ in range(2):
        call.run(call.setup())
    (event, stream), pairs, start = engine.timer(), [], perf_counter()
    while len(pairs) < runs or (perf_counter() - start < seconds and len(pairs) < 500):
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
    return {"milliseconds": t, "low": min(times), "high": max(times), "runs": len(times), "error": error,
            "tflops": work and work / t / 1e9, "gbytes_per_second": moved and moved / t / 1e6}  # fmt: skip


def jobs():
    """(mode, job), what matters most first."""
    net = workload.jobs("net", ["lenet"], ("train", "infer"))
    net += workload.jobs("net", ["resnet18_32"], ("train", "infer"), batches=(128, 512))
    conv = workload.jobs("conv", ["resnet18_32"], ("fwd", "bwd_data", "bwd_weight"), batches=(128,))
    ops = workload.jobs("op", workload.OP_NAMES, workload.PASSES["op"])
    return [*((m, j) for m in MODES for j in net), *((m, j) for m in MODES for j in conv), *(("high", j) for j in ops)]


def compare(deadline, torch) -> list[dict]:
    """Rows of the CSV file."""
    columns = {"fastconv": Fastconv()}
    reference = torch and Torch("float64")
    rows, skipped = [], 0
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
        ours = found["fastconv"].get("milliseconds")
        for name, values in found.items():
            if name != "fastconv" and ours and values.get("milliseconds"):
                values["ratio"] = values["milliseconds"] / ours
            if name != "torch-graph" or "milliseconds" in values or job["suite"] == "net":
                rows.append({k: job[k] for k in ("suite", "name", "pass")} | {"mode": mode, "engine": name} | values)
                print(*(f"{v:.4g}" if isinstance(v, float) else v for v in rows[-1].values()), flush=True)
    if skipped:
        print(f"time is up: {skipped} jobs were not timed")
    return rows


def draw(rows, path) -> None:
    """How many times faster than PyTorch fastconv is, a bar per job."""
    try:
        import matplotlib
    except ImportError:
        return print("No picture: it needs matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    bars = [r for r in rows if "ratio" in r]
    figure, ax = plt.subplots(figsize=(8, 1 + 0.16 * len(bars)), layout="constrained")
    ax.barh([f"{r['name']} {r['pass']}, {r['mode']}, {r['engine']}" for r in bars], [r["ratio"] for r in bars],
            color=["C0" if r["engine"] == "torch" else "C1" for r in bars])  # fmt: skip
    ax.axvline(1, color="k", lw=1)
    ax.invert_yaxis()
    ax.tick_params(axis="y", labelsize=6)
    ax.set(xlabel="time of PyTorch / time of fastconv", title=fc.cuda.describe().split(",")[0])
    figure.savefig(path, dpi=120)


def run_tests(folder) -> str:
    """The CUDA part of the test-suite; its last line."""
    suites = ["tests/test_cuda.py", "tests/test_contract.py", "tests/test_ops.py"]
    environment = os.environ | {"NUMBA_ENABLE_CUDASIM": "0"}
    with open(folder / "tests.txt", "w") as log:
        try:
            subprocess.run([sys.executable, "-m", "pytest", "-q", "-k", "cuda", *suites], cwd=ROOT, stdout=log,
                           stderr=subprocess.STDOUT, timeout=TEST_SECONDS, env=environment)  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"stopped after {TEST_SECONDS} s, see tests.txt"
    return (folder / "tests.txt").read_text().strip().splitlines()[-1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder of the results (default: bench/results/DATE-GPU)")
    parser.add_argument("--minutes", type=float, default=8.5, help="for everything (default: 8.5)")
    parser.add_argument("--no-tests", action="store_true", help="times only")
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
    out = options.out or ROOT / "bench" / "results" / f"{now:%Y-%m-%d}-{name}"
    out.mkdir(parents=True, exist_ok=True)
    machine = {"date": now.isoformat(timespec="minutes"), "gpu": device, "system": platform.platform(),
               "python": platform.python_version(), "fastconv": fc.__version__,
               "commit": git("rev-parse", "--short", "HEAD") + "+changes" * bool(git("status", "--porcelain", "fastconv")),
               **{p: metadata.version(p) for p in ("numpy", "numba", "numba-cuda")},
               "torch": torch and f"{torch.__version__}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}",
               "tests": "not run" if options.no_tests else run_tests(out)}  # fmt: skip
    print(json.dumps(machine, indent=1))
    rows = compare(start + 60 * options.minutes - 15, torch)
    with open(out / "times.csv", "w", newline="") as f:
        writer = csv.DictWriter(f, FIELDS)
        writer.writeheader()
        writer.writerows({k: f"{v:.5g}" if isinstance(v, float) else v for k, v in r.items()} for r in rows)
    draw(rows, out / "ratios.png")
    machine |= {"memory": fc.cuda.memory_stats(), "minutes": round((perf_counter() - start) / 60, 2)}
    (out / "machine.json").write_text(json.dumps(machine, indent=1) + "\n")
    print(f"results in {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
