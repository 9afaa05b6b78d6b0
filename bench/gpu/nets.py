"""Whole networks beside PyTorch: training steps and inference, as a graph and without.

Each library and precision has a process of its own, because a fault leaves the CUDA context of its process
unusable. All of them compile at the same time, then they take turns to measure::

    fastconv:high     compiles ----------> "warm" | "go": measures
    torch:high        imports --> "warm"   .      .                "go": measures
    fastconv:medium   compiles ------------> "warm"                              "go": measures

Both libraries start from the same weights and batch, so their first losses agree. For inference the mean size
of the outputs stands in for the loss.
"""

from __future__ import annotations

import contextlib
import gc
import subprocess
import sys
import threading
import traceback
from statistics import median
from time import perf_counter, sleep
from typing import NamedTuple

import numpy as np
import workload

import fastconv as fc

from . import results, sides, timing
from .results import Stage, append, detail, first_line, say

FIELDS = (
    "name",
    "pass",
    "mode",
    "engine",
    "milliseconds",
    "low",
    "high",
    "images_per_second",
    "tflops",
    "first_seconds",
    "loss_1",
    "loss_20",
    "loss_difference",
    "note",
)
COMPARED = 20  # the second loss that is noted, after so many steps
#: The processes, and the share of the time left that each may measure, so that the next ones have some.
SHARES = {
    "fastconv:high": 0.5,
    "torch:high": 0.5,
    "fastconv:medium": 0.5,
    "torch:medium": 0.5,
    "fastconv:highest": 0.6,
    "torch:highest": 1.0,
}
MEASURING = 40  # seconds for all turns; compiling may take the time before them
WARM = "warm\n"
SHORT, INNER, INNER_LONG, REPEATS = 10.0, 20, 5, 5  # milliseconds of a short step; steps between events


def jobs(dry: bool) -> list[dict]:
    """What matters most first."""
    if dry:
        return [sides.TINY | {"pass": which} for which in ("train", "infer")]
    found = []
    for net, which, batch in (
        ("resnet18_32", "train", 128),
        ("resnet18_32", "infer", 128),
        ("lenet", "train", 256),
        ("resnet18_32", "train", 512),
        ("lenet", "infer", 256),
        ("resnet18_32", "infer", 512),
    ):
        found += workload.jobs("net", [net], [which], batches=[batch])
    return found


# ---------------------------------------------------------------------------------------------- one network
def steps_of_fastconv(side, job, graph: bool, note):
    """A function that does a step, and how many are done; ``note`` gets what the first one returned."""
    call = side.prepare(job)
    note(call, call.run(None))
    if not graph:
        return call, (lambda: call.run(None)), 1
    recording = side.engine.Graph([])
    recording.rehearse(lambda: call.run(None))
    found = recording.record(lambda: call.run(None))
    return call, (lambda: recording.replay([]) or found), 2


def steps_of_torch(side, job, graph: bool, note):
    call, torch = side.prepare(job), side.lib
    if not graph:
        note(call, call.run(None))
        return call, (lambda: call.run(None)), 1
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):  # what a first step allocates must not be captured
        note(call, call.run(None))
        for _ in range(2):
            call.run(None)
    torch.cuda.current_stream().wait_stream(aside)
    recording = torch.cuda.CUDAGraph()
    with torch.cuda.graph(recording):
        found = call.run(None)
    return call, (lambda: (recording.replay(), found)[1]), 3


def loss_of(call, found) -> float:
    return float(np.mean(np.abs(call.results(found)[0])))


def measured(stage: Stage, side, job, graph: bool, clock, make_steps) -> dict:
    losses: dict[str, float] = {}
    start = perf_counter()

    def note(call, found):
        losses["loss_1"] = loss_of(call, found)
        losses["first_seconds"] = perf_counter() - start

    call, step, done = make_steps(side, job, graph, note)
    for _ in range(max((1 if stage.dry else COMPARED) - done, 1)):
        found = step()
    losses["loss_20"] = loss_of(call, found)
    if stage.dry:
        times = timing.milliseconds(clock, step, 1, 1)
    else:
        (one,) = timing.milliseconds(clock, step, 3, 1)
        inner = INNER if one < SHORT else INNER_LONG
        times = timing.milliseconds(clock, step, inner, REPEATS)
    t = median(times)
    return losses | {
        "milliseconds": t,
        "low": min(times),
        "high": max(times),
        "images_per_second": 1e3 * job["x"][0] / t,
        "tflops": 0.0 if stage.dry else (workload.flops(job) or 0) / t / 1e9,
    }


# ---------------------------------------------------------------------------------------------- one process
def warm_up(stage: Stage, side) -> None:
    """Compile, and choose plans, for all jobs; what fails here fails again where it is measured."""
    for job in jobs(stage.dry):
        if stage.left() < MEASURING and not stage.dry:
            break
        try:
            side.prepare(job).run(None)
            fc.cuda.synchronize()
        except Exception:
            detail(traceback.format_exc())
        gc.collect()
        fc.cuda.empty_cache()


def wait_for_turn(stage: Stage) -> Stage:
    """Say that nothing is left to compile, and wait; the stage with the seconds of this turn."""
    print(WARM, end="", flush=True)
    seconds = float(sys.stdin.readline() or 0)
    return stage._replace(end=perf_counter() + seconds)


def key(row) -> tuple:
    return row["name"], row["pass"], row["mode"]


def one_side(stage: Stage, library: str, mode: str, first: str = "0") -> int:
    """Time the jobs from number ``first`` on with one library in one mode."""
    path, failed = stage.out / "nets.csv", 0
    if library == "torch":
        torch = sides.torch_with_cuda(say)
        if torch is None:
            return 0
        bf16 = mode == "medium"
        side, clock, make_steps = sides.Torch(bf16=bf16), timing.torch_clock(torch), steps_of_torch
        clean = torch.cuda.empty_cache
    else:
        torch, side, clock = None, sides.Fastconv(), timing.fastconv_clock(stage.dry)
        make_steps, clean = steps_of_fastconv, fc.cuda.empty_cache
    sides.set_precision(mode, torch)
    if first == "0":
        if torch is None:
            warm_up(stage, side)
        else:
            torch.ones(1).cuda()  # makes the context
        stage = wait_for_turn(stage)
    todo = [(job, graph) for job in jobs(stage.dry) for graph in (True, False)]
    for number, (job, graph) in enumerate(todo[int(first) :], int(first)):
        engine = library + "-graph" * graph
        row = {"name": job["name"], "pass": job["pass"], "mode": mode, "engine": engine}
        if stage.left() < 4:
            say(f"not timed, the time is up: {' '.join(row.values())}")
            continue
        try:
            row |= measured(stage, side, job, graph, clock, make_steps)
            if library == "torch":
                row |= difference(path, row)
        except Exception as e:  # a failure is a row, not the end
            detail(traceback.format_exc())
            row["note"] = f"failed: {first_line(e)}"
            failed += 1
        append(path, FIELDS, row)
        show(row)
        if "note" in row and sides.lost(torch):
            return results.go_on(stage, f"{library}:{mode}:{number + 1}") or 1
        gc.collect()
        clean()
    return int(failed > 0)


def difference(path, row) -> dict:
    """How far the first losses of both libraries are apart, relatively."""
    ours = [r for r in results.rows(path) if key(r) == key(row) and r["engine"].startswith("fastconv")]
    ours = [float(r["loss_1"]) for r in ours if r["loss_1"]]
    return {"loss_difference": abs(ours[0] - row["loss_1"]) / abs(row["loss_1"])} if ours else {}


def show(row) -> None:
    words = f"{row['name']} {row['pass']} {row['mode']} {row['engine']}"
    if "milliseconds" not in row:
        return say(f"FAILED {words}: {row['note']}")
    differs = f", first loss differs by {row['loss_difference']:.1e}" if "loss_difference" in row else ""
    say(
        f"{words}: {row['milliseconds']:.3f} ms ({row['low']:.3f} to {row['high']:.3f}), "
        f"{row['tflops']:.1f} TFLOP/s, loss {row['loss_1']:.5f} then {row['loss_20']:.5f}, "
        f"first step {row['first_seconds']:.1f} s{differs}"
    )


# ------------------------------------------------------------------------------------------------- the stage
def ratios(path) -> None:
    """How many times faster fastconv's faster way is than PyTorch's faster way."""
    best: dict[tuple, dict[str, float]] = {}
    for row in results.rows(path):
        if row["milliseconds"]:
            found, library = best.setdefault(key(row), {}), row["engine"].partition("-")[0]
            found[library] = min(found.get(library, 1e30), float(row["milliseconds"]))
    for names, found in best.items():
        if len(found) == 2:
            say(
                f"{' '.join(names)}: fastconv {found['fastconv']:.3f} ms, PyTorch {found['torch']:.3f} ms, "
                f"{found['torch'] / found['fastconv']:.2f} times as fast"
            )


class Running(NamedTuple):
    """A process, and whether it has nothing left to compile."""

    process: subprocess.Popen
    warm: threading.Event
    reader: threading.Thread


def start(stage: Stage, part: str) -> Running:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    began = perf_counter()
    process, warm = results.start_part(stage, part, stage.left() - 2, **pipes), threading.Event()

    def follow():
        for line in process.stdout or ():
            if line == WARM:
                detail(f"{part} is warm after {perf_counter() - began:.1f} s")
                warm.set()
            else:
                say(line.rstrip())
        warm.set()  # it has ended

    reader = threading.Thread(target=follow, daemon=True)
    reader.start()
    return Running(process, warm, reader)


def turn(part: str, running: Running, seconds: float) -> bool:
    """Let a process measure; whether it succeeded."""
    detail(f"turn of {part}: {seconds:.0f} s")
    with contextlib.suppress(OSError):  # it has died
        print(f"{seconds:.1f}", file=running.process.stdin, flush=True)
    good = results.wait_for_part(part, running.process, seconds + 1)
    running.reader.join(1)
    return good


def main(stage: Stage) -> int:
    if stage.part:
        return one_side(stage, *stage.part.split(":"))
    parts = dict(list(SHARES.items())[:2]) if stage.dry else SHARES
    running = {part: start(stage, part) for part in parts}
    while stage.left() > MEASURING * (not stage.dry) and not all(r.warm.is_set() for r in running.values()):
        sleep(0.1)
    good = True
    for part in sorted(parts, key=lambda p: not running[p].warm.is_set()):  # those that still compile last
        good &= turn(part, running[part], parts[part] * (stage.left() - 2))
    ratios(stage.out / "nets.csv")
    return int(not good)
