"""``nn.utils`` and ``nn.init``: gradients that are limited, vectors of parameters, folded norms, fillings."""

from __future__ import annotations

import math
import warnings

import conftest
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastconv as fc
from fastconv import nn
from fastconv.nn import init, utils

backend = conftest.op_backend


def parameters(*gradients, requires_grad=True):
    found = []
    for g in gradients:
        found.append(fc.zeros(*np.shape(g), dtype=str(g.dtype), requires_grad=requires_grad))
        found[-1].grad = fc.tensor(g)
    return found


def numbers(*shape, dtype="float32", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


# ------------------------------------------------------------------------------------------------- gradients
@pytest.mark.parametrize("p", [2.0, 1, 3.5, math.inf, "inf"])
@pytest.mark.parametrize("max_norm", [0.5, 100])
def test_clip_grad_norm(p, max_norm, backend):
    torch = pytest.importorskip("torch")
    gradients = [numbers(3, 4), numbers(5, seed=1), numbers(2, 1, 2, seed=2, dtype="float64"), numbers(1)]
    mine = [*parameters(*gradients), fc.ones(2, requires_grad=True)]
    aliases = [m.grad for m in mine[:-1]]
    theirs = [torch.zeros(g.shape, dtype=getattr(torch, str(g.dtype))) for g in gradients]
    for t, g in zip(theirs, gradients):
        t.grad = torch.tensor(g)
    total = utils.clip_grad_norm_(iter(mine), max_norm, p)
    want = torch.nn.utils.clip_grad_norm_(theirs, max_norm, p if p == "inf" else float(p))
    assert total.shape == () and not total.requires_grad
    np.testing.assert_allclose(total.item(), want.item(), rtol=1e-5)
    for m, alias, t in zip(mine, aliases, theirs):
        assert m.grad is alias and m.grad.dtype == str(t.grad.dtype).removeprefix("torch.")
        np.testing.assert_allclose(m.grad.numpy(), t.grad.numpy(), rtol=1e-5)
    assert mine[-1].grad is None


def test_clipped_gradients_keep_their_memory_and_its_order(backend):
    g = fc.tensor(numbers(2, 3, 4, 5)).permute(0, 3, 1, 2)
    want, w = g.numpy().copy(), fc.zeros(*g.shape, requires_grad=True)
    w.grad, version = g, g.memory.version
    utils.clip_grad_norm_(w, 1.0)
    np.testing.assert_allclose(g.numpy(), want / np.linalg.norm(want), rtol=1e-5)
    assert g.memory.version > version


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_norms_that_are_not_finite(value, backend):
    torch = pytest.importorskip("torch")
    g = np.array([1.0, value, -2.0], np.float32)
    (w,), t = parameters(g), torch.zeros(3)
    with pytest.raises(RuntimeError, match=f"clip_grad_norm_: the norm of order 2 is {value}"):
        utils.clip_grad_norm_(w, 1.0, error_if_nonfinite=True)
    np.testing.assert_array_equal(w.grad.numpy(), g)
    t.grad = torch.tensor(g)
    utils.clip_grad_norm_(w, 1.0)
    torch.nn.utils.clip_grad_norm_(t, 1.0)
    np.testing.assert_array_equal(w.grad.numpy(), t.grad.numpy())


def test_clip_grad_value(backend):
    g = np.array([-3.0, -0.5, 0.5, 3.0, np.nan, np.inf], np.float32)
    (w, v) = parameters(g, g.astype(np.float64))
    utils.clip_grad_value_([w, v], 1)
    for p in (w, v):
        np.testing.assert_array_equal(p.grad.numpy(), g.clip(-1, 1).astype(p.dtype))


def test_total_norm_and_clipping_apart():
    with fc.backend("numpy"):
        (w,) = parameters(np.array([3.0, 4.0], np.float32))
        total = utils.get_total_norm([w.grad])
        assert total.item() == 5 and utils.get_total_norm([]).item() == 0
        utils.clip_grads_with_norm_(w, 1.0, total)
        np.testing.assert_allclose(w.grad, [0.6, 0.8], rtol=1e-5)
        assert utils.clip_grad_norm_([], 1.0).item() == 0


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (
            lambda: utils.clip_grad_norm_("w", 1),
            TypeError,
            "clip_grad_norm_: expected a Tensor or several, got str",
        ),
        (
            lambda: utils.clip_grad_norm_([1], 1),
            TypeError,
            "clip_grad_norm_: expected Tensors, got int at index 0",
        ),
        (lambda: utils.clip_grad_norm_([], "x"), TypeError, "clip_grad_norm_: max_norm must be a number"),
        (
            lambda: utils.clip_grad_norm_([], 1, "two"),
            TypeError,
            "clip_grad_norm_: norm_type must be a number",
        ),
        (
            lambda: utils.clip_grad_value_([], None),
            TypeError,
            "clip_grad_value_: clip_value must be a number",
        ),
        (lambda: utils.parameters_to_vector([]), ValueError, "parameters_to_vector: expected at least one"),
        (
            lambda: utils.vector_to_parameters(3, []),
            TypeError,
            "vector_to_parameters: expected a Tensor, got int",
        ),
        (
            lambda: utils.vector_to_parameters(fc.ones(3), [fc.ones(2)]),
            ValueError,
            r"the parameters have 2 elements, and the vector has shape \(3,\)",
        ),
        (lambda: utils.weight_norm(nn.ReLU()), ValueError, "weight_norm: ReLU has no parameter 'weight'"),
        (
            lambda: utils.remove_weight_norm(nn.Linear(1, 1)),
            ValueError,
            "'weight' of Linear is not normalised",
        ),
        (
            lambda: utils.weight_norm(utils.weight_norm(nn.Linear(1, 1))),
            RuntimeError,
            "'weight' is normalised already",
        ),
        (
            lambda: utils.fuse_conv_bn_eval(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)),
            RuntimeError,
            "fuse_conv_bn_eval: .* call eval",
        ),
        (
            lambda: utils.fuse_linear_bn_eval(nn.Linear(1, 2).eval(), nn.BatchNorm1d(3).eval()),
            ValueError,
            "fuse_linear_bn_eval: the layer has 2 outputs, and the BatchNorm 3",
        ),
    ],
)
def test_what_utils_refuse(call, error, match):
    with fc.backend("numpy"), pytest.raises(error, match=match):
        call()


def test_parameters_as_a_vector(backend):
    net = nn.Linear(3, 2)
    vector = utils.parameters_to_vector(net.parameters())
    assert vector.requires_grad and vector.shape == (8,)
    (vector * fc.tensor(np.arange(8, dtype=np.float32))).sum().backward()
    np.testing.assert_array_equal(net.bias.grad.numpy(), [6, 7])
    utils.vector_to_parameters(fc.tensor(np.arange(8, dtype=np.float32)), net.parameters())
    np.testing.assert_array_equal(net.weight.detach().numpy(), [[0, 1, 2], [3, 4, 5]])
    assert net.weight.is_leaf and net.weight.requires_grad


# ------------------------------------------------------------------------------------------------- layers
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_folded_norms(affine, bias):
    with fc.backend("numpy"):
        conv, bn = nn.Conv2d(2, 3, 3, bias=bias), nn.BatchNorm2d(3, affine=affine)
        dense, line = nn.Linear(4, 3, bias=bias), nn.BatchNorm1d(3, affine=affine)
        up = nn.ConvTranspose2d(2, 3, 3, bias=bias)
        for norm in (bn, line):
            norm.running_mean.copy_(numbers(3))
            norm.running_var.copy_(np.abs(numbers(3, seed=1)) + 0.5)
        x, v = fc.tensor(numbers(1, 2, 5, 5)), fc.tensor(numbers(2, 4))
        for layer, norm, given_, fused in [
            (conv, bn, x, utils.fuse_conv_bn_eval(conv.eval(), bn.eval())),
            (dense, line, v, utils.fuse_linear_bn_eval(dense.eval(), line.eval())),
            (up, bn, x, utils.fuse_conv_bn_eval(up.eval(), bn, transpose=True)),
        ]:
            np.testing.assert_allclose(
                fused(given_).detach().numpy(), norm(layer(given_)).detach().numpy(), atol=1e-5
            )
            assert type(fused) is type(layer) and fused is not layer and fused.weight.requires_grad


@pytest.mark.parametrize("dim", [0, 1, None, -1])
def test_weight_norm(dim):
    torch = pytest.importorskip("torch")
    with fc.backend("numpy"):
        mine, theirs = nn.Linear(3, 2), torch.nn.Linear(3, 2)
        theirs.load_state_dict({k: torch.tensor(v.numpy()) for k, v in mine.state_dict().items()})
        before = mine.weight.detach().numpy().copy()
        utils.weight_norm(mine, dim=dim)
        with pytest.warns(FutureWarning):
            torch.nn.utils.weight_norm(theirs, dim=dim)
        x = numbers(4, 3)
        y, want = mine(x), theirs(torch.tensor(x))
        np.testing.assert_allclose(y.detach().numpy(), want.detach().numpy(), rtol=1e-5)
        (y * y).sum().backward()
        (want * want).sum().backward()
        ours = dict(mine.named_parameters())
        assert sorted(ours) == sorted(dict(theirs.named_parameters()))
        for name, p in theirs.named_parameters():
            np.testing.assert_allclose(ours[name].grad.numpy(), p.grad.numpy(), rtol=1e-4, atol=1e-5)
        utils.remove_weight_norm(mine)
        np.testing.assert_allclose(mine.weight.detach().numpy(), before, rtol=1e-6)
        assert sorted(dict(mine.named_parameters())) == ["bias", "weight"]


# ------------------------------------------------------------------------------------------------- fillings
GAINS = (
    "linear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d sigmoid tanh relu selu"
)


@pytest.mark.parametrize("name", [*GAINS.split(), "leaky_relu"])
def test_gains(name):
    torch = pytest.importorskip("torch")
    for param in (None, 0.3):
        assert init.calculate_gain(name, param) == pytest.approx(torch.nn.init.calculate_gain(name, param))


@pytest.mark.parametrize(
    "fill",
    [
        lambda t, g: init.uniform_(t, -1, 1, g),
        lambda t, g: init.normal_(t, 0, 1, generator=g),
        lambda t, g: init.trunc_normal_(t, generator=g),
        lambda t, g: init.xavier_uniform_(t, 2.0, g),
        lambda t, g: init.xavier_normal_(t, generator=g),
        lambda t, g: init.kaiming_uniform_(t, nonlinearity="relu", generator=g),
        lambda t, g: init.kaiming_normal_(t, mode="fan_out", generator=g),
        lambda t, g: init.orthogonal_(t, generator=g),
        lambda t, g: init.sparse_(t, 0.5, generator=g),
    ],
)
def test_a_generator_gives_the_same_numbers(fill):
    with fc.backend("numpy"):
        drawn = [fill(fc.zeros(4, 3), fc.Generator().manual_seed(s)).tolist() for s in (1, 1, 2)]
        assert drawn[0] == drawn[1] != drawn[2]
        fc.manual_seed(3)
        plain = fill(fc.zeros(4, 3), None).tolist()
        fc.manual_seed(3)
        fill(fc.zeros(4, 3), fc.Generator())
        assert fill(fc.zeros(4, 3), None).tolist() == plain  # the other one was left alone
        with pytest.raises(TypeError, match="generator must be a fastconv.Generator, got int"):
            fill(fc.zeros(4, 3), 3)


@given(
    mean=st.floats(-2, 2),
    std=st.floats(0.1, 3),
    a=st.floats(-3, 1),
    width=st.floats(0.1, 4),
    seed=st.integers(0, 9),
)
def test_truncated_normal_numbers_have_their_distribution(mean, std, a, width, seed):
    b, count = a + width, 4000
    with fc.backend("numpy"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        t = fc.zeros(count, dtype="float64")
        values = init.trunc_normal_(t, mean, std, a, b, fc.Generator().manual_seed(seed)).numpy()
    assert values.min() >= a and values.max() <= b
    edges = np.linspace(a, b, 6)
    cdf = np.array([math.erfc((mean - e) / std / math.sqrt(2)) for e in edges])
    if cdf[-1] - cdf[0] > 1e-6:
        want = np.diff(cdf) / (cdf[-1] - cdf[0])
        np.testing.assert_allclose(np.histogram(values, edges)[0] / count, want, atol=0.05)


def test_a_mean_far_outside_is_noticed():
    with fc.backend("numpy"), pytest.warns(UserWarning, match="trunc_normal_: mean is more than 2 std"):
        init.trunc_normal_(fc.zeros(3), mean=9.0)


@pytest.mark.parametrize("shape", [(3, 3), (2, 5), (5, 2), (4, 2, 3, 3), (0, 3)])
def test_orthogonal(shape):
    with fc.backend("numpy"):
        w = init.orthogonal_(fc.zeros(*shape, dtype="float64"), gain=2.0).numpy()
    w = w.reshape(shape[0], math.prod(shape[1:]))
    small = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    np.testing.assert_allclose(small, 4 * np.eye(len(small)), atol=1e-12)


@pytest.mark.parametrize("shape", [(4, 4, 3), (4, 2, 3, 2), (2, 6, 1, 2, 3), (6, 2, 3)])
@pytest.mark.parametrize("groups", [1, 2])
def test_dirac(shape, groups):
    torch = pytest.importorskip("torch")
    with fc.backend("numpy"):
        mine = init.dirac_(fc.ones(*shape), groups).numpy()
    np.testing.assert_array_equal(mine, torch.nn.init.dirac_(torch.ones(shape), groups).numpy())


def test_eye_and_sparse():
    with fc.backend("numpy"):
        np.testing.assert_array_equal(init.eye_(fc.ones(2, 3)), np.eye(2, 3))
        w = init.sparse_(fc.ones(10, 4), 0.25, std=2.0).numpy()
        np.testing.assert_array_equal((w == 0).sum(0), 3)
        p = nn.Linear(2, 2).weight
        assert init.eye_(p) is p and p.requires_grad and p.is_leaf


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: init.eye_(fc.ones(3)), ValueError, "eye_: the tensor must have 2 dimensions, got 3"),
        (lambda: init.sparse_(fc.ones(3), 0.5), ValueError, "sparse_: the tensor must have 2 dimensions"),
        (lambda: init.sparse_(fc.ones(3, 3), 1.5), ValueError, "sparse_: sparsity must be between 0 and 1"),
        (lambda: init.dirac_(fc.ones(3, 3)), ValueError, "dirac_: the tensor must have 3, 4 or 5 dimensions"),
        (
            lambda: init.dirac_(fc.ones(3, 3, 3), 2),
            ValueError,
            "dirac_: the 3 outputs must be divisible by groups 2",
        ),
        (lambda: init.orthogonal_(fc.ones(3)), ValueError, "orthogonal_: .* at least 2 dimensions, got 3"),
        (lambda: init.trunc_normal_(fc.ones(3), std=0.0), ValueError, "trunc_normal_: std must be positive"),
        (
            lambda: init.trunc_normal_(fc.ones(3), a=2.0, b=1.0),
            ValueError,
            "trunc_normal_: a must be below b",
        ),
        (lambda: init.uniform_(fc.ones(3), 2.0, 1.0), ValueError, "uniform_: a must not be above b"),
        (lambda: init.orthogonal_(fc.arange(3)), TypeError, "orthogonal_: .*int64"),
        (
            lambda: init.calculate_gain("leaky_relu", True),
            ValueError,
            "calculate_gain: param must be a number",
        ),
        (lambda: init.calculate_gain("swish"), ValueError, "calculate_gain: expected one of .*'swish'"),
    ],
)
def test_what_init_refuses(call, error, match):
    with fc.backend("numpy"), pytest.raises(error, match=match):
        call()
