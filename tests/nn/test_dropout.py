"""Dropout of elements and of channels: what is dropped, what is kept, what goes back."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv as fc
from fastconv import nn
from fastconv.nn import functional as F

FUNCTIONS = {
    "dropout1d": ((2, 3), 1),
    "dropout2d": ((4,), 2),
    "dropout3d": ((4, 5), 3),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_whole_channels(name, backend):
    ranks, dims = FUNCTIONS[name]

    @given(
        st.lists(st.integers(1, 6), min_size=dims + 1, max_size=dims + 1),
        st.sampled_from(ranks),
        st.sampled_from([0.0, 0.25, 0.5, 1.0]),
        st.sampled_from(["float32", "float64"]),
    )
    @settings(max_examples=25, deadline=None)
    def check(extents, rank, p, dtype):
        shape = (3, *extents) if rank == dims + 2 else tuple(extents)
        with fc.backend(backend):
            x = fc.tensor(np.ones(shape, dtype), requires_grad=True)
            y = getattr(F, name)(x, p)
            assert y.dtype == dtype and y.shape == shape
            planes = y.numpy().reshape(-1, int(np.prod(shape[-dims:])))
            assert (planes == planes[:, :1]).all()
            scale = 1 / (1 - p) if p < 1 else 0
            assert set(np.unique(planes)) <= {0, np.dtype(dtype).type(scale)}
            if p in (0.0, 1.0):
                assert (planes == 1 - p).all()
            y.sum().backward()
            np.testing.assert_array_equal(x.grad.numpy(), y.numpy())

    check()


def test_an_input_of_three_dimensions_has_no_image(backend):
    """As in PyTorch, for history's sake."""
    with pytest.warns(UserWarning, match="N x C x W, not as a single image"):
        y = F.dropout2d(np.ones((4, 30, 5), np.float32), 0.5).numpy()
    assert (y == y[:, :, :1]).all() and 0 < (y[:, :, 0] == 0).mean() < 1


def test_share_of_channels(backend):
    fc.manual_seed(0)
    y = F.dropout2d(np.ones((100, 64, 2, 2), np.float32), 0.3).numpy()
    assert abs((y[:, :, 0, 0] == 0).mean() - 0.3) < 0.02


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("name", ["alpha_dropout", "feature_alpha_dropout"])
def test_alpha_dropout_keeps_mean_and_variance(name, p, backend):
    fc.manual_seed(0)
    x = np.random.default_rng(0).standard_normal((400, 300)).astype(np.float32)
    t = fc.tensor(x, requires_grad=True)
    y = getattr(F, name)(t, p, True)
    assert abs(y.numpy().mean()) < 0.02 and abs(y.numpy().std() - 1) < 0.02
    # what is dropped has one value; the rest is a x + b; Klambauer et al. 2017, equations 6 and 7
    least = -1.7580993408473766
    a = 1 / np.sqrt((1 - p) * (1 + p * least**2))
    b = -a * p * least
    dropped = np.isclose(y.numpy(), a * least + b, atol=1e-5)
    assert abs(dropped.mean() - p) < 0.02
    np.testing.assert_allclose(y.numpy()[~dropped], (a * x + b)[~dropped], atol=2e-5)
    y.sum().backward()
    np.testing.assert_allclose(t.grad.numpy(), np.where(dropped, 0, a), rtol=1e-6)


def test_alpha_dropout_of_features_drops_whole_channels(backend):
    x = np.random.default_rng(0).standard_normal((8, 16, 3, 4)).astype(np.float32)
    y = F.feature_alpha_dropout(x, 0.5, True).numpy()
    same = np.isclose(y, y[:, :, :1, :1]).all((2, 3))
    assert 0.2 < same.mean() < 0.8


@pytest.mark.parametrize("name", ["alpha_dropout", "feature_alpha_dropout"])
def test_alpha_dropout_of_all_or_nothing(name, backend):
    x = np.ones((2, 3), np.float32)
    assert (getattr(F, name)(x, 1.0, True).numpy() == 0).all()
    assert (getattr(F, name)(x, 0.0, True).numpy() == 1).all()
    assert (getattr(F, name)(x).numpy() == 1).all()  # evaluation is the default


@pytest.mark.parametrize(
    "layer, shape",
    [
        (nn.Dropout, (3, 40)),
        (nn.Dropout1d, (3, 40, 2)),
        (nn.Dropout2d, (3, 40, 2, 2)),
        (nn.Dropout3d, (3, 40, 2, 2, 2)),
        (nn.AlphaDropout, (3, 40)),
        (nn.FeatureAlphaDropout, (3, 40, 2)),
    ],
)
def test_layers(layer, shape, backend):
    """They know whether they train; ``inplace`` changes nothing; the repr has the option."""
    x = np.ones(shape, np.float32)
    net = layer(0.5, inplace=True)
    assert "p=0.5" in repr(net)
    fc.manual_seed(1)
    first = net(x).numpy()
    assert (first != x).any() and (x == 1).all()
    fc.manual_seed(1)
    assert (net(x).numpy() == first).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (net.eval()(x).numpy() == x).all()


def test_modes_of_dropout(backend):
    x = np.ones(64, np.float32)
    assert set(np.unique(F.dropout(x, 0.75).numpy())) == {0, 4}
    assert set(np.unique(F.dropout(x, 0.75, mode="downgrade_in_infer").numpy())) == {0, 1}
    assert (F.dropout(x, 0.75, False, mode="downgrade_in_infer").numpy() == 0.25).all()
    assert (F.dropout(x, 0.5, False, True).numpy() == 1).all()  # the fourth argument is PyTorch's
