"""Functions of elements as methods and as ``fc.NAME``: types, broadcasting, layouts and gradients are
PyTorch's on operands that hypothesis draws; what is refused."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from conftest import is_slow, op_backend
from hypothesis import given
from hypothesis import strategies as st
from support.selection import every

import fastconv as fc
from fastconv.nn import functional as F

torch = pytest.importorskip("torch")
backend = op_backend

DTYPES = ["float32", "float64", "int64", "int32", "uint8", "bool"]
ONE = """abs ceil cos erf exp expm1 floor isfinite isinf isnan log log10 log1p log2 logical_not neg reciprocal
round rsqrt sigmoid sign sin sqrt square tanh trunc bitwise_not""".split()
TWO = """add sub mul div true_divide floor_divide remainder fmod pow maximum minimum eq ne lt le gt ge
logical_and logical_or logical_xor bitwise_and bitwise_or bitwise_xor""".split()
ACTIVATIONS = """relu6 hardtanh hardswish hardsigmoid elu selu celu mish softplus softsign logsigmoid
hardshrink softshrink tanhshrink""".split()


def drawn(rng, shape, dtype):
    """Small numbers, a few of them special, and no zeros among the integers."""
    if dtype == "bool":
        return np.asarray(rng.random(shape) < 0.5)
    if dtype.startswith("float"):
        x = np.asarray(rng.normal(0, 2, shape)).astype(dtype)
        x.reshape(-1)[: x.size // 5] = rng.choice([np.nan, np.inf, -np.inf, 0.0, 2.0, -3.0], x.size // 5)
        return x
    return np.asarray(rng.integers(1, 9, shape)).astype(dtype)


def both(call, their, *arrays):
    """Our result and PyTorch's; None for both where PyTorch refuses the types."""
    try:
        want = their(*(torch.tensor(a) if isinstance(a, np.ndarray) else a for a in arrays))
    except (RuntimeError, NotImplementedError, TypeError):
        return None, None
    return call(*(fc.tensor(a) if isinstance(a, np.ndarray) else a for a in arrays)), want


def assert_same(got, want, rtol=1e-5):
    assert got.shape == tuple(want.shape)
    assert str(got.dtype) == str(want.dtype).removeprefix("torch."), (got.dtype, want.dtype)
    np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=rtol, atol=1e-6)


@pytest.mark.parametrize("name", ONE)
@given(dtype=st.sampled_from(DTYPES), shape=st.lists(st.integers(0, 4), max_size=3), seed=st.integers(0, 99))
def test_one_operand(name, dtype, shape, seed):
    x = drawn(np.random.default_rng(seed), shape, dtype)
    got, want = both(getattr(fc, name), getattr(torch, name), x)
    if want is not None:
        assert_same(got, want)
        assert_same(getattr(fc.tensor(x), name)(), want)


@st.composite
def pairs(draw):
    """Two operands that broadcast, of any two types; the second may be a number."""
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    kept = [draw(st.tuples(st.booleans(), st.booleans())) for _ in shape]
    shapes = [[n if k[i] else 1 for n, k in zip(shape, kept)] for i in (0, 1)]
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    a = drawn(rng, shapes[0], draw(st.sampled_from(DTYPES)))
    if draw(st.booleans()):
        return a, draw(st.sampled_from([2, -3, 1.5, True]))
    return a, drawn(rng, shapes[1][draw(st.integers(0, len(shape))) :], draw(st.sampled_from(DTYPES)))


@pytest.mark.parametrize("name", TWO)
@given(operands=pairs())
def test_two_operands(name, operands):
    """``eq`` and the other comparisons compare the numbers as written, so their types are drawn equal."""
    a, b = operands
    if isinstance(b, np.ndarray) and name in ("eq", "ne", "lt", "le", "gt", "ge"):
        b = b.astype(a.dtype)
    got, want = both(getattr(fc, name), getattr(torch, name), a, b)
    if want is not None:
        assert_same(got, want)


def test_operators():
    a, b = np.array([[-7, 7, 5]]), np.array([[2], [-3]])
    x, y = fc.tensor(a), fc.tensor(b)
    for got, want in (
        (x // y, a // b), (x % y, a % b), (x & y, a & b), (x | y, a | b), (x ^ y, a ^ b), (~x, ~a),
        (9 // x, 9 // a), (9 % x, 9 % a), (6 & x, 6 & a), (6 | x, 6 | a), (6 ^ x, 6 ^ a),
        (a // y, a // b), (np.remainder(a, y), a % b), (~(x > 0), a <= 0),
        ((x > 0) & (x < 6), (a > 0) & (a < 6)),
    ):  # fmt: skip
        np.testing.assert_array_equal(got.numpy(), want)
        assert got.dtype == want.dtype


@pytest.mark.parametrize("name", ACTIVATIONS)
@given(shape=st.lists(st.integers(0, 5), max_size=4), layout=st.sampled_from(["plain", "T", "step", "back"]))
def test_activations(name, shape, layout):
    x = drawn(np.random.default_rng(0), shape, "float32")
    x = {"plain": lambda: x, "T": lambda: x.T, "step": lambda: np.repeat(x[..., None], 2, -1)[..., 0],
         "back": lambda: x[::-1] if x.ndim else x}[layout]()  # fmt: skip
    ours = fc.from_numpy(x.copy() if layout == "plain" else x).requires_grad_()
    theirs = torch.tensor(x.copy(), dtype=torch.float64, requires_grad=True)
    y, want = getattr(F, name)(ours), getattr(torch.nn.functional, name)(theirs)
    np.testing.assert_allclose(y.detach().numpy(), want.detach().numpy(), rtol=1e-5, atol=1e-6)
    y.sum().backward()
    want.sum().backward()
    # ours has limits at infinity where PyTorch has NaN; PyTorch's vector and scalar code differ at NaN
    finite = np.isfinite(theirs.grad.numpy()) & ~np.isnan(x)
    np.testing.assert_allclose(ours.grad.numpy()[finite], theirs.grad.numpy()[finite], rtol=1e-5, atol=1e-6)


#: Functions of three operands and how they are called.
THREE = {
    "where": lambda m, a, b, c: m.where(a > 0, b, c),
    "addcmul": lambda m, a, b, c: m.addcmul(a, b, c, value=0.5),
    "addcdiv": lambda m, a, b, c: m.addcdiv(a, b, c, value=-2),
    "lerp": lambda m, a, b, c: m.lerp(a, b, c),
    "lerp-number": lambda m, a, b, c: m.lerp(a, b, 0.3) * c,
    "add-alpha": lambda m, a, b, c: m.add(a, b, alpha=3) * c,
    "sub-alpha": lambda m, a, b, c: m.sub(a, b, alpha=0.5) * c,
    "prelu": lambda m, a, b, c: m.nn.functional.prelu(a * b, c.reshape(-1)[:1]),
    "remainder": lambda m, a, b, c: m.remainder(a, b) + m.fmod(b, c),
    "clamp": lambda m, a, b, c: m.clamp(a, -0.5, 1) + m.clamp(b, min=0.1) * m.clamp(c, max=0.2),
    "clamp-tensors": lambda m, a, b, c: m.clamp(a + 0 * (b + c), b, c),
    "pieces": lambda m, a, b, c: m.floor(a) * b + m.round(b) * c + m.sign(c) * a,
    "roots": lambda m, a, b, c: m.rsqrt(m.abs(a) + 1) + m.reciprocal(m.square(b) + 1) + m.log1p(m.abs(c)),
    "waves": lambda m, a, b, c: m.sin(9 * a) * m.cos(b) + m.erf(c) + m.expm1(b) + m.log2(m.abs(c) + 1),
}


@pytest.mark.parametrize("name", every(THREE, 5))
def test_gradients_of_broadcast_operands(name, backend):
    """Every combination of shapes that broadcast; on the cpu engine large ones too, for its kernels."""
    shapes = [(2, 3, 4), (3, 1), (1, 1, 4), ()]
    shapes = [*itertools.product(shapes[:3], repeat=3), ((2, 3, 4), (), ()), ((), (2, 3, 4), ())]
    if is_slow(backend):
        shapes = shapes[::5]
    if backend == "cpu":
        shapes += [((4, 8, 40, 40), (8, 1, 1), (40,)), ((4, 8, 40, 40), (4, 8, 40, 40), (4, 8, 1, 1))]
        shapes += [((1, 1, 40, 1), (4, 8, 40, 40), (4, 1, 1, 40))]
    for those in shapes:
        rng = np.random.default_rng(0)
        arrays = [np.asarray(rng.normal(0, 1, s)).astype(np.float32) for s in those]
        if backend == "cpu" and arrays[0].ndim == 4:  # as convolutions give it
            arrays[0] = np.ascontiguousarray(arrays[0].transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
        theirs = [torch.tensor(a, dtype=torch.float64, requires_grad=True) for a in arrays]
        want = THREE[name](torch, *theirs)
        g = rng.normal(0, 1, want.shape)
        device = "cuda" if backend == "cuda" else "cpu"
        ours = [fc.tensor(a, requires_grad=True, device=device) for a in arrays]
        y = THREE[name](fc, *ours)
        np.testing.assert_allclose(y.detach().numpy(), want.detach().numpy(), rtol=1e-4, atol=1e-5)
        if not want.requires_grad:
            continue
        want.backward(torch.tensor(g))
        y.backward(fc.tensor(g.astype(np.float32), device=device))
        for t, e in zip(ours, theirs):
            e = np.zeros(e.shape) if e.grad is None else e.grad.numpy()
            got = np.zeros(e.shape) if t.grad is None else t.grad.numpy()
            scale = max(1, np.abs(e).max(initial=0))
            np.testing.assert_allclose(got, e, rtol=1e-3, atol=1e-4 * scale, err_msg=f"{those}")


@given(decimals=st.integers(-3, 5), seed=st.integers(0, 50))
def test_round(decimals, seed):
    x = np.random.default_rng(seed).normal(0, 100, 50).astype(np.float32)
    got = fc.round(fc.tensor(x), decimals=decimals)
    np.testing.assert_array_equal(got.numpy(), torch.round(torch.tensor(x), decimals=decimals).numpy())


@given(
    values=st.lists(st.sampled_from([0.0, 1.0, 1.0 + 1e-6, 1.1, np.inf, -np.inf, np.nan]), min_size=1),
    seed=st.integers(0, 9),
    rtol=st.sampled_from([0, 1e-5, 0.2]),
    atol=st.sampled_from([0, 1e-8, 0.5]),
    nan=st.booleans(),
)
def test_isclose(values, seed, rtol, atol, nan):
    a = np.asarray(values, np.float32)
    b = np.random.default_rng(seed).permutation(a)
    got = fc.isclose(a, b, rtol, atol, nan)
    want = torch.isclose(torch.tensor(a), torch.tensor(b), rtol, atol, nan)
    np.testing.assert_array_equal(got.numpy(), want.numpy())
    assert fc.allclose(a, b, rtol, atol, nan) is bool(want.all())


def test_equal():
    x = fc.ones(2, 3)
    assert fc.equal(x, np.ones((2, 3), np.float32)) is True
    assert x.equal(fc.ones(3)) is False and x.equal(x * 2) is False and fc.zeros(0).equal(fc.zeros(0)) is True


def test_clamp_with_special_bounds(backend):
    x = np.array([-np.inf, -1.0, np.nan, 2.0, np.inf], np.float32)
    for low, high in ((None, 1), (0, None), (3, 1), (-np.inf, np.inf), (np.nan, 1.0)):
        want = torch.clamp(torch.tensor(x), low, high)
        np.testing.assert_array_equal(fc.clamp(x, low, high).numpy(), want.numpy())
    assert fc.clip(fc.tensor([1, 5, 9]), 2, 6).tolist() == [2, 5, 6]
    assert fc.tensor([1.0, 5.0]).clamp_min(2).tolist() == [2, 5] and fc.clamp_max([1.0, 5.0], 2).tolist() == [
        1,
        2,
    ]


def test_division_of_integers_by_zero():
    for function in (fc.floor_divide, fc.remainder, fc.fmod):
        with pytest.raises(ZeroDivisionError, match="divided by zero"):
            function(fc.tensor([1, 2]), fc.tensor([1, 0]))


def test_where_of_numbers():
    c = fc.tensor([True, False])
    for a, b in ((1, 2), (1, 2.5), (True, False), (fc.tensor(1), 2.5), (np.float64(1), 2)):
        t = torch.tensor(1) if isinstance(a, fc.Tensor) else a
        want = torch.where(torch.tensor([True, False]), t, b)
        got = fc.where(c, a, b)
        assert str(got.dtype) == str(want.dtype).removeprefix("torch.") and got.tolist() == want.tolist()


X = fc.ones(2, 3)
BAD = {
    "where-condition": (lambda: fc.where(X, X, X), TypeError, "where: condition must hold bools"),
    "where-shapes": (lambda: fc.where(X > 0, X, fc.ones(2)), ValueError, "where: "),
    "where-text": (lambda: fc.where(X > 0, X, "a"), TypeError, "where: .*str"),
    "add": (lambda: X.add("a"), TypeError, "add: other must be .*'a'"),
    "add-alpha": (lambda: X.add(X, alpha="a"), TypeError, "add: .*'a'"),
    "add-alpha-float": (lambda: fc.tensor([1]).add(1, alpha=0.5), TypeError, "add: .*integers.*0.5"),
    "add-shapes": (lambda: X.add(fc.ones(2)), ValueError, "add: "),
    "div": (lambda: X.div(X, rounding_mode="up"), ValueError, "div: rounding_mode .*'up'"),
    "round": (lambda: X.round(decimals=1.5), TypeError, "round: decimals must be an int, got 1.5"),
    "round-int": (lambda: fc.tensor([1]).round(decimals=1), TypeError, "round: decimals are for floats"),
    "floor-bool": (lambda: fc.tensor([True]).floor(), TypeError, "floor: expected numbers, got bool"),
    "bitwise": (lambda: X & X, TypeError, "bitwise_and: expected bools or integers, got float32"),
    "bitwise-number": (lambda: fc.tensor([1]) | 0.5, TypeError, "bitwise_or: .*float64"),
    "not": (lambda: ~X, TypeError, "bitwise_not: expected bools or integers"),
    "remainder": (lambda: fc.tensor([True]) % True, TypeError, "remainder: bools are not divided"),
    "clamp": (lambda: X.clamp(), ValueError, "clamp: give min, max or both"),
    "lerp": (lambda: fc.tensor([1]).lerp(fc.tensor([2]), 1), TypeError, "lerp: expected floats, got int64"),
    "addcmul": (lambda: X.addcmul(X, fc.ones(4)), ValueError, "addcmul: "),
    "addcdiv": (lambda: fc.tensor([1]).addcdiv([1], [2]), TypeError, "addcdiv: expected floats"),
    "isclose": (lambda: X.isclose(X, rtol=-1), ValueError, "isclose: rtol must be at least 0"),
    "equal": (lambda: X.equal("a"), TypeError, "equal: "),
    "softmax-dtype": (lambda: X.softmax(0, dtype="text"), TypeError, "softmax: dtype must be"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_refused(name):
    call, error, text = BAD[name]
    with pytest.raises(error, match=text):
        call()
