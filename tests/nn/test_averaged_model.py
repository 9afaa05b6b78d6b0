"""Averages of weights over a training, as PyTorch makes them."""

from __future__ import annotations

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn, optim
from fastconv.optim import swa_utils


@pytest.mark.parametrize("ema", [False, True])
@pytest.mark.parametrize("use_buffers", [False, True])
def test_like_torch(backend, ema, use_buffers):
    torch = pytest.importorskip("torch")
    fc.manual_seed(0)
    mine = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    theirs.load_state_dict({k: torch.tensor(v.numpy()) for k, v in mine.state_dict().items()})

    def train(lib, net, averages):
        function = averages.get_ema_avg_fn(0.9) if ema else None
        average = averages.AveragedModel(net, avg_fn=function, use_buffers=use_buffers)
        opt = lib.optim.SGD(net.parameters(), lr=0.1)
        for step in range(4):
            x = np.random.default_rng(step).standard_normal((5, 3)).astype(np.float32)
            opt.zero_grad()
            (net(lib.tensor(x)) ** 2).sum().backward()
            opt.step()
            average.update_parameters(net)
        return average

    a, b = train(fc, mine, swa_utils), train(torch, theirs, torch.optim.swa_utils)
    assert a.n_averaged.item() == 4
    got, want = a.state_dict(), b.state_dict()
    assert set(got) == set(want)
    for k, v in want.items():
        np.testing.assert_allclose(got[k].numpy(), v.numpy(), rtol=1e-5, atol=1e-6)
    x = fc.ones(2, 3)
    assert np.array_equal(a.eval()(x).numpy(), a.module(x).numpy())
    assert not np.array_equal(a(x).numpy(), mine.eval()(x).numpy())


def test_refusals():
    with pytest.raises(ValueError, match="AveragedModel: multi_avg_fn is not supported; give avg_fn"):
        swa_utils.AveragedModel(nn.Linear(2, 2), multi_avg_fn=max)
    with pytest.raises(ValueError, match="get_ema_avg_fn: decay must be between 0 and 1, got 2"):
        swa_utils.get_ema_avg_fn(2)
    with pytest.raises(TypeError, match="get_ema_avg_fn: decay must be a number, got 'x'"):
        swa_utils.get_ema_avg_fn("x")


@pytest.mark.parametrize(
    "model, error, message",
    [
        (
            nn.Linear(2, 2, bias=False),
            ValueError,
            "the average has 2 parameters, but model has 1; give the net",
        ),
        (nn.Linear(3, 2), ValueError, r"one of the parameters of model must have shape 2x2 .* got 2x3"),
        (nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), ValueError, "2 parameters, but model has 4"),
        (nn.BatchNorm1d(2), ValueError, "one of the parameters of model must have shape 2x2"),
        (3, TypeError, "model must be an nn.Module, got int"),
    ],
)
def test_another_network_is_refused_and_nothing_changes(model, error, message):
    average = swa_utils.AveragedModel(nn.Linear(2, 2))
    before = {k: v.numpy().copy() for k, v in average.state_dict().items()}
    with pytest.raises(error, match=f"AveragedModel.update_parameters: .*{message}"):
        average.update_parameters(model)
    assert all((before[k] == v.numpy()).all() for k, v in average.state_dict().items())


def test_the_average_is_no_parameter_of_the_optimizer():
    net = nn.Linear(2, 2)
    average = swa_utils.AveragedModel(net)
    optim.SGD(net.parameters(), lr=0.1).zero_grad()
    assert all(p is not q for p, q in zip(net.parameters(), average.module.parameters()))
