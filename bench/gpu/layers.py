"""The convolutions of ResNet-18 one by one: every plan beside its model and cuDNN.

Each pass and mode has a process of its own, all at the same time, because most of the time goes into
compiling. A file lock lets only one of them measure at a time. In "medium", arrays whose channels are a
multiple of 8 are rounded to bfloat16 before the time is taken, except for weights; PyTorch's are bfloat16.
"""

from __future__ import annotations

import contextlib
import gc
import os
import traceback

import numpy as np
import workload

import fastconv as fc

from . import results, sides, timing
from .results import Stage, append, detail, first_line, say

FIELDS = (
    "name",
    "count",
    "pass",
    "mode",
    "engine",
    "plan",
    "chosen",
    "milliseconds",
    "model_milliseconds",
    "tflops",
    "error",
    "note",
)
PASSES = ("fwd", "bwd_data", "bwd_weight")
BATCH = 128


def rows(dry: bool) -> list[dict]:
    """The layers that take most work first."""
    if dry:
        return [dict(zip(workload.FIELDS, (1, 1, 4, 5, 5, 4, 3, 3, 1, 1, 1, 1))) | {"name": "dry"}]
    found = [r | {"N": BATCH} for r in workload.read_shapes("resnet18_32")]
    return sorted(found, key=lambda r: -r["count"] * workload.spec_of(r).flops)


@contextlib.contextmanager
def alone(stage: Stage):
    """While no other process of this stage measures."""
    if not results.fcntl:
        raise OSError("processes cannot take turns here: there is no flock")
    lock = os.open(stage.out, os.O_RDONLY)
    try:
        results.fcntl.flock(lock, results.fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


# ------------------------------------------------------------------------------------------------- plans
def plans(spec, which) -> dict:
    """The plans on this device by name, with the seconds of all phases; None where one has no such plan."""
    from fastconv.backends.cuda.conv import cost, implicit_gemm, implicit_gemm_weight

    find = (implicit_gemm_weight if which == "bwd_weight" else implicit_gemm).plans_of
    phases = [find(p, np.dtype(np.float32)) for p in cost.phases(spec, which)]
    found = {}
    for plan in [p for phase in phases for p in phase]:
        name = f"{plan.tile.name}/{plan.split_k}"
        same = [[p.seconds for p in phase if p.tile == plan.tile] for phase in phases]
        found.setdefault(name, (plan, sum(min(s) for s in same) if all(same) else None))
    return found


def ways(side, spec, which) -> dict:
    """Name of each way of fastconv: (context to run it in, algorithm, seconds of the model)."""
    from fastconv.backends.cuda.conv import cost, registry

    dtype = np.dtype(np.float32)
    chosen = registry.choose(spec, which, dtype, None).name
    found = {
        name: ((lambda plan=plan: cost.only_plans(plan)), "implicit_gemm", seconds)
        for name, (plan, seconds) in plans(spec, which).items()
    }
    if chosen != "implicit_gemm":
        found = {chosen: (contextlib.nullcontext, chosen, getattr(cost, chosen)(spec, which, dtype))} | found
    return found


# ------------------------------------------------------------------------------------------------- one layer
def fastconv_rows(stage: Stage, side, clock, row, which):
    """The results of each way on this layer, and the first result on the host."""
    spec = workload.spec_of(row)
    sets = sides.conv_inputs(side, spec, 1 if stage.dry else timing.sets_of(spec.bytes()))
    launches, replays = (2, 1) if stage.dry else (timing.LAUNCHES, timing.REPLAYS)
    first = None
    for number, (name, (context, algorithm, seconds)) in enumerate(ways(side, spec, which).items()):
        found = {"engine": "fastconv", "plan": name, "chosen": int(number == 0)}
        found["model_milliseconds"] = None if seconds is None else 1e3 * seconds
        try:
            with context():
                calls = [side.conv_call(which, spec, *arrays, algorithm) for arrays in sets]
                got = side.engine.to_host(calls[0]())  # compiles
                with alone(stage):
                    start, held = timing.record_fastconv(calls, launches)
                    found["milliseconds"] = timing.per_call(clock, start, launches, replays)
            first = got if first is None else first
            found["error"] = sides.relative_error(got, first)
            del start, held
        except Exception as e:
            detail(traceback.format_exc())
            found["note"] = f"failed: {first_line(e)}"
        yield found, first


def torch_row(stage: Stage, torch, mode, row, which, first) -> dict:
    """cuDNN on this layer."""
    bf16 = mode == "medium"
    side, spec = sides.Torch(bf16=bf16), workload.spec_of(row)
    found = {"engine": "torch", "plan": "cudnn", "chosen": 1}
    try:
        sets = sides.conv_inputs(side, spec, timing.sets_of(spec.bytes() // (2 if bf16 else 1)))
        calls = [side.conv_call(which, row, *arrays) for arrays in sets]
        with alone(stage):
            got = side.numpy(calls[0]())
            start, held = timing.record_torch(torch, calls, timing.LAUNCHES)
            clock = timing.torch_clock(torch)
            found["milliseconds"] = timing.per_call(clock, start, timing.LAUNCHES, timing.REPLAYS)
        found["error"] = None if first is None else sides.relative_error(got, first)
        del start, held
    except Exception as e:
        detail(traceback.format_exc())
        found["note"] = f"failed: {first_line(e)}"
    return found


def one_part(stage: Stage, which: str, mode: str, first_layer: str = "0") -> int:
    """The layers from number ``first_layer`` on in one pass and one mode."""
    torch = sides.torch_with_cuda(detail)
    sides.set_precision(mode, torch)
    side, clock, failed = sides.Fastconv(), timing.fastconv_clock(stage.dry), 0
    for number, row in list(enumerate(rows(stage.dry)))[int(first_layer) :]:
        if stage.left() < 4:
            say(f"not timed, the time is up: {row['name']} {which} {mode}")
            continue
        same = {"name": row["name"], "count": row["count"], "pass": which, "mode": mode}
        found, first = [], None
        for cell, first in fastconv_rows(stage, side, clock, row, which):  # noqa: B007 - used after the loop
            found.append(add(stage, row, same | cell))
        if torch:
            found.append(add(stage, row, same | torch_row(stage, torch, mode, row, which, first)))
            torch.cuda.empty_cache()
        failed += sum("note" in cell for cell in found)
        show(found)
        if any("note" in cell for cell in found) and sides.lost(torch):
            return results.go_on(stage, f"{which}:{mode}:{number + 1}") or 1
        gc.collect()
        fc.cuda.empty_cache()
    return int(failed > 0)


def add(stage: Stage, row, cell) -> dict:
    if "milliseconds" in cell:
        cell["tflops"] = workload.spec_of(row).flops / cell["milliseconds"] / 1e9
    append(stage.out / "layers.csv", FIELDS, cell)
    return cell


def show(cells) -> None:
    """A line for a layer: the plan of the model, the fastest plan, cuDNN."""
    words = f"{cells[0]['name']} {cells[0]['pass']} {cells[0]['mode']}:"
    for cell in cells:
        if "note" in cell:
            say(f"FAILED {words} {cell['engine']} {cell['plan']}: {cell['note']}")
    timed = [c for c in cells if "milliseconds" in c]
    ours, theirs = ([c for c in timed if c["engine"] == e] for e in ("fastconv", "torch"))
    if ours:
        best = min(ours, key=lambda c: c["milliseconds"])
        words += f" {best['plan']} {1e3 * best['milliseconds']:.1f} us, {best['tflops']:.0f} TFLOP/s"
        if not best["chosen"] and ours[0]["chosen"]:
            words += f" (model: {ours[0]['plan']} {1e3 * ours[0]['milliseconds']:.1f} us)"
        words += f", error {max(c['error'] for c in ours):.0e}"
    if theirs:
        words += f"; cuDNN {1e3 * theirs[0]['milliseconds']:.1f} us"
        if ours:
            words += f", {theirs[0]['milliseconds'] / best['milliseconds']:.2f} times as fast"
    say(words)


# ------------------------------------------------------------------------------------------------- the stage
def main(stage: Stage) -> int:
    if stage.part:
        return one_part(stage, *stage.part.split(":"))
    sides.torch_with_cuda(say)
    modes = sides.MODES[:1] if stage.dry else sides.MODES
    parts = [f"{which}:{mode}" for mode in modes for which in PASSES]
    if stage.dry:
        return max(one_part(stage, *part.split(":")) for part in parts)
    running = [(part, results.start_part(stage, part, stage.left() - 3)) for part in parts]
    good = [results.wait_for_part(part, process, stage.left() - 1) for part, process in running]
    return int(not all(good))
