"""One small shape for each family of kernels, run once: what the checkers and ncu watch.

``--part all`` runs everything, ``--part counters`` three convolutions of ResNet-18.
"""

from __future__ import annotations

import traceback
from contextlib import nullcontext
from functools import partial

import workload

import fastconv as fc
from fastconv import optim, spec
from fastconv.nn import functional as F

from . import sides
from .results import Stage, detail, first_line, say


def convolutions(side):
    """Each pass in each mode, with copies of 16 bytes and of single numbers, and in parts of the sum."""
    from fastconv.backends.cuda.conv import cost

    def run(call, precision, context):
        fc.set_float32_precision(precision)
        with context():
            call()

    parts = partial(cost.only_plans, cost.Plan(cost.NARROW[0], 2, 0.0))
    for channels in (32, 3):
        geometry = spec.conv_spec("conv2d", (2, channels, 9, 9), (16, channels, 3, 3), 1, 1)
        (arrays,) = sides.conv_inputs(side, geometry)
        for which in ("fwd", "bwd_data", "bwd_weight"):
            call = side.conv_call(which, geometry, *arrays, "implicit_gemm")
            for precision in sides.MODES:
                name = f"conv {which}, {channels} channels, {precision}"
                yield name, partial(run, call, precision, nullcontext)
            if channels == 3:
                yield f"conv {which}, split k", partial(run, call, "highest", parts)


def others():
    def leaf(*shape):
        return fc.tensor(workload.draw("kernels", shape), requires_grad=True)

    x = leaf(2, 8, 9, 9)
    target = fc.tensor(workload.labels(33, 10))
    yield "max pool", lambda: F.max_pool2d(x, 3, 2, 1).sum().backward()
    yield "avg pool", lambda: F.avg_pool2d(x, 2).sum().backward()
    yield (
        "batch norm",
        lambda: F.batch_norm(x, None, None, training=True, activation="relu").sum().backward(),
    )
    yield "group norm", lambda: F.group_norm(x, 2).sum().backward()
    yield "reductions", lambda: (x.data.sum(), x.data.mean((0, 2, 3)), x.data.max(), leaf(70_000).data.sum())
    yield "pointwise", lambda: (x.sigmoid() * x + 1.0).sum().backward()
    yield "softmax", lambda: F.softmax(leaf(33, 10), -1).sum().backward()
    yield "cross entropy", lambda: F.cross_entropy(leaf(33, 10), target).backward()
    yield "linear", lambda: F.linear(leaf(33, 20), leaf(10, 20), leaf(10)).sum().backward()

    def update(make):
        p = leaf(257)
        p.grad = fc.tensor(workload.draw("grad", (257,)))
        make([p]).step()

    yield "SGD", lambda: update(lambda p: optim.SGD(p, lr=0.1, momentum=0.9))
    yield "Adam", lambda: update(lambda p: optim.Adam(p, lr=0.1))
    yield "dropout", lambda: F.dropout(x, 0.5).sum().backward()


def layers(side):
    """The three passes of one layer of ResNet-18 in TF32, where they are worth counting."""
    row = next(r for r in workload.read_shapes("resnet18_32") if r["name"] == "layer2.conv") | {"N": 128}
    geometry = workload.spec_of(row)
    (arrays,) = sides.conv_inputs(side, geometry)
    for which in ("fwd", "bwd_data", "bwd_weight"):
        yield f"conv {which}", side.conv_call(which, geometry, *arrays, "implicit_gemm")


def main(stage: Stage) -> int:
    side, failed = sides.Fastconv(), 0
    fc.set_float32_precision("high")
    if stage.part == "counters":
        todo = layers(side)
    else:
        todo = [*others(), *convolutions(side)]
    for name, run in todo:
        say(f"run {name}")
        try:
            run()
            fc.cuda.synchronize()
        except Exception as e:
            failed += 1
            detail(traceback.format_exc())
            say(f"FAILED {name}: {first_line(e)}")
    return int(failed > 0)
