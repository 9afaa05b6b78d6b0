"""Kernels that only move memory: their share of the rate of a copy, beside PyTorch.

Bytes are those that must move: each array that a kernel reads or writes counts once for each time that it
cannot come from a cache. Training BatchNorm reads its input twice.
"""

from __future__ import annotations

import functools
import gc
import traceback
from math import prod
from typing import Any

import numpy as np
import workload

import fastconv as fc
from fastconv.nn import functional as F

from . import results, sides, timing
from .results import Stage, append, detail, first_line, say

FIELDS = ("name", "engine", "milliseconds", "gbytes_per_second", "share_of_copy", "note")
MOMENTUM = {"lr": 0.1, "momentum": 0.9}


def cases(dry: bool) -> list[tuple]:
    """(name, shape, bytes in numbers of that shape, arrays, function of library and arrays)."""
    images = (1, 4, 4, 4) if dry else (128, 64, 56, 56)
    flat, logits = ((64,), (4, 5)) if dry else ((25_000_000,), (65_536, 1000))
    return [
        ("relu", images, 2, "x", lambda f, x: f.relu(x)),
        ("add", images, 3, "xy", lambda f, x, y: x + y),
        ("batch norm, training, with ReLU", images, 3, "x", batch_norm),
        ("the same and its gradients", images, 8, "xg", gradients),
        ("max pool 2x2", images, 1.25, "x", lambda f, x: f.max_pool2d(x, 2)),
        ("max pool 3x3, stride 2", images, 1.25, "x", lambda f, x: f.max_pool2d(x, 3, 2, 1)),
        ("avg pool 2x2", images, 1.25, "x", lambda f, x: f.avg_pool2d(x, 2)),
        ("SGD with momentum", flat, 5, "", None),
        ("cross entropy and its gradient", logits, 2, "x", cross_entropy),
    ]


def batch_norm(f, x, leaves=()):
    if f is F:
        return f.batch_norm(x, None, None, *leaves, training=True, activation="relu")
    y = f.batch_norm(x, None, None, *leaves, training=True)
    return f.relu(y, inplace=True)


def gradients(f, x, gy):
    x.grad = None
    batch_norm(f, x).backward(gy)
    return x.grad


def cross_entropy(f, x):
    target = TARGETS[f]
    x.grad = None
    f.cross_entropy(x, target).backward()
    return x.grad


TARGETS: dict = {}  # of a library
draw = functools.lru_cache(4)(workload.draw)  # takes longer than all that is timed


def calls_of(side, case) -> list:
    """The case on each set of arrays."""
    name, shape, factor, arrays, run = case
    if run is None:  # an optimizer keeps a table of its arrays, so there is one set of them
        p = side.leaf(workload.draw("p", shape))
        p.grad = side.tensor(workload.draw("g", shape))
        step = side.optim.SGD([p], **MOMENTUM, **side.optimizer_options).step
        return [step]
    with_tape = run in (gradients, cross_entropy)
    if run is cross_entropy:
        TARGETS[side.F] = side.tensor(workload.labels(*shape))

    first = [side.like(draw(k, shape)) for k in arrays]

    def one():
        found = [side.fresh(t) for t in first]
        if with_tape:
            found[0].requires_grad_()
        return lambda: run(side.F, *found)

    return [one() for _ in range(min(timing.sets_of(int(4 * prod(shape) * max(factor, 2))), 3))]


def copy_rate(stage: Stage, torch) -> float:
    """Bytes per second of a copy of 1 GiB by PyTorch, or of 256 MiB by fastconv without it."""
    if torch:
        x = torch.ones(1 << 28, device="cuda")
        y = torch.empty_like(x)
        start, held = timing.record_torch(torch, [lambda: y.copy_(x)], 5)
        t = timing.per_call(timing.torch_clock(torch), start, 5, timing.REPLAYS)
        return 2 * x.nbytes / t * 1e3
    from fastconv.backends.cuda.runtime import layout

    x = fc.tensor(np.ones(64 if stage.dry else 1 << 26, np.float32)).array
    start, held = timing.record_fastconv([lambda: layout.copy(x)], 2)
    t = timing.per_call(timing.fastconv_clock(stage.dry), start, 2, 1 if stage.dry else timing.REPLAYS)
    return 2 * x.nbytes / t * 1e3


def main(stage: Stage) -> int:
    torch = sides.torch_with_cuda(say)
    path, failed, ceiling = stage.out / "bandwidth.csv", 0, 0.0
    sides.set_precision("high", torch)
    ours = sides.Fastconv()
    libraries: list[tuple[str, Any, timing.Clock]] = [("fastconv", ours, timing.fastconv_clock(stage.dry))]
    if torch:
        libraries.append(("torch", sides.Torch(), timing.torch_clock(torch)))
    try:
        ceiling = copy_rate(stage, torch)
        row = {"name": "copy", "engine": "torch" if torch else "fastconv"}
        append(path, FIELDS, row | {"gbytes_per_second": ceiling / 1e9, "share_of_copy": 1.0})
        say(f"copy on the device: {ceiling / 1e9:.0f} GB/s, read and written")
    except Exception as e:
        detail(traceback.format_exc())
        say(f"FAILED copy: {first_line(e)}")
        failed += 1
    launches, replays = (2, 1) if stage.dry else (timing.LAUNCHES, timing.REPLAYS)
    first = int(stage.part or 0)
    for number, case in list(enumerate(cases(stage.dry)))[first:]:
        name, shape, factor, *_ = case
        words = name
        for library, side, clock in libraries:
            if stage.left() < 3:
                words += f"; {library}: not timed, the time is up"
                continue
            row = {"name": name, "engine": library}
            try:
                calls = calls_of(side, case)
                if library == "torch":
                    start, held = timing.record_torch(torch, calls, launches)
                else:
                    start, held = timing.record_fastconv(calls, launches)
                t = timing.per_call(clock, start, launches, replays)
                rate = 4 * prod(shape) * factor / t * 1e3
                row |= {"milliseconds": t, "gbytes_per_second": rate / 1e9}
                row["share_of_copy"] = rate / ceiling if ceiling else None
                words += f"; {library} {t:.4f} ms, {rate / 1e9:.0f} GB/s"
                words += f", {rate / ceiling:.0%} of a copy" if ceiling else ""
                del start, held, calls
            except Exception as e:  # a failure is a row, not the end
                detail(traceback.format_exc())
                row["note"] = f"failed: {first_line(e)}"
                say(f"FAILED {name}, {library}: {first_line(e)}")
                failed += 1
            append(path, FIELDS, row)
            gc.collect()
            fc.cuda.empty_cache()
            if torch:
                torch.cuda.empty_cache()
        say(words)
        if failed and sides.lost(torch):
            return results.go_on(stage, str(number + 1)) or 1
    return int(failed > 0)
