"""The weight gradient for Hopper (``conv/hopper_weight.py``) on a device or on ``tools/ptx_machine.py``."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import HAS_GPU, PTX

import fastconv as fc
from fastconv.spec.conv import conv_spec

pytestmark = pytest.mark.skipif(
    not (PTX or HAS_GPU), reason="needs a CUDA device; test_ptx.py: test_on_the_machine"
)

#         x                   w                stride padding dilation  tile  split k
CASES = [
    ((2, 64, 9, 11), (64, 64, 3, 3), 1, 1, 1, 5, 1),
    ((3, 64, 14, 13), (72, 64, 3, 3), 2, 1, 1, 6, 3),
    ((2, 40, 9, 12), (136, 40, 3, 5), 1, 2, 1, 1, 3),  # channels no multiple of a line
    ((2, 72, 14, 13), (264, 72, 3, 2), 1, 2, 2, 0, 1),  # several blocks each way
    ((5, 128, 7, 7), (128, 128, 3, 3), 1, 1, 1, 0, 3),
    ((3, 8, 15, 14), (8, 8, 7, 7), 2, 3, 1, 4, 1),
    ((2, 136, 4, 4), (128, 136, 3, 3), 1, 1, 1, 3, 1),
    ((7, 128, 3, 3), (128, 128, 1, 1), 1, 0, 1, 2, 1),  # fewer pixels than a step
    ((9, 64, 6, 5), (248, 64, 1, 1), 2, 0, 1, 3, 2),
    ((2, 64, 8, 8), (64, 64, 3, 3), 1, 1, 1, None, None),
    # columns of taps: 7 to 9 = 576x64, 10 to 12 = 384x64, 13 to 15 = 192x128, with 64, 112 and 128 pixels
    ((2, 64, 16, 16), (64, 64, 3, 3), 1, 1, 1, 7, 1),
    ((2, 72, 8, 56), (72, 72, 3, 3), 1, 1, 1, 8, 3),
    ((3, 128, 16, 16), (136, 128, 3, 3), 1, 1, 1, 12, 2),
    ((5, 64, 8, 8), (264, 64, 3, 3), 1, 1, 1, 13, 3),
    ((2, 40, 12, 40), (120, 40, 3, 5), 1, (2, 0), 2, 13, 1),  # two rows between taps
    ((2, 64, 10, 9), (64, 64, 3, 2), 1, (0, 0), 1, 13, 1),
    ((7, 64, 4, 4), (64, 64, 3, 3), 1, 1, 1, 10, 2),  # rows of 4 images
    ((3, 64, 14, 14), (64, 64, 3, 3), 1, 1, 1, 8, 2),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: "x".join(map(str, (*c[0], *c[1], *c[2:]))))
def test_gradient(case):
    from fastconv.backends.cuda.conv import cost, geometry, hopper_weight
    from fastconv.backends.cuda.runtime import device

    if HAS_GPU and device.capability() != (9, 0):
        pytest.skip("needs compute capability 9.0")
    x_shape, w_shape, stride, padding, dilation, tile, split_k = case
    spec = conv_spec("conv2d", x_shape, w_shape, stride, padding, dilation)
    rng = np.random.default_rng(0)
    x, gy = (rng.standard_normal(s, dtype=np.float32) for s in (x_shape, spec.y_shape))
    engine = fc.backends.load("cuda")
    (phase,) = geometry.forward(spec.as_3d())
    plan = hopper_weight.plans(phase)[0]
    if tile is not None:
        plan = cost.Plan(hopper_weight.TILES[tile], split_k, 1.0)
    before = fc.get_float32_precision()
    fc.set_float32_precision("medium")
    try:
        with cost.only_plans(plan):
            gw = engine.conv_bwd_weight(engine.asarray(x), engine.asarray(gy), spec, "implicit_gemm")
    finally:
        fc.set_float32_precision(before)
    wanted = fc.backends.load("numpy").conv_bwd_weight(x.astype(np.float64), gy.astype(np.float64), spec)
    got = engine.to_host(gw)
    assert np.linalg.norm(got - wanted) / np.linalg.norm(wanted) < 4e-3


def test_a_plan_per_layer():
    """Blocks for all multiprocessors, from 64 to 512 channels, and no more parts than steps."""
    from fastconv.backends.cuda.conv import cost, geometry, hopper_weight

    for channels, size in ((64, 32), (128, 16), (256, 8), (512, 4)):
        spec = conv_spec("conv2d", (128, channels, size, size), (channels, channels, 3, 3), 1, 1)
        (phase,) = geometry.forward(spec.as_3d())
        first, *rest = hopper_weight.plans(phase)
        rows, columns = first.tile.blocks(phase)
        assert 0.7 * cost.PROCESSORS < rows * columns * first.split_k <= cost.PROCESSORS
        assert len({p.tile for p in (first, *rest)}) == 1 + len(rest)


@pytest.mark.parametrize(
    "channels, groups, mode, why",
    [(64, 1, "tf32", "bf16 only"), (64, 2, "bf16", "groups"), (60, 1, "bf16", "multiples of 16 bytes")],
)
def test_refusals(channels, groups, mode, why):
    from fastconv.backends.cuda.conv import geometry, hopper_weight

    w_shape = (64, channels // groups, 3, 3)
    spec = conv_spec("conv2d", (2, channels, 9, 9), w_shape, 1, 1, groups=groups)
    assert why in hopper_weight.refuses(geometry.forward(spec.as_3d())[0], mode)
