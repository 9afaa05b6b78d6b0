"""Tensors in the hands of Python and NumPy: comparisons with anything, NumPy's functions, copies, pickles."""

from __future__ import annotations

import copy
import operator
import pickle

import conftest
import numpy as np
import pytest

import fastconv as fc
from fastconv import nn

backend = conftest.op_backend


def tracked(*shape):
    return fc.tensor(np.random.default_rng(0).uniform(1, 2, shape), requires_grad=True)


# ------------------------------------------------------------------------------------------------- Python's
# operators
@pytest.mark.parametrize(
    "stranger",
    [None, "abc", object(), {"a": 1}, ["a"], [None], 1j, [[1], [2, 3]]],
    ids=lambda v: "object" if type(v) is object else repr(v),
)
def test_what_is_no_number_is_not_equal(stranger, backend):
    for t in (fc.tensor(1), fc.tensor([1, 2]), fc.tensor([[1.0, 2.0]])):
        assert (t == stranger) is False and (t != stranger) is True
        assert (stranger == t) is False and (stranger != t) is True
        assert stranger not in [t] and t not in [stranger]
        assert stranger not in t


@pytest.mark.parametrize(
    "stranger", [None, "abc", object(), 1j], ids=lambda v: "object" if type(v) is object else repr(v)
)
@pytest.mark.parametrize(
    "op",
    [
        operator.add,
        operator.sub,
        operator.mul,
        operator.truediv,
        operator.pow,
        operator.matmul,
        operator.lt,
        operator.le,
        operator.gt,
        operator.ge,
    ],
)
def test_other_operators_with_what_is_no_number_are_a_type_error(op, stranger, backend):
    words = "not supported between|unsupported operand|can only concatenate|only an integer tensor"
    for operands in ((fc.ones(2), stranger), (stranger, fc.ones(2))):
        with pytest.raises(TypeError, match=words):
            op(*operands)


def test_operators_of_other_classes_are_asked():
    class Unit:
        def __radd__(self, other):
            return "radd"

        def __rmatmul__(self, other):
            return "rmatmul"

        def __eq__(self, other):
            return "eq"

        def __lt__(self, other):
            return "lt"

    x = fc.ones(2)
    assert (x + Unit(), x @ Unit(), x == Unit(), x > Unit()) == ("radd", "rmatmul", "eq", "lt")
    x += Unit()
    assert x == "radd"


def test_an_index_is_one_integer(backend):
    assert list(range(3))[fc.tensor([1])] == 1 and "ab" * fc.tensor(2) == "abab"
    for t in (fc.tensor([1, 2]), fc.tensor(1.0)):
        with pytest.raises(TypeError, match="index: only an integer tensor of one element"):
            operator.index(t)


def test_membership_is_of_elements(backend):
    t = fc.tensor([[1, 2], [3, 4]])
    assert 3 in t and 5 not in t and fc.tensor(4) in t and None not in t
    assert [3, 4] in t and [3, 5] in t  # as in NumPy: some element is equal


# ------------------------------------------------------------------------------------------------- NumPy's
# functions
@pytest.mark.parametrize("axis", [None, 0, 1, -1, (0, 1)])
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize(
    "name", ["sum", "mean", "max", "min", "amax", "amin", "argmax", "std", "var", "prod", "median"]
)
def test_reductions(name, axis, keepdims, backend):
    if name == "argmax" and isinstance(axis, tuple):
        pytest.skip("NumPy's takes one axis")
    a = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    f, x = getattr(np, name), fc.tensor(a)
    got = f(x, axis=axis, keepdims=keepdims)
    np.testing.assert_allclose(got, f(a, axis=axis, keepdims=keepdims), rtol=1e-5)
    if axis is None and not keepdims:
        np.testing.assert_allclose(f(x), f(a), rtol=1e-5)
    if name in ("sum", "mean", "max", "min", "argmax"):
        assert isinstance(got, fc.Tensor) and got.device == x.device
        here = getattr(x, name)(axis=axis, keepdims=keepdims)
        np.testing.assert_allclose(here.values if isinstance(here, tuple) else here, got)


@pytest.mark.parametrize("name", ["sum", "mean", "max", "min"])
def test_reductions_stay_on_the_tape(name, backend):
    x = tracked(3, 4)
    (getattr(np, name)(x, axis=1) ** 2).sum().backward()
    y = fc.tensor(x.numpy(), requires_grad=True)
    (getattr(y, name)(dims=1) ** 2).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), y.grad.numpy())
    assert np.abs(x.grad.numpy()).max() > 0


@pytest.mark.parametrize(
    "name, of",
    [
        ("add", lambda x, y: x + y),
        ("subtract", lambda x, y: x - y),
        ("multiply", lambda x, y: x * y),
        ("divide", lambda x, y: x / y),
        ("power", lambda x, y: x**y),
        ("matmul", lambda x, y: x @ y),
    ],
)
def test_arithmetic_stays_on_the_tape_on_both_sides(name, of, backend):
    a = np.random.default_rng(1).uniform(1, 2, (3, 3))
    for order in (1, -1):
        x, y = tracked(3, 3), tracked(3, 3)
        getattr(np, name)(*(x, a)[::order]).sum().backward()
        of(*(y, fc.tensor(a))[::order]).sum().backward()
        np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy())
    z = tracked(3)
    (a[0] * z).sum().backward()
    np.testing.assert_array_equal(z.grad.numpy(), a[0])


LOSING = {
    "exp": np.exp,
    "log": np.log,
    "abs": np.abs,
    "maximum": lambda x: np.maximum(x, 0),
    "std": np.std,
    "prod": np.prod,
    "add.reduce": np.add.reduce,
    "cumsum": np.cumsum,
    "reshape": lambda x: np.reshape(x, -1),
    "transpose": np.transpose,
    "concatenate": lambda x: np.concatenate([x, x]),
    "stack": lambda x: np.stack([np.zeros((2, 2)), x]),
    "where": lambda x: np.where(np.eye(2, dtype=bool), x, 0),
    "dot": lambda x: np.dot(x, np.eye(2)),
    "clip": lambda x: np.clip(x, 0, 1),
    "sum of a dtype": lambda x: np.sum(x, dtype=np.float64),
    "mean, where": lambda x: np.mean(x, where=np.eye(2, dtype=bool)),
    "out": lambda x: np.add(x, 1, out=np.zeros((2, 2))),
    "an array +=": lambda x: operator.iadd(np.zeros((2, 2)), x),
    "out, a tensor": lambda x: np.exp(x, out=fc.tensor(np.zeros((2, 2)))),
    "copyto": lambda x: np.copyto(np.zeros((2, 2)), x),
    "at": lambda x: np.add.at(np.zeros((2, 2)), np.array([0, 1]), x),
}


@pytest.mark.parametrize("name", LOSING)
def test_functions_that_would_lose_a_gradient_raise(name, backend):
    for x in (tracked(2, 2), tracked(2, 2) * 1):
        with pytest.raises(RuntimeError, match=r"np\.\w+: the result would lose the gradient .*\.detach\(\)"):
            LOSING[name](x)
        LOSING[name](x.detach())
        with fc.no_grad():
            LOSING[name](x)


def test_functions_without_a_gradient_to_lose_do_not_mind(backend):
    x = tracked(2, 3) * 1
    assert np.shape(x) == (2, 3) and np.ndim(x) == 2 and np.size(x) == 6
    assert np.allclose(x, x.numpy()) and np.isfinite(x).numpy().all()
    assert (
        np.array_equal(x, x.numpy())
        and np.argmax(x, axis=1).shape == (2,)
        and np.zeros_like(x).shape == (2, 3)
    )
    assert (np.greater(x, 0).dtype, np.all(x > 0), np.any(x < 0)) == (bool, True, False)
    assert np.asarray(x).shape == (2, 3) and np.testing.assert_allclose(x, x.numpy()) is None


def test_functions_of_plain_tensors_give_tensors_where_pytorchs_do(backend):
    x = fc.tensor(np.array([[1.0, 4.0]]))
    roots = np.sqrt(x)
    assert isinstance(roots, fc.Tensor) and roots.tolist() == [[1, 2]] and roots.device == x.device
    fraction, whole = np.modf(x / 2)
    assert isinstance(whole, fc.Tensor) and fraction.tolist() == [[0.5, 0]] and whole.tolist() == [[0, 2]]
    assert type(np.concatenate([x, x])) is np.ndarray and np.where(x > 2, x, 0).tolist() == [[0, 4]]
    assert np.linalg.norm(x) == 17**0.5


def test_results_written_to_a_tensor_are_changes_in_place(backend):
    t, w = fc.tensor(np.zeros(2)), tracked(2)
    y, old = w * 1, t.clone()
    z = (w * t).sum()
    assert np.add(fc.tensor(np.ones(2)), 2, out=t) is t and t.tolist() == [3, 3]
    np.add.at(t, np.array([0, 0]), 1)
    np.copyto(t[1:], np.array([7.0]))
    np.put(t, [0], 9)
    assert t.tolist() == [9, 7] and old.tolist() == [0, 0]
    assert np.mean(np.ones((2, 2)), axis=0, out=t) is t and t.tolist() == [1, 1]
    with pytest.raises(RuntimeError, match="changed in place"):
        z.backward()
    for change in (
        lambda y: np.multiply(np.ones(2), 2, out=y),
        lambda y: np.exp(y, out=y),
        lambda y: np.put(y, [0], 9),
        lambda y: np.add.at(y, [0], 1),
        lambda y: np.copyto(y, 1),
    ):
        for target in (w, y):
            with pytest.raises(RuntimeError, match="the result would lose the gradient"):
                change(target)
            assert target.numpy().min() >= 1 and target.numpy().max() < 2
    with fc.no_grad():
        np.put(w, [0], 9)
    assert w[0].item() == 9 and w.requires_grad


def test_the_array_protocol(backend):
    x = fc.tensor(np.arange(3, dtype=np.float32))
    assert np.asarray(x, np.float64).dtype == np.float64
    assert not np.shares_memory(np.array(x), x.numpy())
    with pytest.raises(ValueError, match="__array__: float64 of float32 needs a copy"):
        x.__array__(np.float64, copy=False)
    for scalar in (np.float32(3), np.float64(3), np.int8(3), np.bool_(True)):
        t = fc.Tensor(scalar)
        assert t.device == "cpu" and t.dtype == scalar.dtype and t.shape == () and t.item() == scalar


# ------------------------------------------------------------------------------------------------- copies and
# pickles
def test_deepcopy_of_a_leaf_keeps_all_and_shares_nothing(backend):
    x = tracked(2, 3)
    (x * x).sum().backward()
    for t in (x, nn.Parameter(x.detach().clone()), x.detach().T):
        twin = copy.deepcopy(t)
        assert (
            type(twin) is type(t)
            and twin.requires_grad == t.requires_grad
            and twin.is_leaf
            and twin.device == t.device
        )
        np.testing.assert_array_equal(twin.numpy(), t.numpy())
        assert (twin.grad is None) == (t.grad is None)
        if t.grad is not None:
            np.testing.assert_array_equal(twin.grad.numpy(), t.grad.numpy())
            twin.grad.zero_()
            assert np.abs(t.grad.numpy()).min() > 0
        with fc.no_grad():
            twin += 1
        np.testing.assert_array_equal(twin.numpy(), t.numpy() + 1)
    both = copy.deepcopy([x, {"again": x}])
    assert both[0] is both[1]["again"]


def test_deepcopy_of_a_result_is_refused(backend):
    y = tracked(2) * 2
    for thing in (y, y[0], {"net": nn.Linear(2, 2), "y": y}):
        with pytest.raises(
            RuntimeError, match=r"deepcopy: only leaf tensors .*\.detach\(\)\.clone\(\).*\.clone\(\)"
        ):
            copy.deepcopy(thing)
    with fc.no_grad():
        assert copy.deepcopy(y.detach()).tolist() == y.tolist() and copy.deepcopy(tracked(2) * 2).is_leaf


def test_copy_shares_the_memory_as_a_leaf(backend):
    for t in (tracked(2), tracked(2) * 2):
        twin = copy.copy(t)
        assert twin.requires_grad and twin.is_leaf
        with fc.no_grad():
            twin += 1
        np.testing.assert_array_equal(twin.numpy(), t.numpy())


def test_pickles_hold_values_class_and_requires_grad(backend):
    x = tracked(2, 3)
    (x * x).sum().backward()
    for t in (
        x,
        x * 2,
        x.detach(),
        x.T,
        nn.Parameter(np.ones(2, np.float32)),
        fc.tensor([1, 2]),
        fc.tensor(True),
    ):
        for protocol in (2, pickle.HIGHEST_PROTOCOL):
            twin = pickle.loads(pickle.dumps(t, protocol))
            assert type(twin) is type(t) and twin.dtype == t.dtype and twin.requires_grad == t.requires_grad
            assert twin.is_leaf and twin.grad is None and twin.device == t.device
            np.testing.assert_array_equal(twin.numpy(), t.numpy())


class Named(nn.Parameter):
    """A user's class with attributes of its own, and of another constructor."""

    def __init__(self, name, data):
        super().__init__(data)
        self.name = name


def test_a_subclass_is_copied_with_its_attributes():
    t = Named("kernel", np.ones(2, np.float32))
    for twin in (copy.copy(t), copy.deepcopy(t), pickle.loads(pickle.dumps(t))):
        assert type(twin) is Named and twin.name == "kernel" and twin.tolist() == [1, 1]


def test_a_net_and_an_optimizer_survive_a_pickle():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    sgd = fc.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    net(fc.rand(2, 1, 5, 5)).sum().backward()
    sgd.step()
    net2, sgd2 = pickle.loads(pickle.dumps((net, sgd)))
    for a, b in zip(net.parameters(), net2.parameters(), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert sgd2.param_groups[0]["params"][0] is net2[0].weight  # one object, as before
    net2(fc.ones(2, 1, 5, 5)).sum().backward()
    sgd2.step()
