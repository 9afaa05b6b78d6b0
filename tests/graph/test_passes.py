"""Every pass on its own: what it changes, what it leaves as it is, and that the numbers stay."""

from __future__ import annotations

import numpy as np
import pytest

import fastconv as fc
from fastconv import graph, nn
from fastconv.backends import load
from fastconv.graph.passes import PASSES
from fastconv.nn import functional as F


def with_statistics(net):
    """``net`` in evaluation mode, whose norms change numbers."""
    for m in net.modules():
        if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d)):
            m.running_mean.copy_(fc.randn(*m.running_mean.shape))
            m.running_var.copy_(fc.rand(*m.running_var.shape) + 0.5)
            nn.init.uniform_(m.weight, 0.5, 1.5)
            nn.init.uniform_(m.bias, -1, 1)
    return net.eval()


def after(name, net, *shapes, backend="numpy"):
    """The ops of the program of ``net`` after one pass; the results are compared."""
    engine, inputs = load(backend), [fc.randn(*s).array for s in shapes]
    with fc.backend(backend):
        program, _ = graph.capture(net, inputs)
        program = PASSES["fold_constants"](program, engine, graph.Constants())
        changed = PASSES[name](program, engine, graph.Constants())
        other = [fc.randn(*s).array for s in shapes]
        want, got = program.run(engine, *other), changed.run(engine, *other)
    np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5)
    return changed.calls


def ops(calls):
    return [c.args[0] if c.op in ("unary_fwd", "binary_fwd") else c.op for c in calls]


# -------------------------------------------------------------------------------- common_calls
def test_common_calls(backend):
    def net(x):
        return (F.sigmoid(x) + F.sigmoid(x)) * F.sigmoid(x * 2) + x.amax((2, 3), keepdim=True)

    assert ops(after("common_calls", net, (2, 3, 4, 4), backend=backend)).count("sigmoid") == 2


@pytest.mark.parametrize("a, b", [(1, 1.5), (0.0, -0.0), (2, 3)])
def test_numbers_that_differ_are_not_common(a, b):
    assert ops(after("common_calls", lambda x: (x + a) / (x + b), (3, 4))).count("add") == 2


def test_results_stay_two_arrays():
    """The caller may change one of two equal results in place; the other one must not change."""
    engine, x = load("numpy"), fc.randn(3, 4).array
    for net in (
        lambda x: (F.relu(x), F.relu(x)),
        lambda x: (F.relu(x).reshape(4, 3), F.relu(x)),
        lambda x: (F.relu(x)[1:], F.relu(x)[:2]),
    ):
        program = PASSES["common_calls"](graph.capture(net, [x])[0], engine, graph.Constants())
        a, b = program.run(engine, x)
        assert not np.shares_memory(a, b)


# -------------------------------------------------------------------------------- activations
ROOT = 2**0.5
WRITTEN = {
    "gelu": [
        lambda x: x * 0.5 * (1 + fc.erf(x / ROOT)),
        lambda x: 0.5 * x * (fc.erf(x / ROOT) + 1),
        lambda x: x * (0.5 * (1 + fc.erf(x * (1 / ROOT)))),
        lambda x: (fc.erf(x * 0.5**0.5) + 1) * x * 0.5,
        lambda x: x * (1 + fc.erf(x / ROOT)) / 2,
        lambda x: x * fc.tensor(0.5) * (fc.tensor(1.0) + fc.erf(x / fc.tensor([ROOT]))),
    ],
    "silu": [lambda x: x * F.sigmoid(x), lambda x: F.sigmoid(x) * x],
    "hardsigmoid": [
        lambda x: F.relu6(x + 3) / 6,
        lambda x: (3 + x).clamp(0, 6) * (1 / 6),
        lambda x: (x / 6 + 0.5).clamp(0, 1),
    ],
    "hardswish": [
        lambda x: x * F.hardsigmoid(x),
        lambda x: x * F.relu6(x + 3) / 6,
        lambda x: x * (F.relu6(x + 3) / 6),
        lambda x: (x + 3).clamp(0, 6) / 6 * x,
    ],
    "mish": [lambda x: x * F.softplus(x).tanh()],
}
NOT_WRITTEN = {
    "another slope": lambda x: x * 0.5 * (1 + fc.erf(x / 1.5)),
    "another number": lambda x: x * 0.4 * (1 + fc.erf(x / ROOT)),
    "another x": lambda x: (x + 1) * F.sigmoid(x),
    "softplus with another slope": lambda x: x * F.softplus(x, 2).tanh(),
    "another range": lambda x: x * F.relu6(x + 2) / 6,
    "the factor is read again": lambda x: (y := F.sigmoid(x)) * x + y,
    "broadcast": lambda x: x[0] * F.sigmoid(x[0])[None],
}


@pytest.mark.parametrize("name, i", [(name, i) for name, forms in WRITTEN.items() for i in range(len(forms))])
def test_activations(name, i):
    assert ops(after("activations", WRITTEN[name][i], (5, 7))) == [name]


@pytest.mark.parametrize("why", NOT_WRITTEN)
def test_what_is_no_activation(why):
    engine, x = load("numpy"), fc.randn(2, 3).array
    program = PASSES["dead_calls"](graph.capture(NOT_WRITTEN[why], [x])[0], engine, graph.Constants())
    changed = PASSES["activations"](program, engine, graph.Constants())
    assert [c.op for c in changed.calls] == [c.op for c in program.calls]


def test_an_activation_goes_into_the_convolution(backend):
    conv, engine = nn.Conv2d(3, 8, 3), load(backend)
    x = fc.randn(2, 3, 9, 9)
    for form in WRITTEN["gelu"] + WRITTEN["silu"]:
        with fc.backend(backend):
            program, want = graph.capture(lambda x, form=form: form(conv(x)), [x.array])
            faster = graph.optimize(program, engine, without=["chains"])
            np.testing.assert_allclose(faster.run(engine, x.array), want.numpy(), rtol=1e-5, atol=1e-5)
        assert [c.op for c in faster.calls] == ["conv_fwd"]


# -------------------------------------------------------------------------------- padding
PADDED = {
    "conv": lambda x: F.conv2d(F.pad(x, (1, 2, 3, 0)), fc.ones(4, 3, 3, 3)),
    "conv with padding": lambda x: F.conv2d(
        F.pad(x, (2, 1)), fc.ones(4, 3, 3, 3), stride=2, padding=1, dilation=2
    ),
    "more than the kernel": lambda x: F.conv2d(F.pad(x, (5, 4, 3, 6)), fc.ones(4, 3, 2, 2)),
    "two pads": lambda x: F.conv2d(F.pad(F.pad(x, (1, 0)), (0, 0, 0, 1)), fc.ones(4, 3, 3, 3)),
    "depthwise": lambda x: F.conv2d(F.pad(x, (0, 1, 0, 1)), fc.ones(3, 1, 3, 3), stride=2, groups=3),
    "average": lambda x: F.avg_pool2d(F.pad(x, (1, 1, 1, 1)), 3, 1),
    "average, padding not counted, but zeros are": lambda x: F.avg_pool2d(
        F.pad(x, (1, 0, 0, 1)), 3, 2, ceil_mode=True, count_include_pad=False
    ),
    "average with a divisor": lambda x: F.avg_pool2d(
        F.pad(x, (1, 0, 0, 1)), 3, 2, 0, divisor_override=5, count_include_pad=False
    ),
}
KEPT = {
    "other numbers": lambda x: F.conv2d(F.pad(x, (1, 1), value=1.0), fc.ones(4, 3, 3, 3)),
    "reflected": lambda x: F.conv2d(F.pad(x, (1, 1, 1, 1), "reflect"), fc.ones(4, 3, 3, 3)),
    "cropped": lambda x: F.conv2d(F.pad(x, (-1, 1)), fc.ones(4, 3, 3, 3)),
    "channels": lambda x: F.conv2d(F.pad(x, (0, 0, 0, 0, 1, 0)), fc.ones(4, 4, 3, 3)),
    "average, padding not counted": lambda x: F.avg_pool2d(
        F.pad(x, (1, 1, 1, 1)), 3, 1, 1, count_include_pad=False
    ),
    "average, windows of zeros": lambda x: F.avg_pool2d(F.pad(x, (3, 3, 3, 3)), 3, 1),
    "maximum": lambda x: F.max_pool2d(F.pad(x, (1, 1, 1, 1)), 3, 1),
}


@pytest.mark.parametrize("name", PADDED)
def test_padding(name, backend):
    assert "pad_fwd" not in ops(after("padding", PADDED[name], (2, 3, 8, 7), backend=backend))


@pytest.mark.parametrize("name", KEPT)
def test_padding_that_stays(name):
    assert "pad_fwd" in ops(after("padding", KEPT[name], (2, 3, 8, 7)))


def test_padding_that_something_else_reads():
    def net(x):
        y = F.pad(x, (1, 1, 1, 1))
        return F.conv2d(y, fc.ones(3, 3, 3, 3)) + F.max_pool2d(y, 3, 1)

    assert sorted(ops(after("padding", net, (2, 3, 8, 7)))) == ["add", "conv_fwd", "max_pool_fwd", "pad_fwd"]


# -------------------------------------------------------------------------------- BatchNorm
def test_batch_norm_transposed(backend):
    """Scale into weights; where a ReLU follows, the norm stays and takes in the bias."""
    for options in ({}, {"bias": False}, {"groups": 2, "stride": 2, "output_padding": 1}):
        layer = nn.ConvTranspose2d(4, 6, 3, **options)
        net = with_statistics(nn.Sequential(layer, nn.BatchNorm2d(6)))
        calls = after("batch_norm_transposed", net, (2, 4, 5, 6), backend=backend)
        assert ops(calls) == ["conv_bwd_data", "add"]
        relu = with_statistics(nn.Sequential(layer, nn.BatchNorm2d(6), nn.ReLU()))
        calls = after("batch_norm_transposed", relu, (2, 4, 5, 6), backend=backend)
        assert ops(calls) == ["conv_bwd_data", "batch_norm_fwd", "relu"]


@pytest.mark.parametrize(
    "net, shape, expected",
    [
        (lambda: [nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3, stride=2)], (2, 4, 7, 8), ["conv_fwd"]),
        (lambda: [nn.BatchNorm2d(4), nn.Conv2d(4, 6, 1, groups=2, bias=False)], (2, 4, 7, 8), ["conv_fwd"]),
        (lambda: [nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, groups=4)], (2, 4, 7, 8), ["conv_fwd"]),
        (lambda: [nn.BatchNorm1d(4), nn.Linear(4, 6)], (3, 4), ["linear_fwd"]),
        (
            lambda: [nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3, padding=1)],
            (2, 4, 7, 8),
            ["batch_norm_fwd", "conv_fwd"],
        ),
        (
            lambda: [nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3)],
            (2, 4, 7, 8),
            ["batch_norm_fwd", "relu", "conv_fwd"],
        ),
    ],
)
def test_batch_norm_before(net, shape, expected, backend):
    calls = after("batch_norm_before", with_statistics(nn.Sequential(*net())), shape, backend=backend)
    assert ops(calls) == expected


def test_norms_on_both_sides():
    """One layer takes in the norms before and after it."""
    net = with_statistics(nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.ReLU()))
    x, engine = fc.randn(2, 4, 8, 8), load("numpy")
    with fc.backend("numpy"):
        program = graph.optimize(graph.capture(net, [x.array])[0], engine)
        np.testing.assert_allclose(program.run(engine, x.array), net(x).numpy(), rtol=1e-4, atol=1e-5)
    assert ops(program.calls) == ["conv_fwd"]
