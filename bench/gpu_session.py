"""What a GPU is borrowed for, in stages that leave everything on disk at once.

    python bench/gpu_session.py [--stage NAME ...] [--budget SECONDS] [--out DIR] [--keep-going] [--dry-run]

Each stage is a process of its own with a time limit, because a fault on the device leaves its process
unusable. In this order:

    smoke                 versions; one step of each kind, from a copy to a recorded training step
    tests                 the CUDA part of the test-suite
    memcheck, racecheck   NVIDIA's compute-sanitizer on one kernel of each family
    nets                  LeNet and ResNet-18 beside PyTorch, as graphs and without
    steps                 1,000 steps of LeNet: equal bits, steady memory
    kernel_times          every kernel of a training step by the device's clock
    layers                the convolutions of ResNet-18: every plan beside the cost model and cuDNN
    bandwidth             kernels that only move memory beside PyTorch
    counters              Nsight Compute on three kernels
    threads               training steps on the processor by threads

The folder of the results has ``log.txt`` (all that was printed), ``machine.json``, ``tests.txt``,
``checks.csv``, ``nets.csv``, ``kernels.csv``, ``layers.csv`` and ``bandwidth.csv``; rows are added to what
is there. Modes are those of ``fc.set_float32_precision``, PyTorch's set alike: "highest" float32, "high"
TF32, "medium" bfloat16. The driver prints a short form. Its exit code is 2 where there is no GPU, and 1 where
a stage failed.

``--dry-run`` goes the same way without a GPU, on the little that the simulator can do; its times mean
nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path
from time import perf_counter

from gpu import results

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent

#: Seconds after which a stage is stopped, in order.
LIMITS = {
    "smoke": 60,
    "tests": 120,
    "memcheck": 40,
    "racecheck": 40,
    "nets": 100,
    "kernel_times": 40,
    "steps": 40,
    "layers": 90,
    "bandwidth": 40,
    "counters": 40,
    "threads": 60,
}
WITHOUT_TUNING = ("smoke", "tests", "memcheck", "racecheck", "layers", "counters")  # each plan takes seconds
FIRST, GO_ON = "smoke", (0, 3)  # the stage that the others wait for, and its exit codes that let them
LEAST = 10  # seconds; with less left no stage is started
WIDTH, LINES, FAILURES, LAST = 180, 45, 40, 15  # of the short form
LOG_BYTES = 3 << 19  # of a stage

PROBE = "import fastconv as fc, json; print(json.dumps([fc.cuda.missing(), fc.cuda.describe()]))"


# ------------------------------------------------------------------------------------------------- processes
def environment(stage: str, dry: bool) -> dict[str, str]:
    """The environment of a stage."""
    env = os.environ | {"NUMBA_ENABLE_CUDASIM": str(int(dry)), "PYTHONUNBUFFERED": "1"}
    places = [str(BENCH), str(ROOT), os.environ.get("PYTHONPATH")]
    env["PYTHONPATH"] = os.pathsep.join(filter(None, places))
    return env | ({"FASTCONV_TUNE": "0"} if stage in WITHOUT_TUNING else {})


def probe(dry: bool) -> tuple[str | None, str]:
    """Why nothing can be measured (None if something can), and the GPU."""
    command = [sys.executable, "-c", PROBE]
    try:
        done = subprocess.run(
            command, env=environment("", dry), cwd=ROOT, capture_output=True, text=True, timeout=60
        )
    except subprocess.TimeoutExpired:
        return "the GPU does not answer", ""
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["fastconv cannot be imported"])[-1], ""
    return tuple(json.loads(done.stdout.splitlines()[-1]))


def stop(process: subprocess.Popen) -> None:
    """End a stage and every process that it has started; it may first say where it was."""
    if os.name == "nt":
        return process.kill()
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(2)


class Echo:
    """Writes what a stage prints to the log, and a short form of it to stdout.

    The short form has the first lines of the output and every line about a failure.
    """

    def __init__(self, log):
        self.log, self.lock = log, threading.Lock()
        self.shown = self.failures = self.written = 0
        self.last: deque[str] = deque(maxlen=LAST)
        self.errors: deque[str] = deque(maxlen=LAST)

    def follow(self, stream, short: bool) -> None:
        for line in stream:
            with self.lock:
                self._write(line)
                if short:
                    self._show(line.rstrip())
                elif line.strip():
                    self.errors.append(line.rstrip())

    def _write(self, line):
        self.written += len(line)
        if self.written < LOG_BYTES:
            self.log.write(line)
            self.log.flush()

    def _show(self, line):
        self.last.append(line)
        failure = line.startswith("FAILED")
        self.failures += failure
        self.shown += not failure
        if self.failures <= FAILURES if failure else self.shown <= LINES:
            print(line[:WIDTH], flush=True)


def run_stage(name: str, seconds: float, out: Path, dry: bool) -> dict:
    """Run a stage; its row of the table at the end."""
    print(f"== {name} (at most {seconds:.0f} s)", flush=True)
    command = [sys.executable, "-u", "-m", "gpu", name, "--out", str(out)]
    command += ["--seconds", f"{seconds:.1f}", *["--dry-run"] * dry]
    start = perf_counter()
    with open(out / "log.txt", "a") as log:
        print(f"\n======== {name}, {datetime.datetime.now():%H:%M:%S}", file=log, flush=True)
        process = subprocess.Popen(
            command,
            env=environment(name, dry),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            preexec_fn=getattr(os, "setpgrp", None),  # a group that can be stopped as a whole
        )
        echo = Echo(log)
        readers = [
            threading.Thread(target=echo.follow, args=(process.stdout, True), daemon=True),
            threading.Thread(target=echo.follow, args=(process.stderr, False), daemon=True),
        ]
        for reader in readers:
            reader.start()
        try:
            code = process.wait(seconds)
            outcome = "passed" if code == 0 else f"failed, exit code {code}"
        except subprocess.TimeoutExpired:
            code, outcome = None, f"stopped after {seconds:.0f} s"
        finally:
            stop(process)
        for reader in readers:
            reader.join(5)
        took = perf_counter() - start
        if echo.shown > LINES or code != 0:
            print("   ... its last lines:")
            for line in [*list(echo.last)[-3:], *(echo.errors if code != 0 else ())]:
                print("   ", line[:WIDTH])
        if code == 0 and echo.last and echo.last[-1].startswith("skipped: "):
            outcome = echo.last[-1]
        print(f"-- {name}: {outcome}, {took:.1f} s, {echo.failures} failures\n", flush=True)
        print(f"-------- {name}: {outcome}, {took:.1f} s", file=log)
    return {"outcome": outcome, "code": code, "seconds": round(took, 1), "failures": echo.failures}


# ------------------------------------------------------------------------------------------------- session
def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    option = parser.add_argument
    option(
        "--stage",
        nargs="+",
        action="extend",
        choices=list(LIMITS),
        metavar="NAME",
        help=f"only these (default: all): {', '.join(LIMITS)}",
    )
    option("--budget", type=float, default=780.0, help="seconds for everything (default: 780)")
    option("--out", type=Path, help="folder of the results (default: bench/results/DATE-GPU)")
    option("--keep-going", action="store_true", help="also when an essential step of smoke fails")
    option("--dry-run", action="store_true", help="under the simulator")
    return parser.parse_args(argv)


def main(argv=None) -> int:
    options, start = parse(argv), perf_counter()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("gpu_session: stopped"))  # ends the stage, too
    reason, gpu = probe(options.dry_run)
    if reason is not None:
        print(f"gpu_session: nothing to measure: {reason}", file=sys.stderr)
        return 2
    name = "-".join(gpu.split(",")[0].lower().split())
    out = options.out or BENCH / "results" / f"{datetime.date.today()}-{name}"
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    print(f"{gpu}\nresults in {out}", flush=True)
    table, stopped = {}, None
    for stage in [s for s in LIMITS if options.stage is None or s in options.stage]:
        left = options.budget - (perf_counter() - start)
        if stopped or left < LEAST:
            table[stage] = {
                "outcome": f"not run: {stopped or 'the time is up'}",
                "code": None,
                "seconds": 0.0,
            }
        else:
            table[stage] = run_stage(stage, min(LIMITS[stage], left), out, options.dry_run)
            if stage == FIRST and table[stage]["code"] not in GO_ON and not options.keep_going:
                stopped = "an essential step of smoke failed (--keep-going goes on)"
        results.add_to_machine(out, {"stages": table})
    for stage, row in table.items():
        print(f"{stage:12} {row['seconds']:7.1f} s  {row['outcome']}")
    print(f"{perf_counter() - start:.0f} s in all; results in {out}")
    return int(any(row["code"] != 0 for row in table.values()))


if __name__ == "__main__":
    sys.exit(main())
