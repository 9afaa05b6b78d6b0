"""Lengths and distances of vectors, tables of vectors, attention, and the dense layers, against PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv as fc
from fastconv import nn
from fastconv.nn import functional as F

torch = pytest.importorskip("torch")
T = torch.nn.functional


def compare(call, *arrays, tolerance=1e-10):
    """``call(F, *tensors)`` of fastconv and PyTorch: values and gradients in float64."""
    mine = [fc.tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    theirs = [torch.tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    got, want = call(F, *mine), call(T, *theirs)
    np.testing.assert_allclose(got.numpy(), want.detach().numpy(), rtol=tolerance, atol=tolerance)
    gy = np.random.default_rng(1).standard_normal(got.shape)
    got.backward(fc.tensor(gy))
    want.backward(torch.tensor(gy))
    for m, t in zip(mine, theirs):
        if m.requires_grad and t.grad is None:  # the number of elements that are not 0 has no gradient
            assert not m.grad.numpy().any()
        elif m.requires_grad:
            np.testing.assert_allclose(m.grad.numpy(), t.grad.numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("p", [2.0, 1.0, 3.0, 0.5, 0.0, float("inf"), -1.0, float("-inf")])
def test_norms(p, backend):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((3, 4, 5)), rng.standard_normal((4, 5))
    for dim in (0, 1, -1):
        compare(lambda f, x: f.normalize(x, p, dim), a)  # noqa: B023
    compare(lambda f, x, y: f.pairwise_distance(x, y, p), a, b)
    compare(lambda f, x, y: f.pairwise_distance(x, y, p, 0.1, True), a[0], b)


def test_a_vector_of_zeros_has_a_gradient(backend):
    """Its length has gradient 0, so nothing becomes NaN."""
    for p in (2.0, 1.0, 3.0):
        compare(lambda f, x: f.normalize(x, p), np.zeros((2, 3)))  # noqa: B023
    x = fc.zeros(2, 3, requires_grad=True)
    F.cosine_similarity(x, fc.ones(2, 3)).sum().backward()
    assert np.isfinite(x.grad.numpy()).all()


@given(
    st.sampled_from(
        [((3, 4), (3, 4)), ((1, 4), (3, 4)), ((2, 1, 4), (3, 4)), ((4,), (2, 4)), ((3, 1), (3, 4))]
    ),
    st.integers(-2, 1),
    st.sampled_from([1e-8, 0.5]),
)
@settings(max_examples=30, deadline=None)
@pytest.mark.parametrize("name", ["numpy", "cpu"])
def test_cosine_similarity(name, shapes, dim, eps):
    if max(map(len, shapes)) < 2:
        return
    rng = np.random.default_rng(0)
    with fc.backend(name):
        compare(
            lambda f, x, y: f.cosine_similarity(x, y, dim, eps), *(rng.standard_normal(s) for s in shapes)
        )


def test_layers_of_distances(backend):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 3, 4))
    for name, options in (
        ("CosineSimilarity", {"dim": 0}),
        ("PairwiseDistance", {"p": 1.0, "keepdim": True}),
    ):
        got = getattr(nn, name)(**options)(fc.tensor(a), fc.tensor(b))
        want = getattr(torch.nn, name)(**options)(torch.tensor(a), torch.tensor(b))
        np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-10)


# ------------------------------------------------------------------------------------------------- tables
@pytest.mark.parametrize("padding", [None, 2, -1])
@pytest.mark.parametrize("shape", [(), (7,), (2, 3)], ids=str)
def test_embedding(shape, padding, backend):
    rng = np.random.default_rng(0)
    table, index = rng.standard_normal((5, 3)), rng.integers(0, 5, shape)
    compare(lambda f, w, i: f.embedding(i, w, padding), table, index)


def test_embedding_layer(backend):
    fc.manual_seed(0)
    net = nn.Embedding(6, 4, padding_idx=1)
    assert net.weight.numpy()[1].tolist() == [0] * 4 and net.weight.numpy()[0].any()
    net(fc.tensor([[1, 2], [2, 5]])).sum().backward()
    assert net.weight.grad.numpy().sum(1).tolist() == [0, 0, 8, 0, 0, 4]
    assert repr(net) == "Embedding(6, 4, padding_idx=1)"
    assert nn.Embedding(6, 4, dtype="float64").weight.dtype == np.float64
    table = fc.rand(3, 2)
    frozen = nn.Embedding.from_pretrained(table)
    assert not frozen.weight.requires_grad and (frozen(fc.tensor([2])).numpy() == table.numpy()[2]).all()


def test_an_embedding_of_a_given_table_draws_nothing():
    fc.manual_seed(0)
    first = fc.rand(3).tolist()
    fc.manual_seed(0)
    layer = nn.Embedding.from_pretrained(fc.ones(3, 2), False, padding_idx=-1)
    assert fc.rand(3).tolist() == first
    assert layer.weight.requires_grad and layer.padding_idx == 2
    assert layer.weight.tolist() == [[1, 1]] * 3  # PyTorch does not set the row to zero either
    with pytest.raises(ValueError, match="Embedding: .*padding_idx"):
        nn.Embedding.from_pretrained(fc.ones(3, 2), padding_idx=5)


# ------------------------------------------------------------------------------------------------- attention
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"is_causal": True},
        {"scale": 0.3},
        {"attn_mask": "numbers"},
        {"attn_mask": "bools"},
        {"attn_mask": "some rows"},
        {"attn_mask": "infinite"},
    ],
    ids=str,
)
def test_attention(options, backend):
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal(s) for s in ((2, 3, 4, 6), (2, 3, 5, 6), (2, 3, 5, 7)))
    keep = rng.random((4, 5)) < 0.7
    if options.get("attn_mask") in ("some rows", "infinite"):
        keep[1] = False
    infinite = np.where(keep, 0.3, -np.inf)
    masks = {"numbers": rng.standard_normal((4, 5)), "bools": keep, "some rows": keep, "infinite": infinite}

    def call(f, q, k, v):
        given_ = dict(options)
        if "attn_mask" in given_:
            mask = masks[given_["attn_mask"]]
            given_["attn_mask"] = fc.tensor(mask) if f is F else torch.tensor(mask)
        return f.scaled_dot_product_attention(q, k, v, **given_)

    compare(call, q, k, v)


@pytest.mark.parametrize("masked", [False, True])
def test_attention_of_shared_heads(masked, backend):
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal(s) for s in ((2, 6, 4, 5), (2, 2, 3, 5), (2, 2, 3, 5)))
    mask = rng.standard_normal((2, 6, 4, 3))

    def call(f, q, k, v):
        m = None if not masked else fc.tensor(mask) if f is F else torch.tensor(mask)
        return f.scaled_dot_product_attention(q, k, v, attn_mask=m, enable_gqa=True)

    compare(call, q, k, v)


def test_attention_drops_weights(backend):
    fc.manual_seed(0)
    q, k = fc.zeros(1, 2), fc.zeros(1000, 2)
    y = F.scaled_dot_product_attention(q, k, fc.eye(1000), dropout_p=0.25).numpy()
    assert abs((y == 0).mean() - 0.25) < 0.05
    np.testing.assert_allclose(y[y > 0], 1 / 750, rtol=1e-5)


# ------------------------------------------------------------------------------------------------- dense
def test_bilinear(backend):
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(s) for s in ((2, 3, 4), (2, 3, 5), (6, 4, 5), (6,))]
    compare(lambda f, *t: f.bilinear(*t), *arrays)
    compare(lambda f, *t: f.bilinear(*t), arrays[0][0, 0], arrays[1][0, 0], arrays[2])


def test_dense_layers_have_devices_and_types(backend):
    x = np.ones((2, 3))
    assert nn.Linear(3, 4, dtype="float64", device="cpu")(fc.tensor(x, device="cpu")).dtype == np.float64
    net = nn.Bilinear(3, 3, 2, dtype="float64")
    assert net(x, x).shape == (2, 2) and net(x, x).dtype == np.float64
    assert np.abs(net.weight.numpy()).max() <= 3**-0.5
    assert nn.Bilinear(3, 3, 2, bias=False).bias is None
