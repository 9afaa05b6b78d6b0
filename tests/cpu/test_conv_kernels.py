"""The interfaces of the convolution kernels: records with named fields, few arguments, phases of taps."""

from __future__ import annotations

import inspect
from itertools import product

import numpy as np
import pytest

from fastconv.backends import load
from fastconv.spec import conv_spec

pytest.importorskip("numba")
from fastconv.backends.cpu.codegen.jit import KERNELS  # noqa: E402
from fastconv.backends.cpu.codegen.record import make_record, record_type  # noqa: E402
from fastconv.backends.cpu.conv.phases import backward_phases, forward_phases  # noqa: E402


def test_a_record_has_all_its_fields():
    kind = record_type(grid=2, step=1)
    record = make_record(kind, grid=(3, 4), step=2)
    assert record.shape == (1,) and record["grid"].tolist() == [[3, 4]] and record["step"] == 2
    with pytest.raises(TypeError, match="no value for step"):
        make_record(kind, grid=(3, 4))
    with pytest.raises(ValueError, match="stride"):
        make_record(kind, grid=(3, 4), step=2, stride=1)


def test_kernels_take_few_arguments():
    load("cpu")
    arguments = {
        name: len(inspect.signature(kernel.__wrapped__).parameters.keys() - {"thread", "threads"})
        for name, kernel in KERNELS.items()
    }
    found = {name: n for name, n in arguments.items() if name.startswith("conv.")}
    assert len(found) > 10
    assert {name for name, n in found.items() if n > 11} == set()


CONVOLUTIONS = [
    conv_spec("conv2d", (1, 1, 7, 9), (1, 1, *kernel), stride, padding, dilation).as_3d()
    for kernel, stride, padding, dilation in product(
        ((3, 3), (1, 2), (4, 3)), ((1, 1), (2, 3)), ((0, 0), (1, 2)), ((1, 1), (2, 2), (1, 3))
    )
    if (kernel[1] - 1) * dilation[1] < 9 and (kernel[0] - 1) * dilation[0] < 7
]


def pairs(phases, spec, is_dgrad):
    """All (output pixel, tap, input pixel) of the phases, on the input."""
    size = spec.out_size if is_dgrad else spec.in_size
    found = []
    for p in phases:
        offsets = list(product(*p.offsets))
        assert len(offsets) == len(p.taps)
        for i in product(*map(range, p.out_size)):
            y = tuple(o + s * k for o, s, k in zip(p.out_offset, p.out_stride, i))
            for offset, tap in zip(offsets, p.taps):
                x = tuple(int(s * k + o) for s, k, o in zip(p.in_stride, i, offset))
                on_input = all(0 <= a < n for a, n in zip(x, size))
                assert on_input or not p.inside
                if on_input:
                    found.append((y, tap, x))
    return found


@pytest.mark.parametrize(
    "spec", CONVOLUTIONS, ids=lambda s: f"{s.kernel}-{s.stride}-{s.padding}-{s.dilation}"
)
def test_phases_are_the_convolution(spec):
    """Every pixel meets every tap it should, once; backward-data has the same triples the other way round."""
    want = []
    for y in product(*map(range, spec.out_size)):
        for tap, t in enumerate(np.ndindex(*spec.kernel)):
            dims = zip(y, spec.stride, t, spec.dilation, spec.padding)
            x = tuple(i * s + k * d - before for i, s, k, d, (before, _) in dims)
            if all(0 <= a < n for a, n in zip(x, spec.in_size)):
                want.append((y, tap, x))
    assert sorted(pairs(forward_phases(spec), spec, False)) == sorted(want)
    backward = [(y, tap, x) for x, tap, y in pairs(backward_phases(spec), spec, True)]
    assert sorted(backward) == sorted(want)
