"""Time fastconv beside PyTorch, ONNX Runtime, OpenVINO, MNN and ncnn on this machine's processor.

    python bench/compare.py net                      whole networks: inference and training steps
    python bench/compare.py conv --shapes resnet18   the convolutions of a network, one by one
    python bench/compare.py op                       pooling, normalisation, activations, losses, optimizers
    python bench/compare.py conv --quick             a first look, about a minute

An engine that is not installed is left out, and how to install it is printed. Each engine runs in a process
of its own with the same number of threads; they take turns, one at work at a time. A time is the median of
all runs. The table is printed with an explanation of its columns, and kept with a CSV file, plots and a
description of the machine in a new folder. bench/README.md says more.
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
from itertools import count
from pathlib import Path
from statistics import median
from time import perf_counter, sleep

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

import numpy as np  # noqa: E402
import plots  # noqa: E402
import report  # noqa: E402
import user_networks  # noqa: E402
import workload  # noqa: E402
from engines import INSTALL  # noqa: E402

DEFAULT_ENGINES = "fastconv,torch,torch-cl,torch-bf16,onnxruntime,openvino,mnn,ncnn,inductor"
OTHER_ENGINES = "fastconv-torch,numpy"
ALGORITHMS = ("auto", "depthwise", "direct", "im2col", "winograd")  # of the cpu backend
USERS = "users"  # stands for all of ``user_networks.SHAPES``
PAUSE = 0.05  # OpenMP threads spin for some milliseconds after their last work


class Worker:
    """A running ``worker.py``; ``missing`` says why there is none."""

    def __init__(self, engine: str, threads: int):
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "FASTCONV_NUM_THREADS")
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        env = os.environ | dict.fromkeys(names, str(threads)) | {"PYTHONPATH": path}
        command = [sys.executable, str(ROOT / "bench" / "worker.py"), engine, str(threads)]
        self.engine, self.version, self.missing = engine, None, None
        self.process = subprocess.Popen(
            command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

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
            found = worker.ask(
                job | {"algorithm": algorithm, "repeats": 3, "seconds": args.seconds, "save": None}
            )
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
            cell |= {
                "time": median(t for r in cell["runs"] for t in r),
                "low": min(medians),
                "high": max(medians),
            }
            cell["others"] = median(cell["others"])
    return {"job": job, "cells": cells}


def measure(args, threads: int, folder: str):
    """All jobs at one number of threads: lines, columns that answered, versions, peak."""
    names = args.engines.split(",")
    workers = {name: Worker(name, threads) for name in (*names, "reference")}
    try:
        for name, worker in workers.items():
            if not worker.ready():
                cure = f"; to include it: {INSTALL[name]}" if name in INSTALL else ""
                print(f"{name} is left out: {worker.missing}{cure}")
        columns = {}
        for name in names:
            if workers[name].missing is None:
                algorithms = (
                    (ALGORITHMS if args.algo == "all" else (args.algo,)) if name == "fastconv" else ("auto",)
                )
                columns |= {name if a == algorithms[0] else a: (workers[name], a) for a in algorithms}
        if not columns:
            raise ValueError(f"none of the engines {args.engines} is installed")
        peak = workers["fastconv"].ask("peak") if "fastconv" in columns else {}
        lines, todo = [], workload.jobs(args.suite, args.shapes, args.passes, args.batches, args.quick)
        for job in todo:
            lines.append(compare_job(job, columns, workers["reference"], args, folder) | {"threads": threads})
            if sys.stderr.isatty():
                print(
                    f"\r{len(lines)}/{len(todo)} {job['name']} {job['pass']}".ljust(70),
                    end="\r",
                    file=sys.stderr,
                )
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


def unused(folder: Path) -> Path:
    """``folder``, or with -2, -3, ... after its name the first that holds nothing yet: no result is
    overwritten."""
    names = (folder.with_name(f"{folder.name}-{i}" if i > 1 else folder.name) for i in count(1))
    return next(f for f in names if not f.exists() or f.is_dir() and not any(f.iterdir()))


def numbers(text: str) -> list[int]:
    """An option's value: one or several whole numbers above 0, with commas between."""
    found = [int(t) if t.isdecimal() else 0 for t in text.split(",")]
    if min(found) < 1:
        raise argparse.ArgumentTypeError(f"expected whole numbers above 0, such as 1,2, got {text!r}")
    return found


def number(text: str) -> int:
    if len(found := numbers(text)) > 1:
        raise argparse.ArgumentTypeError(f"expected one whole number, got {text!r}")
    return found[0]


def parse(argv):
    p = argparse.ArgumentParser(
        prog="compare.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    option, files = p.add_argument, ", ".join(sorted(f.stem for f in workload.SHAPES.glob("*.txt")))
    option(
        "suite",
        nargs="?",
        choices=list(workload.PASSES),
        default="conv",
        help="what to time: single convolutions (conv, the default), other operations (op)\n"
        "or whole networks (net)",
    )
    option(
        "--shapes",
        metavar="A,B",
        help="which of them\n"
        f"conv: shape files, {files},\n      or paths that end in .txt (default: resnet18)\n"
        f"op:   {', '.join(workload.OP_NAMES[:6])},\n"
        f"      {', '.join(workload.OP_NAMES[6:])} (default: all)\n"
        f"net:  {', '.join(workload.NETS)} (default: all of these);\n"
        f"      {', '.join(user_networks.SHAPES)} ({USERS}: all of these)",
    )
    option(
        "--passes",
        metavar="A,B",
        help="which directions\n"
        "conv: fwd, bwd or its parts bwd_data, bwd_weight (default: fwd,bwd)\n"
        "op:   fwd, bwd, step (default: all)\nnet:  infer, train (default: both)",
    )
    option(
        "--algo",
        default="auto",
        choices=("all", *ALGORITHMS),
        help="fastconv's convolution algorithm: the one it chooses itself (auto, the default), one by "
        "force,\nor all, a column each",
    )
    option(
        "--engines",
        metavar="A,B",
        help=f"columns of the table, of {DEFAULT_ENGINES},\n{OTHER_ENGINES} (default: those before inductor, "
        "for net those up to inductor)",
    )
    option(
        "--threads",
        metavar="N,M",
        type=numbers,
        default=[workload.available_cpus()],
        help="threads of every engine; several numbers: a table for each (default: every processor)",
    )
    option(
        "--batch",
        metavar="N,M",
        dest="batches",
        type=numbers,
        default=[None],
        help="images at a time; several numbers: a line for each (default: what the shape file has)",
    )
    option(
        "--rounds",
        metavar="N",
        type=number,
        default=5,
        help="how often each engine has its turn (default: 5)",
    )
    option(
        "--quick",
        action="store_true",
        help="few layers, two short rounds, about a minute: to see whether it works",
    )
    option(
        "--out",
        metavar="DIR",
        type=Path,
        help="folder of the results (default: bench/results/DATE-PROCESSOR-WHAT, with --quick in "
        "runs/bench);\nif there is such a folder already, -2 is added to its name, then -3 and so on",
    )
    args = p.parse_args(argv)
    args.rounds, args.seconds = (min(args.rounds, 2), 0.03) if args.quick else (args.rounds, 0.2)
    default = {
        "conv": "resnet18_32,lenet" if args.quick else "resnet18",
        "net": "lenet" if args.quick else ",".join(workload.NETS),
        "op": ",".join(workload.OP_NAMES),
    }
    if args.suite == "op" and args.algo != "auto":
        p.error("--algo is about convolutions: suites conv and net")
    args.shapes = (args.shapes or default[args.suite]).split(",")
    if args.suite == "net" and USERS in args.shapes:
        args.shapes = [n for s in args.shapes for n in (user_networks.SHAPES if s == USERS else [s])]
    if args.engines is None:  # inductor compiles networks only, and takes its time for it
        args.engines = DEFAULT_ENGINES if args.suite == "net" else DEFAULT_ENGINES.removesuffix(",inductor")
    args.passes = args.passes.split(",") if args.passes else workload.PASSES[args.suite]
    if args.suite == "op" and args.batches != [None]:
        p.error("--batch is about images: suites conv and net")
    known = (*workload.PASSES[args.suite], *("bwd_data", "bwd_weight") * (args.suite == "conv"))
    if unknown := set(args.passes) - set(known):
        p.error(f"{args.suite} has no pass {', '.join(sorted(unknown))}; expected some of {', '.join(known)}")
    unknown = set(args.engines.split(",")) - {*DEFAULT_ENGINES.split(","), *OTHER_ENGINES.split(",")}
    if unknown:
        p.error(f"unknown engine {', '.join(unknown)}; expected some of {DEFAULT_ENGINES},{OTHER_ENGINES}")
    if args.out is None:
        cpu = re.sub(r"[^a-z0-9]+", "-", processor_name().lower()).strip("-")
        shapes = [] if args.shapes == workload.OP_NAMES else [Path(s).stem for s in args.shapes]
        what = "-".join([args.suite, *shapes, *["quick"] * args.quick])
        # quick ones are not for keeps
        folder = ROOT / "runs" / "bench" if args.quick else ROOT / "bench" / "results"
        args.out = folder / f"{datetime.date.today()}-{cpu}-{what}"
    args.out = unused(args.out)
    return args


def main(argv=None) -> int:
    args = parse(argv)
    command = "python bench/compare.py " + " ".join(sys.argv[1:] if argv is None else argv)
    machine = {
        "date": datetime.datetime.now().isoformat(timespec="minutes"),
        "command": command,
        "cpu": processor_name(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "commit": git("rev-parse", "--short", "HEAD")
        + "+changes" * bool(git("status", "--porcelain", "fastconv")),
        "rounds": args.rounds,
        "threads": {},
    }
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
            plots.plots(lines, columns, peak, args.out, where)
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
