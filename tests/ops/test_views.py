"""Shapes, parts and orders: names, options and gradients as in PyTorch, and changes in place of views."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastconv as fc

torch = pytest.importorskip("torch")

SHAPES = st.lists(st.integers(0, 4), min_size=1, max_size=4).map(tuple)


def pair(shape, dtype="float32", order="C"):
    """The same numbers as our tensor and as PyTorch's, both leaves."""
    a = np.asarray(np.arange(np.prod(shape), dtype=dtype).reshape(shape) % 17, order=order)
    floats = a.dtype.kind == "f"
    return fc.tensor(a, requires_grad=floats), torch.tensor(a, requires_grad=floats)


def agree(mine, theirs, x=None, y=None):
    """The same values, shapes and types; where both are on the tape the same gradients of ``x`` and ``y``."""
    several = [(mine, theirs)] if not isinstance(theirs, tuple) else list(zip(mine, theirs, strict=True))
    for a, b in several:
        np.testing.assert_array_equal(a.numpy(), b.detach().numpy())
        assert str(a.dtype) == str(b.dtype).removeprefix("torch.")
    if x is None or not x.requires_grad or not several:
        return
    weights = [
        np.random.default_rng(i).standard_normal(b.shape).astype(np.float32)
        for i, (_, b) in enumerate(several)
    ]
    sum((a * w).sum() for (a, _), w in zip(several, weights)).backward()
    sum((b * torch.tensor(w)).sum() for (_, b), w in zip(several, weights)).backward()
    np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-5, atol=1e-5)


def dims(data, n, count=None):
    """Some different dimensions of ``n``, counted from either end."""
    found = data.draw(st.lists(st.integers(0, n - 1), unique=True, min_size=count or 0, max_size=count or n))
    return [d - n * data.draw(st.booleans()) for d in found]


CALLS = {
    "split": lambda d, s: (d.draw(st.integers(1, 5)), dims(d, len(s), 1)[0]),
    "chunk": lambda d, s: (d.draw(st.integers(1, 5)), dims(d, len(s), 1)[0]),
    "tensor_split": lambda d, s: (
        d.draw(st.one_of(st.integers(1, 5), st.lists(st.integers(-5, 5), max_size=3).map(tuple))),
        dims(d, len(s), 1)[0],
    ),
    "unbind": lambda d, s: (dims(d, len(s), 1)[0],),
    "flip": lambda d, s: (dims(d, len(s)),),
    "roll": lambda d, s: (d.draw(st.integers(-9, 9)), dims(d, len(s), 1)[0]),
    "movedim": lambda d, s: (lambda n: [dims(d, len(s), n) for _ in "12"])(d.draw(st.integers(1, len(s)))),
    "unsqueeze": lambda d, s: (d.draw(st.integers(-len(s) - 1, len(s))),),
    "squeeze": lambda d, s: (tuple(dims(d, len(s), d.draw(st.integers(1, len(s))))),),
    "flatten": lambda d, s: tuple(sorted(d.draw(st.integers(0, len(s) - 1)) for _ in range(2))),
    "repeat": lambda d, s: d.draw(st.lists(st.integers(0, 3), min_size=len(s), max_size=len(s) + 1)),
    "tile": lambda d, s: tuple(d.draw(st.lists(st.integers(0, 3), min_size=1, max_size=5))),
    "repeat_interleave": lambda d, s: (d.draw(st.integers(0, 3)), dims(d, len(s), 1)[0]),
    "expand": lambda d, s: (*[2] * d.draw(st.integers(0, 2)), *(3 if n == 1 else -1 for n in s)),
}  # fmt: skip
MATRIX_CALLS = {
    "diagonal": lambda d, s: (d.draw(st.integers(-5, 5)), *dims(d, len(s), 2)),
    "tril": lambda d, s: (d.draw(st.integers(-5, 5)),),
    "triu": lambda d, s: (d.draw(st.integers(-5, 5)),),
    "rot90": lambda d, s: (d.draw(st.integers(-5, 5)), dims(d, len(s), 2)),
}


@pytest.mark.parametrize("name", [*CALLS, *MATRIX_CALLS])
@given(data=st.data())
def test_as_pytorch(name, data):
    shape = data.draw(SHAPES)
    if name in MATRIX_CALLS:
        shape = (*shape, data.draw(st.integers(0, 4)))
    if name == "unbind":
        shape = tuple(max(n, 1) for n in shape)
    x, y = pair(
        shape, data.draw(st.sampled_from(["float32", "int64", "uint8"])), data.draw(st.sampled_from("CF"))
    )
    args = (CALLS | MATRIX_CALLS)[name](data, shape)
    with fc.backend("numpy"):
        agree(getattr(x, name)(*args), getattr(y, name)(*args), x, y)


@given(data=st.data())
def test_unfold_as_pytorch(data):
    shape = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=3))
    axis = data.draw(st.integers(0, len(shape) - 1))
    args = axis, data.draw(st.integers(0, shape[axis])), data.draw(st.integers(1, 4))
    x, y = pair(shape)
    with fc.backend("numpy"):
        agree(x.unfold(*args), y.unfold(*args), x, y)


@pytest.mark.parametrize("backend", ["numpy", "cpu"])
@pytest.mark.parametrize("order", "CF")
def test_large_arrays(backend, order):
    """Those that the kernels take."""
    with fc.backend(backend):
        for call in (
            lambda t: t.flip(0), lambda t: t.flip((1, 2)), lambda t: t.roll((3, -1), (0, 2)),
            lambda t: t.roll(7), lambda t: t.tril(2), lambda t: t.repeat(1, 2, 2),
            lambda t: t.repeat_interleave(3, 1), lambda t: t.diagonal(1, 0, 2),
            lambda t: t.unfold(1, 3, 2), lambda t: t.split(7, 1)[1], lambda t: t.rot90(),
        ):  # fmt: skip
            x, y = pair((9, 20, 60), order=order)
            agree(call(x), call(y), x, y)


# ours, and what PyTorch computes from it: that refuses changes of the parts of a split
VIEWS = {
    "narrow": (lambda t: t.narrow(1, 1, 2), None),
    "split": (lambda t: t.split(2, 1)[1], lambda t: t[:, 2:]),
    "chunk": (lambda t: t.chunk(3)[2], lambda t: t[2:]),
    "unbind": (lambda t: t.unbind(1)[2], lambda t: t[:, 2]),
    "select": (lambda t: t.select(0, -1), None),
    "diagonal": (lambda t: t.diagonal(1), None),
    "diagonal below": (lambda t: t.diagonal(-1, 1, 0), None),
    "transposed diagonal": (lambda t: t.t().diagonal(1), None),
    "movedim": (lambda t: t.movedim(0, 1), None),
    "view": (lambda t: t.view(2, 6), None),
    "a view of a view": (lambda t: t.split(2, 1)[0].diagonal()[1:], lambda t: t[:, :2].diagonal()[1:]),
}


@pytest.mark.parametrize("backend", ["numpy", "cpu"])
@pytest.mark.parametrize("what", VIEWS)
def test_changes_of_views_in_place(what, backend):
    """A change of a view is one of the tensor, with its gradient; so is one of the tensor for the view."""
    mine, theirs = VIEWS[what]
    with fc.backend(backend):
        x, y = pair((3, 4))
        results = []
        for leaf, part in ((x, mine), (y, theirs or mine)):
            whole = leaf * 2
            view = part(whole)
            view *= 3
            whole += 1
            view.add_(view)
            results.append((view * whole.sum() + view).sum())
        agree(results[0], results[1])
        for result in results:
            result.backward()
        np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-6)


def test_repeated_elements_cannot_be_changed():
    for view in (fc.ones(1, 3).expand(2, 3), fc.arange(5).unfold(0, 2, 1)):
        with pytest.raises(RuntimeError, match="read-only"):
            view += 1
    apart = fc.arange(4)
    apart.unfold(0, 2, 2)[0] = 7
    assert apart.tolist() == [7, 7, 2, 3]


def test_a_view_follows_changes_of_what_it_repeats():
    x, y = pair((3, 1))
    for leaf in (x, y):
        whole = leaf * 2
        wide = whole.expand(3, 4)
        whole *= 3
        (wide * wide).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy())


def test_view_refuses_what_reshape_copies():
    x = fc.zeros(2, 3).t()
    with pytest.raises(ValueError, match=r"view: .*3x2.*use .reshape"):
        x.view(6)
    assert x.reshape(6).shape == (6,) and x.contiguous().view(6).shape == (6,)
    image = fc.nn.Conv2d(2, 4, 3)(fc.zeros(1, 2, 5, 5))  # channels-last in memory
    assert image.view(1, -1).shape == (1, 36) and image.is_contiguous()
    assert fc.zeros(2, 3, 4).permute(0, 2, 1)[0].view(4, 3).shape == (4, 3)


def test_arguments_by_name():
    x = fc.zeros(2, 3)
    assert x.permute(dims=(1, 0)).shape == fc.permute(x, dims=(1, 0)).shape == (3, 2)
    assert x.reshape(shape=(3, 2)).shape == x.view(size=(3, 2)).shape == (3, 2)
    assert x.repeat(repeats=(2, 1)).shape == x.tile(dims=(2, 1)).shape == (4, 3)
    assert x.expand(size=(4, 2, 3)).shape == (4, 2, 3) and x.flip(dims=[1]).shape == (2, 3)
    with pytest.raises(TypeError, match="flip: give dims once"):
        x.flip(0, dims=[1])


def test_memory():
    x = fc.zeros(2, 3, 4, 5)
    assert x.stride() == (60, 20, 5, 1) and x.stride(-1) == 1 and x[1].storage_offset() == 60
    assert x.is_contiguous() and not x.transpose(0, 1).is_contiguous() and x.contiguous() is x
    assert not x.is_contiguous(memory_format=fc.channels_last)
    assert x.permute(0, 3, 1, 2).is_contiguous(memory_format=fc.channels_last)
    assert x.contiguous(memory_format=fc.channels_last) is x
    assert x.itemsize == x.element_size() == 4 and x.nbytes == 480 and x.nelement() == x.numel() == 120
    assert x[0, 1].data_ptr() - x.data_ptr() == 80


def test_joined():
    a, b = pair((2, 3)), pair((2, 3), "int64")
    for name in ("cat", "concat", "concatenate", "stack", "hstack", "vstack", "dstack", "column_stack"):
        agree(getattr(fc, name)([a[0], b[0]]), getattr(torch, name)([a[1], b[1]]))
    for shapes in ([(), (3,)], [(2, 3), (3,), ()]):
        mine, theirs = zip(*map(pair, shapes))
        for name in ("atleast_1d", "atleast_2d", "atleast_3d", "broadcast_tensors"):
            agree(getattr(fc, name)(*mine), tuple(getattr(torch, name)(*theirs)))
    for indexing in ("ij", "xy"):
        mine, theirs = zip(*map(pair, [(2,), (3,), ()]))
        agree(fc.meshgrid(*mine, indexing=indexing), tuple(torch.meshgrid(*theirs, indexing=indexing)))
    assert fc.cat([fc.zeros(0), fc.ones(2, 2)]).shape == (2, 2)
