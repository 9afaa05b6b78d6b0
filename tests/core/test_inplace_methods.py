"""The methods with an underscore: values, types, gradients and errors of PyTorch's; random fillings."""

from __future__ import annotations

import inspect

import conftest
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastconv as fc

backend = conftest.op_backend

PLAIN = """
abs_ ceil_ cos_ erf_ exp_ expm1_ floor_ log_ log10_ log1p_ log2_ neg_ reciprocal_ relu_ round_ rsqrt_
sigmoid_ sign_ sin_ sqrt_ square_ tanh_ trunc_ zero_
"""
PAIRS = "add_ sub_ mul_ div_ true_divide_ floor_divide_ remainder_ fmod_ pow_ eq_ ne_ lt_ le_ gt_ ge_"
# name -> programs on a 3 x 4 tensor t; a and b have this shape, i indices, m a mask, v a vector of 4
CALLS = {
    **{name: [lambda t, a, b, i, m, v, f=name: getattr(t, f)()] for name in PLAIN.split()},
    **{
        name: [
            lambda t, a, b, i, m, v, f=name: getattr(t, f)(a),
            lambda t, a, b, i, m, v, f=name: getattr(t, f)(v),
            lambda t, a, b, i, m, v, f=name: getattr(t, f)(1.5),
        ]
        for name in PAIRS.split()
    },
    **{
        name: [lambda t, a, b, i, m, v, f=name: getattr(t, f)(a)]
        for name in "logical_and_ logical_or_ logical_xor_ copy_".split()
    },
    "logical_not_": [lambda t, a, b, i, m, v: t.logical_not_()],
    "alpha": [lambda t, a, b, i, m, v: t.add_(a, alpha=2), lambda t, a, b, i, m, v: t.sub_(t, alpha=0.5)],
    "div_ rounded": [lambda t, a, b, i, m, v: t.div_(a, rounding_mode="floor")],
    "clamp_": [
        lambda t, a, b, i, m, v: t.clamp_(0.7, 1.2),
        lambda t, a, b, i, m, v: t.clamp_(min=a),
        lambda t, a, b, i, m, v: t.clip_(max=1.0),
    ],
    "clamp_min_": [lambda t, a, b, i, m, v: t.clamp_min_(1.0)],
    "clamp_max_": [lambda t, a, b, i, m, v: t.clamp_max_(1.0)],
    "round_ decimals": [lambda t, a, b, i, m, v: t.round_(decimals=1)],
    "addcmul_": [lambda t, a, b, i, m, v: t.addcmul_(a, b, value=0.5)],
    "addcdiv_": [lambda t, a, b, i, m, v: t.addcdiv_(a, b)],
    "lerp_": [lambda t, a, b, i, m, v: t.lerp_(a, 0.3), lambda t, a, b, i, m, v: t.lerp_(a, b)],
    "cumsum_": [lambda t, a, b, i, m, v: t.cumsum_(1)],
    "cumprod_": [lambda t, a, b, i, m, v: t.cumprod_(0)],
    "tril_": [lambda t, a, b, i, m, v: t.tril_(), lambda t, a, b, i, m, v: t.tril_(1)],
    "triu_": [lambda t, a, b, i, m, v: t.triu_(-1)],
    "masked_fill_": [lambda t, a, b, i, m, v: t.masked_fill_(m, 3.0)],
    "masked_scatter_": [lambda t, a, b, i, m, v: t.masked_scatter_(m, a)],
    "index_fill_": [lambda t, a, b, i, m, v: t.index_fill_(1, i[0, :2], 3.0)],
    "index_add_": [lambda t, a, b, i, m, v: t.index_add_(1, i[0], a, alpha=2)],
    "index_copy_": [lambda t, a, b, i, m, v: t.index_copy_(0, i[0, :1] * 0, a[:1])],
    "index_put_": [lambda t, a, b, i, m, v: t.index_put_((i[0, :2],), v, accumulate=True)],
    "scatter_": [
        lambda t, a, b, i, m, v: t.scatter_(1, i[:, :1], a[:, :1]),
        lambda t, a, b, i, m, v: t.scatter_(1, i, 3.0),
    ],
    "scatter_add_": [lambda t, a, b, i, m, v: t.scatter_add_(1, i, a)],
    "scatter_reduce_": [lambda t, a, b, i, m, v: t.scatter_reduce_(1, i, a, "sum")],
    "addmm_": [lambda t, a, b, i, m, v: t.addmm_(a, v[:, None] * v)],
    "addbmm_": [lambda t, a, b, i, m, v: t.addbmm_(a[None], (v[:, None] * v)[None], beta=0.5)],
    "baddbmm_": [lambda t, a, b, i, m, v: t.unsqueeze_(0).baddbmm_(a[None], (v[:, None] * v)[None])],
    "addr_": [lambda t, a, b, i, m, v: t.addr_(v[:3], v, beta=0.5)],
    "addmv_": [lambda t, a, b, i, m, v: t[:, 0].addmv_(a, v)],
    "fill_": [lambda t, a, b, i, m, v: t.fill_(3.0), lambda t, a, b, i, m, v: t.fill_(a[0, 0])],
    "fill_diagonal_": [
        lambda t, a, b, i, m, v: t.fill_diagonal_(3.0),
        lambda t, a, b, i, m, v: t.t().fill_diagonal_(2),
    ],
    "unsqueeze_": [lambda t, a, b, i, m, v: t.unsqueeze_(1)],
    "squeeze_": [lambda t, a, b, i, m, v: t.unsqueeze_(0).squeeze_()],
    "t_": [lambda t, a, b, i, m, v: t.t_()],
    "transpose_": [lambda t, a, b, i, m, v: t.transpose_(0, 1).mul_(2)],
    "swapaxes_": [lambda t, a, b, i, m, v: t.swapaxes_(0, 1).swapdims_(0, 1)],
    "+=": [lambda t, a, b, i, m, v: t.__ifloordiv__(a).__imod__(0.3).__ipow__(2)],
}
# in PyTorch, which passes on the gradient of what logical ops have overwritten
NO_DERIVATIVE = ("floor_divide_", "+=", "logical_and_", "logical_or_", "logical_xor_", "logical_not_")
PROGRAMS = [
    pytest.param(f, name not in NO_DERIVATIVE, id=f"{name}-{k}")
    for name, calls in CALLS.items()
    for k, f in enumerate(calls)
]


def inputs(library, leaves=False):
    """t, a, b, i, m, v; t is a result, because leaves must not be changed."""
    rng = np.random.default_rng(0)
    floats = [rng.uniform(0.5, 1.5, s) for s in ((3, 4), (3, 4), (3, 4), (4,))]
    make = library.tensor
    x, a, b, v = (make(f, requires_grad=leaves) for f in floats)
    i, m = make(rng.integers(0, 3, (3, 4))), make(floats[0] > 1)
    return x, (x * 1, a, b, i, m, v)


@pytest.mark.parametrize(("program", "tracked"), PROGRAMS)
def test_values_and_gradients(program, tracked, backend):
    torch = pytest.importorskip("torch")
    results = []
    for library in (fc, torch):
        x, args = inputs(library, leaves=tracked)
        t = args[0]
        result = program(*args)
        assert result is t or library is torch or result.view_of is not None
        found = [result.detach().numpy(), t.detach().numpy()]
        if t.requires_grad:
            weight = library.tensor(np.random.default_rng(1).uniform(1, 2, tuple(t.shape)))
            (t * weight).sum().backward()
        leaves = (x, args[1], args[2], args[5])
        results.append((found, [None if p.grad is None else p.grad.numpy() for p in leaves], t.requires_grad))
    (mine, ours, recorded), (want, theirs, wanted) = results
    assert recorded == wanted
    for got, expected in zip(mine, want):
        assert got.shape == expected.shape
        np.testing.assert_allclose(got, expected, rtol=1e-10)
    for got, expected in zip(ours, theirs):
        zero = 0 if got is None or expected is None else expected
        np.testing.assert_allclose(0 if got is None else got, zero, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(("program", "tracked"), PROGRAMS)
def test_off_the_tape_the_memory_is_the_same(program, tracked):
    with fc.backend("numpy"):
        _, args = inputs(fc)
        t = args[0]
        memory, version = t.numpy(), t.memory.version
        program(*args)
        assert np.shares_memory(t.numpy(), memory)
        assert t.memory.version > version or t.shape != (3, 4) or program(*args) is not None


def test_every_method_with_an_underscore_is_tested():
    names = {n for n in dir(fc.Tensor) if n.endswith("_") and not n.startswith("_")}
    source = inspect.getsource(inspect.getmodule(test_every_method_with_an_underscore_is_tested))
    elsewhere = ["detach_", "requires_grad_"]
    assert [n for n in sorted(names) if n not in source and n not in elsewhere] == []


def test_bitwise_methods():
    x = fc.tensor([True, False])
    assert x.bitwise_and_(fc.tensor([True, True])).tolist() == [True, False]
    assert x.bitwise_or_(fc.tensor([False, True])).bitwise_xor_(x).bitwise_not_().tolist() == [True, True]
    n = fc.tensor([6, 3])
    n &= 2
    n |= 8
    n ^= 1
    assert n.tolist() == [11, 11]


def test_texts_and_signatures():
    assert fc.Tensor.relu_.__name__ == "relu_" and "relu" in fc.Tensor.relu_.__doc__
    assert list(inspect.signature(fc.Tensor.add_).parameters) == ["self", "other", "alpha"]
    assert list(inspect.signature(fc.Tensor.clamp_).parameters) == ["self", "min", "max"]


@pytest.mark.parametrize("dtype", ["float32", "int64", "int8", "bool"])
@pytest.mark.parametrize("name", ["add_", "mul_", "div_", "eq_", "pow_", "exp_", "copy_", "logical_not_"])
def test_types_are_kept_or_refused_as_in_pytorch(name, dtype):
    torch = pytest.importorskip("torch")
    other = {"add_": [2.5], "mul_": [2], "div_": [2], "eq_": [1], "pow_": [2], "copy_": [1.7]}.get(name, [])
    outcomes = []
    for library in (fc, torch):
        t = library.tensor([0, 1, 2]).to(dtype if library is fc else getattr(torch, dtype))
        args = [library.tensor(o) for o in other] if name == "copy_" else other
        with fc.backend("numpy"):
            try:
                getattr(t, name)(*args)
                outcomes.append(t.numpy().tolist())
            except (RuntimeError, TypeError):
                outcomes.append("refused")
    mine, theirs = outcomes
    assert mine == theirs or np.allclose(mine, theirs, rtol=1e-6)


@pytest.mark.parametrize(
    "name", ["relu_", "normal_", "fill_", "copy_", "unsqueeze_", "masked_fill_", "zero_"]
)
def test_a_leaf_that_requires_gradients_is_refused(name):
    args = {"fill_": [1.0], "copy_": [1.0], "unsqueeze_": [0], "masked_fill_": [fc.tensor([True]), 1.0]}
    x = fc.ones(1, requires_grad=True)
    with fc.backend("numpy"), pytest.raises(RuntimeError, match=f"{name}: autograd cannot follow .* a leaf"):
        getattr(x, name)(*args.get(name, []))
    with fc.backend("numpy"), fc.no_grad():
        getattr(x, name)(*args.get(name, []))
    assert x.requires_grad and x.is_leaf


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda t: t.fill_(fc.ones(2)), ValueError, "fill_: value must be a number, got shape 2"),
        (lambda t: t.add_(fc.ones(5, 3, 4)), ValueError, "add_: the result has shape 5x3x4"),
        (lambda t: t[0].fill_diagonal_(1), ValueError, "fill_diagonal_: expected a matrix.* got 4"),
        (lambda t: t.long().normal_(), TypeError, "normal_: expected a tensor of floats, got int64"),
        (lambda t: t.normal_(0, -1), ValueError, "normal_: std must be at least 0"),
        (lambda t: t.uniform_(2, 1), ValueError, "uniform_: start must not be above to, got 2 and 1"),
        (lambda t: t.exponential_(0), ValueError, "exponential_: lambd must be positive"),
        (lambda t: t.cauchy_(0, 0), ValueError, "cauchy_: sigma must be positive"),
        (lambda t: t.geometric_(1.5), ValueError, "geometric_: p must be between 0 and 1"),
        (lambda t: t.bernoulli_(1.5), ValueError, "bernoulli_: p must be between 0 and 1"),
        (lambda t: t.bernoulli_(t + 5), ValueError, "bernoulli_: p must be between 0 and 1 everywhere"),
        (lambda t: t.random_(5, 5), ValueError, "random_: start must be below to, got 5 and 5"),
        (lambda t: t.log_normal_(0, -1), ValueError, "log_normal_: std must be at least 0"),
        (lambda t: t.normal_(generator=3), TypeError, "normal_: generator must be a fastconv.Generator"),
    ],
)
def test_what_is_refused(call, error, match):
    with fc.backend("numpy"), pytest.raises(error, match=match):
        call(fc.ones(3, 4))


# ------------------------------------------------------------------------------------------------- shapes
def test_another_shape_on_the_tape():
    with fc.backend("numpy"):
        x = fc.tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)
        y = x * 2
        z = y.transpose_(0, 1)
        assert z is y and y.shape == (3, 2)
        y[0, 1] = 0.0
        y.mul_(3)
        (y * fc.tensor(np.arange(6.0).reshape(3, 2))).sum().backward()
        np.testing.assert_array_equal(x.grad, 6 * np.arange(6.0).reshape(3, 2).T * [[1, 1, 1], [0, 1, 1]])


# ------------------------------------------------------------------------------------------------- random
FILLS = {
    "normal_": lambda t, g: t.normal_(1, 2, generator=g),
    "uniform_": lambda t, g: t.uniform_(-1, 3, generator=g),
    "exponential_": lambda t, g: t.exponential_(2, generator=g),
    "log_normal_": lambda t, g: t.log_normal_(0, 0.25, generator=g),
    "geometric_": lambda t, g: t.geometric_(0.25, generator=g),
    "bernoulli_": lambda t, g: t.bernoulli_(0.4, generator=g),
    "random_": lambda t, g: t.random_(2, 5, generator=g),
    "cauchy_": lambda t, g: t.cauchy_(1, 0.5, generator=g),
}


@pytest.mark.parametrize("name", FILLS)
def test_random_fillings(name, backend):
    torch = pytest.importorskip("torch")
    count = 300 if conftest.is_slow(backend) else 20000
    t = fc.zeros(count)
    assert FILLS[name](t, fc.Generator().manual_seed(1)) is t
    again = FILLS[name](fc.zeros(count), fc.Generator().manual_seed(1))
    np.testing.assert_array_equal(t.numpy(), again.numpy())
    theirs = FILLS[name](torch.zeros(20000), torch.Generator().manual_seed(0)).numpy()
    if not conftest.is_slow(backend):
        levels = [0.15, 0.3, 0.5, 0.7, 0.85]
        np.testing.assert_allclose(
            np.quantile(t.numpy(), levels), np.quantile(theirs, levels), rtol=0.1, atol=0.1
        )


@given(
    low=st.integers(-100, 100), count=st.integers(1, 50), dtype=st.sampled_from(["float32", "int16", "int8"])
)
def test_random_whole_numbers_stay_in_their_range(low, count, dtype):
    high = min(low + count, 127)
    with fc.backend("numpy"):
        values = fc.zeros(200, dtype=dtype).random_(low, high + 1).numpy()
    assert values.dtype == dtype and values.min() >= low and values.max() <= high


def test_random_whole_numbers_without_an_end():
    with fc.backend("numpy"):
        assert set(np.unique(fc.zeros(100, dtype="bool").random_().numpy())) == {False, True}
        assert fc.zeros(100, dtype="uint8").random_().numpy().max() > 100
        floats = fc.zeros(1000).random_().numpy()
        assert 2**20 < floats.max() <= 2**24 and (floats == floats.round()).all()
        assert fc.zeros(100, dtype="int64").random_().numpy().max() > 2**50
        x = fc.tensor([0.0, 1.0]).requires_grad_() * 1
        x.bernoulli_(fc.tensor([0.0, 1.0]))
        assert x.tolist() == [0, 1]
