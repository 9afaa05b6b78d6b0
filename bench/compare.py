"""fastconv beside PyTorch, ONNX Runtime and OpenVINO: one process per engine, one at work at a time, same threads.

    python bench/compare.py conv --shapes resnet18,lenet --algo all
    python bench/compare.py op
    python bench/compare.py net --shapes resnet18 --batch 1,8

Every job goes to every engine in turn, for several rounds, with a pause in which the others' threads fall asleep. A
time is the median over all runs; "error" is the largest deviation from float64 relative to the largest value; "share"
is the speed, counted as direct summation, over the measured float32 peak (Winograd may pass 100 %); for ops it is the
compulsory traffic over the measured copy rate (what stays in caches may pass 100 %). "ratio" is the time of PyTorch's
better layout over fastconv's, "peers" the same with ONNX Runtime and OpenVINO among the others. Each line of a table is
one layer; geometric means count lines, totals count multiplicities.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import datetime
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter, sleep

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

import numpy as np  # noqa: E402
import report  # noqa: E402
import workload  # noqa: E402

DEFAULT_ENGINES = "fastconv,torch,torch-cl,torch-bf16,onnxruntime,openvino"
ALGORITHMS = ("auto", "direct", "im2col", "winograd")
PAUSE = 0.05  # OpenMP threads spin for some milliseconds after their last work


class Worker:
    """A running ``worker.py``; ``missing`` says why there is none."""

    def __init__(self, engine: str, threads: int):
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "FASTCONV_NUM_THREADS")
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        env = os.environ | dict.fromkeys(names, str(threads)) | {"PYTHONPATH": path}
        command = [sys.executable, str(ROOT / "bench" / "worker.py"), engine, str(threads)]
        self.engine, self.version, self.missing = engine, None, None
        self.process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ready(self) -> bool:
        """Wait for the engine's imports."""
        hello = self._read()
        self.version, self.missing = hello.get("version"), hello.get("missing") or hello.get("failed")
        return self.missing is None

    def ask(self, job) -> dict:
        if self.missing:
            return {"failed": self.missing}
        sleep(PAUSE)
        with contextlib.suppress(BrokenPipeError):  # it has died: reading says so
            print(json.dumps(job), file=self.process.stdin, flush=True)
        return self._read()

    def _read(self) -> dict:
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)
        self.missing = f"{self.engine} ended with status {self.process.wait()}"
        return {"failed": self.missing}

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.stdin.close()
            self.process.wait()


def processor_seconds() -> float:
    """Processor time the whole machine has spent so far (0 where it does not say)."""
    try:
        words = Path("/proc/stat").read_text().split()
        return sum(int(words[i]) for i in (1, 2, 3, 6, 7, 8)) / os.sysconf("SC_CLK_TCK")
    except OSError:
        return 0.0


def relative_error(path: str, reference: str) -> float:
    """Largest deviation over the largest value, the worst of all arrays."""
    with np.load(path) as a, np.load(reference) as b:
        pairs = [(a[k].astype(np.float64), b[k].astype(np.float64)) for k in b.files]
        return max(float(np.max(np.abs(x - y)) / max(np.max(np.abs(y)), 1e-30)) for x, y in pairs)


def compare_job(job: dict, columns: dict, judge: Worker, args, folder: str) -> dict:
    """One line of the table: a cell per column."""
    quiet = {"repeats": 0, "seconds": 0.0, "save": None}
    expected = os.path.join(folder, "expected.npz")
    judged = "failed" not in judge.ask(job | quiet | {"save": expected}) and os.path.exists(expected)
    cells: dict[str, dict] = {}
    for label, (worker, algorithm) in columns.items():
        saved = os.path.join(folder, f"{worker.engine}.npz")
        cell = worker.ask(job | quiet | {"algorithm": algorithm, "save": saved})
        if "first" in cell:
            cell["error"] = relative_error(saved, expected) if judged else None
            cell["runs"], cell["others"] = [], []
        cells[label] = cell
    for i in range(args.rounds):
        able = [c for c in columns if "runs" in cells[c]]
        for label in able[:: -1 if i % 2 else 1]:
            worker, algorithm = columns[label]
            busy, start = processor_seconds(), perf_counter()
            found = worker.ask(job | {"algorithm": algorithm, "repeats": 3, "seconds": args.seconds, "save": None})
            if "seconds" not in found:
                cells[label] = found
                continue
            wall = perf_counter() - start
            others = (processor_seconds() - busy - found["busy"]) / wall / (os.cpu_count() or 1)
            cells[label]["runs"].append(found["seconds"])
            cells[label]["others"].append(max(0.0, others))
    for path in Path(folder).glob("*.npz"):
        path.unlink()
    for cell in cells.values():
        if "runs" in cell:
            medians = [median(r) for r in cell["runs"]]
            cell |= {"time": median(t for r in cell["runs"] for t in r), "low": min(medians), "high": max(medians)}
            cell["others"] = median(cell["others"])
    return {"job": job, "cells": cells}


def measure(args, threads: int, folder: str):
    """All jobs at one number of threads: lines, columns that answered, versions, peak."""
    names = args.engines.split(",")
    workers = {name: Worker(name, threads) for name in (*names, "reference")}
    try:
        for name, worker in workers.items():
            if not worker.ready():
                print(f"{name}: left out, {worker.missing}")
        columns = {}
        for name in names:
            if workers[name].missing is None:
                algorithms = (ALGORITHMS if args.algo == "all" else (args.algo,)) if name == "fastconv" else ("auto",)
                columns |= {name if a == algorithms[0] else a: (workers[name], a) for a in algorithms}
        if not columns:
            raise ValueError(f"none of the engines {args.engines} is installed")
        peak = workers["fastconv"].ask("peak") if "fastconv" in columns else {}
        lines, todo = [], workload.jobs(args.suite, args.shapes, args.passes, args.batches, args.quick)
        for job in todo:
            lines.append(compare_job(job, columns, workers["reference"], args, folder) | {"threads": threads})
            if sys.stderr.isatty():
                print(f"\r{len(lines)}/{len(todo)} {job['name']} {job['pass']}".ljust(70), end="\r", file=sys.stderr)
        return lines, list(columns), {n: w.version for n, w in workers.items() if w.version}, peak
    finally:
        for worker in workers.values():
            worker.close()


def processor_name() -> str:
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", info.read_text()) if info.exists() else []
    return names[0] if names else platform.processor() or platform.machine()


def git(*words) -> str:
    found = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True)
    return found.stdout.strip()


def parse(argv):
    p = argparse.ArgumentParser(prog="compare.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    numbers = lambda text: [int(t) for t in text.split(",")]  # noqa: E731
    option = p.add_argument
    option("suite", nargs="?", choices=list(workload.PASSES), default="conv", help="what to time (default: conv)")
    option("--shapes", help="conv: files of bench/shapes or paths of .txt files; op: ops; net: networks")
    option("--passes", help="conv: of fwd,bwd,bwd_data,bwd_weight; net: of infer,train")
    option("--algo", default="auto", choices=("all", *ALGORITHMS), help="fastconv's algorithm")
    option("--engines", default=DEFAULT_ENGINES, help=f"of {DEFAULT_ENGINES},numpy")
    option("--threads", type=numbers, default=[workload.available_cpus()], help="one or several: 1,2")
    option("--batch", dest="batches", type=numbers, default=[None], help="one or several: 1,8,32 (default: as listed)")
    option("--rounds", type=int, default=5, help="turns of each engine (default: 5)")
    option("--quick", action="store_true", help="a few jobs, two rounds: under a minute")
    option("--out", type=Path, help="folder of the results (default: bench/results/DATE-CPU-WHAT; quick: runs/bench)")
    args = p.parse_args(argv)
    args.rounds, args.seconds = (min(args.rounds, 2), 0.03) if args.quick else (args.rounds, 0.2)
    default = {"conv": "resnet18_32,lenet" if args.quick else "resnet18", "net": "lenet" if args.quick else
               ",".join(workload.NETS), "op": ",".join(workload.OP_NAMES)}  # fmt: skip
    if args.suite == "op" and args.algo != "auto":
        p.error("--algo is about convolutions: suites conv and net")
    args.shapes = (args.shapes or default[args.suite]).split(",")
    args.passes = args.passes.split(",") if args.passes else workload.PASSES[args.suite]
    unknown = set(args.engines.split(",")) - {*DEFAULT_ENGINES.split(","), "numpy"}
    if unknown:
        p.error(f"unknown engine {', '.join(unknown)}; expected some of {DEFAULT_ENGINES},numpy")
    if args.out is None:
        cpu = re.sub(r"[^a-z0-9]+", "-", processor_name().lower()).strip("-")
        shapes = [] if args.shapes == workload.OP_NAMES else [Path(s).stem for s in args.shapes]
        what = "-".join([args.suite, *shapes, *["quick"] * args.quick])
        folder = ROOT / "runs" / "bench" if args.quick else ROOT / "bench" / "results"  # quick ones are not for keeps
        args.out = folder / f"{datetime.date.today()}-{cpu}-{what}"
    return args


def main(argv=None) -> int:
    args = parse(argv)
    command = "python bench/compare.py " + " ".join(sys.argv[1:] if argv is None else argv)
    machine = {
        "date": datetime.datetime.now().isoformat(timespec="minutes"), "command": command, "cpu": processor_name(),
        "cores": os.cpu_count(), "system": f"{platform.system()} {platform.machine()}", "python": platform.python_version(),
        "commit": git("rev-parse", "--short", "HEAD") + "+changes" * bool(git("status", "--porcelain", "fastconv")),
        "rounds": args.rounds, "threads": {},
    }  # fmt: skip
    everything = []
    with tempfile.TemporaryDirectory() as folder:
        for threads in args.threads:
            lines, columns, versions, peak = measure(args, threads, folder)
            machine["versions"], machine["threads"][threads] = versions, peak
            where = f"{threads} threads, {machine['cpu']}"
            text = report.table(lines, columns, peak, f"{args.suite}, algorithm {args.algo}, {where}")
            print(text)
            everything += [(line, peak) for line in lines]
            args.out.mkdir(parents=True, exist_ok=True)
            (args.out / f"table-{threads}threads.txt").write_text(text + "\n", "utf-8")
            report.plots(lines, columns, peak, args.out, where)
    with (args.out / "times.csv").open("w", newline="", encoding="utf-8") as f:
        rows = [row for line, peak in everything for row in report.rows(line, peak)]
        writer = csv.DictWriter(f, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (args.out / "machine.json").write_text(json.dumps(machine, indent=2) + "\n", "utf-8")
    print(f"Table, CSV, plots and machine.json are in {args.out}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ValueError as e:
        sys.exit(f"compare.py: error: {e}")
