"""Products of matrices and einsum: every form as in PyTorch, with gradients."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.selection import every

import fastconv as fc

torch = pytest.importorskip("torch")


def both(function, *shapes, dtype="float64"):
    """The result and the gradients of ``function(module, *tensors)``, ours and PyTorch's."""
    rng = np.random.default_rng(0)
    arrays = [rng.integers(-4, 5, s).astype(dtype) for s in shapes]
    results = []
    for module in (fc, torch):
        leaves = [module.tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
        y = function(module, *leaves)
        if y.requires_grad:
            (y * y).sum().backward()
        grads = [np.zeros(t.shape) if t.grad is None else t.grad.numpy() for t in leaves]
        results.append([y.detach().numpy(), *grads])
    for got, want in zip(*results, strict=True):
        assert got.shape == want.shape and got.dtype == want.dtype
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-9)


@st.composite
def equations(draw):
    """An equation, and shapes that fit it: letters, repeated letters, an ellipsis, extents of 1."""
    extents = {letter: draw(st.integers(0, 3)) for letter in "abcd"}
    extra = draw(st.lists(st.integers(1, 3), max_size=2))
    parts, shapes = [], []
    dots = draw(st.booleans())
    for _ in range(draw(st.integers(1, 3))):
        letters = draw(st.lists(st.sampled_from("abcd"), max_size=4))
        shape = [1 if draw(st.integers(0, 9)) == 0 and letters.count(x) == 1 else extents[x] for x in letters]
        if dots:
            at, rest = draw(st.integers(0, len(letters))), draw(st.integers(0, len(extra)))
            tail = [1 if draw(st.booleans()) else n for n in extra[len(extra) - rest :]]
            parts.append("".join(letters[:at]) + "..." + "".join(letters[at:]))
            shape[at:at] = tail
        else:
            parts.append("".join(letters))
        shapes.append(tuple(shape))
    equation = ",".join(parts)
    if draw(st.booleans()):
        used = sorted({x for part in parts for x in part if x != "."})
        kept = draw(st.lists(st.sampled_from(used), unique=True)) if used else []
        equation += "->" + ("..." if dots else "") + "".join(kept)
    return equation, shapes


@given(drawn=equations())
def test_einsum(drawn):
    equation, shapes = drawn
    with fc.backend("numpy"):
        both(lambda m, *t: m.einsum(equation, *t), *shapes)


@pytest.mark.parametrize("backend", ["numpy", "cpu"])
def test_einsum_of_layers(backend):
    """What networks write: attention, Gram matrices, bilinear forms."""
    with fc.backend(backend):
        for equation, *shapes in (
            ("bhqd,bhkd->bhqk", (2, 3, 20, 16), (2, 3, 24, 16)),
            ("bchw,bdhw->bcd", (2, 5, 8, 9), (2, 5, 8, 9)),
            ("bn,anm,bm->ba", (4, 6), (3, 6, 7), (4, 7)),
            ("b c h w -> b h w c", (2, 3, 4, 5)),
            ("ii->i", (5, 5)),
            ("i,j->ij", (5,), (6,)),
        ):
            both(lambda m, *t, e=equation: m.einsum(e, *t), *shapes)
            both(lambda m, *t, e=equation: m.einsum(e, list(t)), *shapes, dtype="float64")
        both(lambda m, *t: m.einsum("ij,jk", *t), (2, 3), (3, 4), dtype="int64")


@pytest.mark.parametrize("backend", ["numpy", "cpu"])
def test_products(backend):
    with fc.backend(backend):
        for dtype in ("float64", "int64"):
            both(lambda m, a, b: m.mm(a, b), (3, 4), (4, 5), dtype=dtype)
            both(lambda m, a, b: m.bmm(a, b), (2, 3, 4), (2, 4, 5), dtype=dtype)
            both(lambda m, a, b: m.mv(a, b), (3, 4), (4,), dtype=dtype)
            both(lambda m, a, b: m.dot(a, b), (4,), (4,), dtype=dtype)
            both(lambda m, a, b: m.vdot(a, b), (4,), (4,), dtype=dtype)
            both(lambda m, a, b: m.outer(a, b), (4,), (3,), dtype=dtype)
            both(lambda m, a, b: m.ger(a, b), (4,), (3,), dtype=dtype)
            both(lambda m, a, b: m.kron(a, b), (2, 3), (4, 1, 2), dtype=dtype)
            both(lambda m, a: m.trace(a), (3, 4), dtype=dtype)
            both(lambda m, a, b: m.inner(a, b), (2, 3, 4), (5, 4), dtype=dtype)
            both(lambda m, a, b: m.inner(a, b), (2, 3), (), dtype=dtype)
            for options in ({}, {"beta": 2, "alpha": 3}, {"beta": 0}):
                both(lambda m, x, a, b, o=options: m.addmm(x, a, b, **o), (5,), (3, 4), (4, 5), dtype=dtype)
                both(lambda m, x, a, b, o=options: m.addmv(x, a, b, **o), (3,), (3, 4), (4,), dtype=dtype)
                both(lambda m, x, a, b, o=options: m.addr(x, a, b, **o), (3, 4), (3,), (4,), dtype=dtype)
                for name, shape in (("addbmm", (3, 5)), ("baddbmm", (1, 3, 1))):
                    both(
                        lambda m, x, a, b, o=options, n=name: getattr(m, n)(x, a, b, **o),
                        shape, (2, 3, 4), (2, 4, 5), dtype=dtype,
                    )  # fmt: skip
        both(lambda m, a, b: m.tensordot(a, b, 1), (2, 3), (3, 4))
        both(lambda m, a, b: m.tensordot(a, b, 0), (2, 3), (3, 4))
        both(lambda m, a, b: m.tensordot(a, b, ([1, 0], [0, 2])), (2, 3, 4), (3, 5, 2))
        both(lambda m, a, b: m.tensordot(a, b, dims=([0], [1])), (1, 3), (4, 5))


@pytest.mark.parametrize("shape", every([((300, 200),), ((1, 5000),), ((5000, 1),), ((2, 70, 80),)], 4))
def test_large_products(shape):
    with fc.backend("cpu"):
        both(lambda m, a, b: m.matmul(a, b), shape, (*shape[:-2], shape[-1], 150))
        both(lambda m, a: m.matmul(a, a.mT), shape)


def test_beta_zero_reads_nothing():
    x = fc.full((2,), float("nan"))
    assert x.addmm(fc.ones(3, 4), fc.ones(4, 2), beta=0).tolist() == [[4, 4]] * 3
