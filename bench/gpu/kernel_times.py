"""Where a training step's time goes: each kernel by the device's clock.

A step is launched between a pair of events per kernel, behind a long write to memory, so the device meets
kernels without gaps although Python launches them more slowly. Events take about a microsecond themselves,
so the sum is somewhat above the step's time as a graph.
"""

from __future__ import annotations

import traceback
from collections import defaultdict

import workload

import fastconv as fc

from . import results, sides, timing
from .results import Stage, append, detail, first_line, say

FIELDS = ("name", "pass", "mode", "place", "kernel", "grid", "block", "microseconds")
JOBS = (("resnet18_32", "train", 128), ("lenet", "train", 256), ("resnet18_32", "infer", 128))
FILLED, FILLS = 2 << 30, 300  # bytes, and how often: some 150 ms on the fastest devices
SHOWN = 9


def times(stage: Stage, side, job) -> list[tuple]:
    """``(kernel, grid, block, microseconds)`` of every launch of a step, in order."""
    from fastconv.backends.cuda.runtime import device, driver, memory

    call = side.prepare(job)
    for _ in range(3):  # compiles, and chooses plans
        call.run(None)
    room = memory.empty((FILLED,), "uint8")
    noted, clock = [], timing.fastconv_clock(stage.dry)
    start = driver.Function.start

    def timed(self, values, grid, block, shared, stream):
        before, after = clock.event(), clock.event()
        before.record(clock.stream)
        start(self, values, grid, block, shared, stream)
        after.record(clock.stream)
        noted.append((self.label, grid, block, before, after))

    device.synchronize()
    for _ in range(FILLS):
        driver.fill(room.address, FILLED, driver.main_stream())
    driver.Function.start = timed
    try:
        call.run(None)
    finally:
        driver.Function.start = start
    device.synchronize()
    return [(label, grid, block, 1e3 * a.elapsed_time(b)) for label, grid, block, a, b in noted]


def main(stage: Stage) -> int:
    if stage.dry:
        return results.skip("the simulator starts no kernels by the driver")
    side, failed = sides.Fastconv(), 0
    for mode in sides.MODES[:2]:
        sides.set_precision(mode)
        for net, which, batch in JOBS:
            (job,) = workload.jobs("net", [net], [which], batches=[batch])
            words = f"{job['name']} {which} {mode}"
            if stage.left() < 4:
                say(f"not timed, the time is up: {words}")
                continue
            try:
                found = times(stage, side, job)
            except Exception as e:  # a failure is a line, not the end
                detail(traceback.format_exc())
                say(f"FAILED {words}: {first_line(e)}")
                failed += 1
                continue
            total = defaultdict(lambda: [0, 0.0])
            for place, (kernel, grid, block, t) in enumerate(found):
                row = dict(zip(FIELDS, (job["name"], which, mode, place, kernel, grid, block, t)))
                append(stage.out / "kernels.csv", FIELDS, row)
                total[kernel][0] += 1
                total[kernel][1] += t
            order = sorted(total.items(), key=lambda item: -item[1][1])
            parts = ", ".join(f"{n} {k} {t:.0f}" for k, (n, t) in order[:SHOWN])
            say(f"{words}: {len(found)} kernels, {sum(t for *_, t in found):.0f} us: {parts}")
            fc.cuda.empty_cache()
    return int(failed > 0)
