"""New tensors: values, types, devices and forms of calls as in PyTorch; conversions; names of types."""

from __future__ import annotations

import numpy as np
import pytest

import fastconv as fc

torch = pytest.importorskip("torch")


def same(mine, theirs):
    np.testing.assert_allclose(mine.numpy(), theirs.detach().numpy(), rtol=1e-6)
    assert str(mine.dtype) == str(theirs.dtype).removeprefix("torch.") and mine.shape == tuple(theirs.shape)
    assert mine.requires_grad == theirs.requires_grad


CALLS = """
zeros(2, 3); zeros((2, 3), dtype=T.int64); zeros(size=(2,)); zeros(2, dtype=None)
ones([2], requires_grad=True); full((2,), 1); full((2,), 1.5); full((2,), True)
full((), 3, dtype=T.float64); eye(2, 3); eye(2, dtype=T.int64); arange(5); arange(1, 5); arange(1, 5, 2)
arange(5, 0, -2); arange(0, 1, 0.3); arange(3.0); arange(end=4); arange(1, end=4)
arange(start=1, end=4, step=2); arange(3, dtype=T.float64); arange(3.0, requires_grad=True)
linspace(0, 1, 5); linspace(3, -1, 4); linspace(0, 1, 1); linspace(0, 1, 0)
linspace(0, 1, 3, dtype=T.int64); linspace(start=0, end=1, steps=3); logspace(0, 2, 3)
logspace(0, 3, 4, base=2); logspace(1, 0, 3, 3.0); tril_indices(3, 4); tril_indices(3, 4, 1)
triu_indices(4, 3, -1); triu_indices(2, 2, dtype=T.int32); zeros_like(X); ones_like(X, dtype=T.int64)
full_like(X, 7); full_like(I, 1.5); full_like(I, 2.5, dtype=T.float32); zeros_like(X, requires_grad=True)
zeros_like(I); ones_like(X.t()); fill(X, 3); fill(I, 2.5)
""".replace("\n", ";").split(";")


@pytest.mark.parametrize("call", [c.strip() for c in CALLS if c.strip()])
def test_values(call):
    results = []
    for module in (fc, torch):
        names = {"X": module.tensor([[1.0, 2.0]]), "I": module.tensor([1, 2]), "T": module}
        results.append(eval(f"T.{call}", names))  # the list above
    same(*results)


METHODS = """
X.new_tensor([1, 2]); X.new_zeros(2, 3); X.new_ones((2,)); I.new_full((2,), 1.5)
I.new_zeros(2, dtype=T.float32); X.new_zeros(size=(1,)); I.new_ones(2); X.new_full((1, 2), 3)
I.new_tensor([1.5], dtype=T.float64); X.int(); X.bool(); X.short(); X.char(); X.byte(); I.float()
I.double(); X.long(); X.type(T.int32); I.type_as(X); X.to(T.float64); X.to('cpu'); X.to('cpu', T.int64)
X.to(I); X.to(dtype=T.int8); X.to(device='cpu', dtype=T.float64); X.to(T.int32, True)
X.to(T.float32, False, True); X.to('cpu', copy=True); X.to(I, non_blocking=True)
""".replace("\n", ";").split(";")


@pytest.mark.parametrize("call", [c.strip() for c in METHODS if c.strip()])
def test_methods(call):
    results = []
    for module in (fc, torch):
        names = {"X": module.tensor([[0.0, 2.7]]), "I": module.tensor([1, 2]), "T": module}
        results.append(eval(call, names))
    same(*results)


def test_to_returns_itself_where_nothing_changes():
    x = fc.ones(2, requires_grad=True)
    assert x.to("cpu") is x and x.to(fc.float32) is x and x.to(x) is x and x.float() is x
    y = x.to("cpu", copy=True)
    assert y is not x and y.data_ptr() != x.data_ptr()
    y.sum().backward()
    assert x.grad.tolist() == [1, 1]


def test_like_keeps_the_order_of_axes_in_memory():
    image = fc.zeros(2, 5, 6, 3).permute(0, 3, 1, 2).clone()
    assert fc.zeros_like(image).stride() == fc.full_like(image, 2.0).stride() == image.stride()


def test_names_of_types():
    assert (fc.float, fc.double, fc.long, fc.int, fc.short) == (
        fc.float32,
        fc.float64,
        fc.int64,
        fc.int32,
        fc.int16,
    )
    assert fc.bool == np.bool_ and fc.uint8 == np.uint8 and fc.int8 == np.int8
    for name in ("float16", "half", "bfloat16", "complex64"):
        with pytest.raises(AttributeError, match=f"fastconv.{name}: there are no {name} tensors.*use "):
            getattr(fc, name)
    with pytest.raises(AttributeError, match="has no attribute 'no_such_name'"):
        fc.no_such_name  # noqa: B018
    for name in ("half", "bfloat16"):
        with pytest.raises(TypeError, match=f"^{name}: there are no"):
            getattr(fc.ones(1), name)()
    assert fc.get_default_dtype() == fc.float32 and fc.set_default_dtype(fc.float32) is None
    with pytest.raises(ValueError, match="set_default_dtype: the default is float32"):
        fc.set_default_dtype(fc.float64)
    assert fc.finfo(fc.float32).eps == 2**-23 and fc.iinfo(fc.int8).max == 127
    assert fc.is_tensor(fc.ones(1)) and not fc.is_tensor(np.ones(1)) and fc.Size([1, 2]) == (1, 2)
    assert fc.promote_types(fc.int8, fc.float32) == fc.float32 and fc.numel(np.ones((2, 3))) == 6
    assert fc.is_floating_point(fc.ones(1)) and not fc.arange(2).is_floating_point()
    assert (fc.pi, fc.inf) == (torch.pi, torch.inf) and fc.nan != fc.nan


# ------------------------------------------------------------------------------------------- random
def test_forms_of_random_calls():
    assert fc.rand(2, 3).shape == fc.rand((2, 3)).shape == fc.randn(size=(2, 3)).shape == (2, 3)
    for x in (fc.randint(5, (1000,)), fc.randint(high=5, size=(1000,)), fc.randint(0, 5, (1000,))):
        assert x.dtype == fc.int64 and sorted(set(x.tolist())) == [0, 1, 2, 3, 4]
    x = fc.randint(-3, 0, size=(1000,), dtype=fc.float32)
    assert x.dtype == fc.float32 and sorted(set(x.tolist())) == [-3, -2, -1]
    assert (
        sorted(fc.randperm(50).tolist()) == list(range(50))
        and fc.randperm(3, dtype=fc.int32).dtype == fc.int32
    )
    like = fc.zeros(2, 3, dtype=fc.float64)
    for make in (fc.rand_like, fc.randn_like, fc.empty_like, lambda t, **o: fc.randint_like(t, 5, **o)):
        assert make(like).dtype == fc.float64 and make(like, dtype=fc.float32).shape == (2, 3)
    assert fc.randint_like(like, 3, 4).tolist() == [[3] * 3] * 2


def test_a_generator_repeats_its_numbers_and_no_others():
    for make in (
        lambda g: fc.rand(5, generator=g), lambda g: fc.randn(5, generator=g),
        lambda g: fc.randperm(9, generator=g),
        lambda g: fc.randint(99, (5,), generator=g), lambda g: fc.normal(0.0, 1.0, (5,), generator=g),
        lambda g: fc.bernoulli(fc.full((40,), 0.5), generator=g),
        lambda g: fc.multinomial(fc.ones(40), 9, generator=g),
        lambda g: fc.rand_like(fc.ones(5), generator=g),
    ):  # fmt: skip
        fc.manual_seed(0)
        first = make(fc.Generator().manual_seed(3))
        assert (make(fc.Generator().manual_seed(3)) == first).all() and (
            make(fc.Generator().manual_seed(4)) != first
        ).any()
        after = fc.rand(3)
        fc.manual_seed(0)
        assert (fc.rand(3) == after).all()


def test_distributions():
    n = 20000
    x = fc.normal(fc.full((n,), 3.0), 0.5)
    assert abs(x.mean().item() - 3) < 0.02 and abs(x.numpy().std() - 0.5) < 0.02
    assert fc.normal(0.0, fc.tensor([0.0, 1.0]).double()).dtype == fc.float64
    assert abs(fc.bernoulli(fc.full((n,), 0.3)).mean().item() - 0.3) < 0.02
    weights = fc.tensor([[1.0, 0.0, 3.0], [2.0, 2.0, 0.0]])
    drawn = fc.multinomial(weights, n, replacement=True).numpy()
    share = np.stack([np.bincount(row, minlength=3) / n for row in drawn])
    np.testing.assert_allclose(share, [[0.25, 0, 0.75], [0.5, 0.5, 0]], atol=0.02)
    firsts = np.array([fc.multinomial(weights[0], 2).tolist() for _ in range(2000)])
    assert set(map(tuple, firsts)) == {(0, 2), (2, 0)} and abs((firsts[:, 0] == 2).mean() - 0.75) < 0.05
