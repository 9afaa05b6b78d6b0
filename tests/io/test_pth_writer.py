"""Files in PyTorch's format that fastconv writes: PyTorch and fastconv read the same values from them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastconv as fc
from fastconv import models, optim

DTYPES = ("float32", "float64", "int64", "int32", "int16", "int8", "uint8", "bool")
SUFFIXES = (".pt", ".pth", ".tar", ".ckpt", ".bin")


def equal(a, b):
    if isinstance(a, dict):
        return list(a) == list(b) and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, (np.ndarray, fc.Tensor)):
        x, y = np.asarray(a), b.numpy()
        return x.dtype == y.dtype and x.shape == y.shape and np.array_equal(x, y)
    if isinstance(a, float) and math.isnan(a):
        return math.isnan(b)
    return type(a) is type(b) and a == b


@pytest.fixture
def readers():
    torch = pytest.importorskip("torch")
    return [fc.load, torch.load, lambda path: torch.load(path, weights_only=False)]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_checkpoint(suffix, tmp_path, readers):
    net = models.lenet5()
    optimizer = optim.Adam(net.parameters())
    net(fc.randn(2, 1, 28, 28)).sum().backward()
    optimizer.step()
    state = {"model": net.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3, "best": 0.5}
    fc.save(state, tmp_path / f"best{suffix}")
    for read in readers:
        assert equal(state, read(tmp_path / f"best{suffix}"))


def test_pytorch_continues_from_it(tmp_path, readers):
    torch = pytest.importorskip("torch")
    net = fc.nn.Sequential(fc.nn.Conv2d(3, 4, 3), fc.nn.BatchNorm2d(4))
    theirs = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    fc.save(net.state_dict(), tmp_path / "net.pt")
    theirs.load_state_dict(torch.load(tmp_path / "net.pt"))
    x = np.random.default_rng(0).standard_normal((2, 3, 6, 6), np.float32)
    expected = theirs.eval()(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(net.eval()(x).detach().numpy(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3, 4, 5), (1, 0, 2)])
def test_arrays(dtype, shape, tmp_path, readers):
    values = np.arange(math.prod(shape)).reshape(shape).astype(dtype)
    written = {"plain": values, "turned": values.T, "tensor": fc.tensor(values)}
    fc.save(written, tmp_path / "x.pt")
    for read in readers:
        assert equal(written, read(tmp_path / "x.pt"))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**200), 2**200) | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=4) | st.integers(-(2**40), 2**40), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(VALUES)
def test_any_values(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "any.pt"
    fc.save(value, path)
    assert equal(value, fc.load(path))
    torch = pytest.importorskip("torch")
    assert equal(value, torch.load(path, weights_only=False))


def test_what_pytorch_has_no_storage_for_is_refused(tmp_path):
    with pytest.raises(TypeError, match=r"save: PyTorch's files hold no uint32; convert it.*or save as .npz"):
        fc.save({"w": np.zeros(2, np.uint32)}, tmp_path / "x.pt")
    assert not list(tmp_path.iterdir())
