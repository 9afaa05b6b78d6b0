"""Which pixels interpolate reads: PyTorch's, to the last one, for every size and factor."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import op_backend
from support.selection import full

import fastconv as fc
from fastconv.nn import functional as F
from fastconv.spec import interpolate_spec

backend = op_backend


def pairs(count, largest, seed):
    """Input extents with an output extent or a factor: decimals as people write them, and factors that change
    (nearly) nothing."""
    rng = np.random.default_rng(seed)
    while count:
        n = int(rng.integers(1, largest))
        if rng.random() < 1 / 3:
            yield n, int(rng.integers(1, 2 * largest)), None
        else:
            low, high = ((0.05, 8), (0.9, 1.1), (1.9, 2.2))[rng.integers(3)]
            factor = float(np.round(rng.uniform(low, high), rng.integers(1, 4)))
            if int(n * factor) < 1:
                continue
            yield n, None, factor
        count -= 1


# PyTorch has two kernels: up to 128 rows and columns together, and beyond
@pytest.mark.parametrize("rows", [2, *full(100)])
@pytest.mark.parametrize("dtype", ["float32", *full("float64")])
def test_nearest_reads_pytorchs_pixels(dtype, rows):
    """3,000 pairs: not one pixel beside PyTorch's, whose float32 positions decide at exact multiples."""
    torch = pytest.importorskip("torch")
    for n, size, factor in pairs(3000, 300, seed=rows):
        x = torch.arange(n, dtype=getattr(torch, dtype)).expand(1, 1, rows, n).contiguous()
        options = {"size": (rows, size)} if factor is None else {"scale_factor": (1.0, factor)}
        want = torch.nn.functional.interpolate(x, **options)[0, 0, 0].numpy()
        geometry = interpolate_spec(
            x.shape, options.get("size"), options.get("scale_factor"), "nearest", None
        )
        np.testing.assert_array_equal(geometry.taps(1, dtype)[0][0], want, f"{n} to {size}, factor {factor}")


def test_nearest_at_exact_multiples(backend):
    """37 / 3.7 is 10, and 37 times the reciprocal of 3.7 is less."""
    x = np.arange(27, dtype=np.float32)
    y = F.interpolate(np.broadcast_to(x, (1, 1, 2, 27)), scale_factor=(1.0, 3.7)).numpy()
    assert y[0, 0, 0, 37] == 10
    assert y.shape == (1, 1, 2, 99)


@pytest.mark.parametrize("size", [(7, 61), (40, 200)])
@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_images_and_gradients_are_pytorchs(mode, size, backend):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    for options in ({"size": size}, *({"scale_factor": f} for f in ((1.1, 3.7), (2.06, 0.3), (1.05, 1.0)))):
        x = rng.standard_normal((1, 2, 6, 27)).astype(np.float32)
        ours, theirs = fc.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        y = F.interpolate(ours, mode=mode, **options)
        z = torch.nn.functional.interpolate(theirs, mode=mode, **options)
        np.testing.assert_allclose(y.numpy(), z.detach().numpy(), atol=2e-6)
        gy = rng.standard_normal(y.shape).astype(np.float32)
        y.backward(gy)
        z.backward(torch.tensor(gy))
        np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), atol=1e-5)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bilinear_weights_are_pytorchs(dtype, align_corners):
    """Long lines, where a float32 position is off by 1e-4 of a pixel: by the same as PyTorch's."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    with fc.backend("cpu"):
        for n, size, factor in pairs(150, 3000, seed=1):
            x = rng.standard_normal((1, 1, 1, n)).astype(dtype)
            options = {"size": (1, size)} if factor is None else {"scale_factor": (1.0, factor)}
            options |= {"mode": "bilinear", "align_corners": align_corners}
            want = torch.nn.functional.interpolate(torch.tensor(x), **options).numpy()
            got = F.interpolate(x, **options).numpy()
            np.testing.assert_allclose(
                got, want, atol={"float32": 2e-6, "float64": 1e-11}[dtype], err_msg=f"{n} {options}"
            )
