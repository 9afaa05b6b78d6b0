"""Containers and the tree of modules: what PyTorch's can do, with the same results and errors."""

from __future__ import annotations

import copy
import pickle
from collections import OrderedDict

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.nn.parameter import Parameter


@pytest.fixture(autouse=True)
def reference():
    with fc.backend("numpy"):
        yield


def libraries():
    torch = pytest.importorskip("torch")
    return [(nn, fc), (torch.nn, torch)]


def names(m):
    return [(n, type(c).__name__) for n, c in m.named_children()]


LISTS = {
    "append": lambda m, nn: m.append(nn.Tanh()),
    "extend": lambda m, nn: m.extend([nn.Tanh(), nn.Sigmoid()]),
    "insert": lambda m, nn: [m.insert(1, nn.Tanh())] and None,
    "insert at the end": lambda m, nn: [m.insert(3, nn.Tanh())] and None,
    "pop": lambda m, nn: m.pop(1),
    "pop the last": lambda m, nn: m.pop(-1),
    "set": lambda m, nn: m.__setitem__(-1, nn.Tanh()),
    "delete": lambda m, nn: m.__delitem__(0),
    "delete several": lambda m, nn: m.__delitem__(slice(0, 2)),
    "+=": lambda m, nn: m.__iadd__(type(m)(*[nn.Tanh()]) if isinstance(m, nn.Sequential) else [nn.Tanh()]),
    "+": lambda m, nn: m + (nn.Sequential(nn.Tanh()) if isinstance(m, nn.Sequential) else [nn.Tanh()]),
    "slice": lambda m, nn: m[1:],
    "steps": lambda m, nn: m[::2],
    "item": lambda m, nn: m[-2],
    "len": lambda m, nn: len(m),
    "out of range": lambda m, nn: m[3],
    "delete out of range": lambda m, nn: m.__delitem__(5),
    "no module": lambda m, nn: m.append(3),
}


@pytest.mark.parametrize("container", ["Sequential", "ModuleList"])
@pytest.mark.parametrize("name", LISTS)
def test_lists_of_modules(container, name):
    results = []
    for library, _ in libraries():
        members = [library.ReLU(), library.Identity(), library.Flatten()]
        m = library.Sequential(*members) if container == "Sequential" else library.ModuleList(members)
        try:
            result = LISTS[name](m, library)
        except (IndexError, TypeError) as e:
            result = type(e).__name__
        if isinstance(result, library.Module):
            result = type(result).__name__, names(result)
        results.append((result, names(m)))
    assert results[0] == results[1]


def test_sequential_repeats():
    results = []
    for library, _ in libraries():
        m = library.Sequential(library.ReLU(), library.Tanh())
        twice = m * 2
        m *= 3
        results.append(
            (len(twice), twice[0] is twice[2], len(m), len(3 * library.Sequential(library.ReLU())))
        )
    assert results == [(4, True, 6, 3)] * 2 or results[0] == results[1]
    refused = "Sequential: the number of repetitions must be a positive int, got 0"
    with pytest.raises(ValueError, match=refused):
        nn.Sequential() * 0
    with pytest.raises(ValueError, match="only a Sequential can be added, got list"):
        nn.Sequential() + [nn.ReLU()]
    with pytest.raises(TypeError, match="ModuleList: expected several modules, got int"):
        nn.ModuleList(3)
    with pytest.raises(TypeError, match="expected an nn.Module, got str"):
        nn.ModuleList().insert(0, "x")


def test_named_members_of_a_sequential():
    m = nn.Sequential(OrderedDict(a=nn.ReLU(), b=nn.Tanh()))
    assert names(m[:1]) == [("a", "ReLU")] and m.b is m[1]
    m.append(nn.Flatten())
    assert [n for n, _ in names(m)] == ["a", "b", "2"]
    del m.a
    assert len(m) == 2


DICTS = {
    "set": lambda d, nn: d.__setitem__("c", nn.Tanh()),
    "replace": lambda d, nn: d.__setitem__("a", nn.Tanh()),
    "delete": lambda d, nn: d.__delitem__("a"),
    "pop": lambda d, nn: type(d.pop("b")).__name__,
    "clear": lambda d, nn: d.clear(),
    "update": lambda d, nn: d.update({"b": nn.Sigmoid(), "c": nn.Tanh()}),
    "update by pairs": lambda d, nn: d.update([("c", nn.Tanh()), ["a", nn.Sigmoid()]]),
    "update by another": lambda d, nn: d.update(nn.ModuleDict({"z": nn.Tanh()})),
    "keys": lambda d, nn: list(d.keys()),
    "items": lambda d, nn: [(k, type(v).__name__) for k, v in d.items()],
    "values": lambda d, nn: [type(v).__name__ for v in d.values()],
    "in": lambda d, nn: ("a" in d, "x" in d, len(d), list(d)),
    "missing": lambda d, nn: d["x"],
    "delete missing": lambda d, nn: d.__delitem__("x"),
    "a method": lambda d, nn: d.__setitem__("keys", nn.Tanh()),
    "a dot": lambda d, nn: d.__setitem__("a.b", nn.Tanh()),
    "no module": lambda d, nn: d.__setitem__("c", 3),
    "no pairs": lambda d, nn: d.update(3),
    "a triple": lambda d, nn: d.update([("a", nn.Tanh(), 3)]),
}


@pytest.mark.parametrize("name", DICTS)
def test_dicts_of_modules(name):
    results = []
    for library, _ in libraries():
        d = library.ModuleDict({"a": library.ReLU(), "b": library.Identity()})
        try:
            result = DICTS[name](d, library)
        except (KeyError, TypeError, ValueError) as e:
            result = type(e).__name__
        results.append((result, names(d)))
    assert results[0] == results[1]


PARAMETERS = {
    "list": lambda nn, t: nn.ParameterList([t, nn.Parameter(t), 3]),
    "append": lambda nn, t: nn.ParameterList([t]).append(t).append("text"),
    "extend": lambda nn, t: nn.ParameterList([t]).extend([t, t]),
    "slice": lambda nn, t: nn.ParameterList([t, t, t])[1:],
    "a tensor": lambda nn, t: nn.ParameterList(t),
    "call": lambda nn, t: nn.ParameterList([t])(),
    "out of range": lambda nn, t: nn.ParameterList([t])[1],
    "dict": lambda nn, t: nn.ParameterDict({"a": t, "b": nn.Parameter(t), "c": 3}),
    "pairs": lambda nn, t: nn.ParameterDict([("b", t), ("a", t)]),
    "|": lambda nn, t: nn.ParameterDict({"a": t}) | nn.ParameterDict({"b": t}),
    "copy": lambda nn, t: nn.ParameterDict({"a": t}).copy(),
    "missing": lambda nn, t: nn.ParameterDict({"a": t})["b"],
    "fromkeys": lambda nn, t: nn.ParameterDict().fromkeys(["a", "b"], t),
    "no pairs": lambda nn, t: nn.ParameterDict(3),
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_containers_of_parameters(name):
    results = []
    for library, arrays in libraries():
        try:
            m = PARAMETERS[name](library, arrays.ones(2))
        except (IndexError, TypeError, RuntimeError, KeyError, AttributeError) as e:
            results.append(type(e).__name__.replace("AttributeError", "KeyError"))
            continue
        assert all(isinstance(p, library.Parameter) for p in m.parameters())
        results.append((len(m), sorted(dict(m.named_parameters(remove_duplicate=False)))))
    assert results[0] == results[1]


def test_a_dict_of_parameters_is_a_dict():
    results = []
    for library, arrays in libraries():
        d = library.ParameterDict({"a": arrays.ones(1)})
        log = [
            d.setdefault("a", 3) is d["a"],
            d.setdefault("n", 3),
            d.get("x"),
            d.get("x", 4),
            "a" in d,
            len(d),
        ]
        d["b"] = arrays.zeros(2)
        log += [list(d), list(reversed(d)), [k for k, _ in d.items()], len(list(d.values())), list(d.keys())]
        key, value = d.popitem()
        log += [key, tuple(value.shape), d.pop("n"), list(d)]
        d |= library.ParameterDict({"z": arrays.ones(1)})
        del d["a"]
        log += [list(d), sorted(d.state_dict())]
        d.clear()
        results.append([*log, len(d)])
    assert results[0] == results[1]
    d = nn.ParameterDict({"a": fc.ones(1)})
    assert (d.pop("b", None), d.pop("b", 3), d.pop("a", 3).shape, len(d)) == (None, 3, (1,), 0)
    with pytest.raises(KeyError, match="'a'"):
        d.pop("a")
    with pytest.raises(KeyError, match="has an attribute 'keys' already"):
        nn.ParameterDict({"keys": fc.ones(1)})
    assert "ParameterDict(\n  (a): Parameter of float32, 2\n)" == repr(nn.ParameterDict({"a": fc.ones(2)}))
    assert "(1): int" in repr(nn.ParameterList([fc.ones(2), 3]))


def test_containers_survive_copies_and_pickles():
    for m in (
        nn.ModuleDict({"a": nn.Linear(1, 2)}),
        nn.ParameterList([fc.ones(2)]),
        nn.ParameterDict({"a": fc.ones(2)}),
    ):
        for twin in (copy.deepcopy(m), pickle.loads(pickle.dumps(m))):
            assert sorted(twin.state_dict()) == sorted(m.state_dict()) and len(twin) == len(m)
            assert all(p is not q for p, q in zip(twin.parameters(), m.parameters()))


# ------------------------------------------------------------------------------------------------- the tree
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
        self.again = self.body[0]
        self.scale = Parameter(fc.ones(1))
        self.register_buffer("seen", fc.zeros(1))
        self.register_buffer("cache", fc.zeros(1), persistent=False)
        self.mean = nn.Buffer(fc.zeros(3))
        self.temporary = nn.Buffer(fc.zeros(3), persistent=False)
        self.none = None


def test_parts_by_name():
    m = Net()
    assert m.get_submodule("body.1") is m.body[1] and m.get_submodule("") is m
    assert m.get_parameter("body.0.weight") is m.body[0].weight and m.get_parameter("scale") is m.scale
    assert m.get_buffer("body.1.running_mean") is m.body[1].running_mean and m.get_buffer("cache") is m.cache
    m.set_submodule("body.1", nn.Identity())
    m.set_submodule("body.extra", nn.Tanh())
    m.set_submodule("again", nn.ReLU(), strict=True)
    assert names(m.body) == [("0", "Conv2d"), ("1", "Identity"), ("extra", "Tanh")]
    for call, match in [
        (lambda: m.get_submodule("body.5"), r"get_submodule: Sequential has no module '5' \(of 'body.5'\)"),
        (lambda: m.get_submodule("scale"), "Net has no module 'scale'"),
        (lambda: m.get_parameter("body.0.w"), "get_parameter: Conv2d has no parameter 'w'.*'weight'"),
        (lambda: m.get_buffer("scale"), "get_buffer: Net has no buffer 'scale'"),
        (lambda: m.set_submodule("body.9.x", nn.ReLU()), "no module '9'"),
        (lambda: m.set_submodule("new", nn.ReLU(), strict=True), "no module 'new'"),
        (lambda: m.set_submodule("scale", nn.ReLU()), "'scale' of Net is not a module"),
    ]:
        with pytest.raises(AttributeError, match=match):
            call()
    with pytest.raises(ValueError, match="set_submodule: expected an nn.Module, got int"):
        m.set_submodule("again", 3)
    with pytest.raises(ValueError, match="got an empty one"):
        m.set_submodule("", nn.ReLU())


def test_second_names():
    m = Net()
    once, every = dict(m.named_parameters()), dict(m.named_parameters(remove_duplicate=False))
    assert "again.weight" not in once and every["again.weight"] is once["body.0.weight"]
    assert [n for n, _ in m.named_modules()] == ["", "body", "body.0", "body.1"]
    assert "x.again" in dict(m.named_modules(prefix="x", remove_duplicate=False))
    assert [n for n, _ in m.named_modules({m.body})] == ["", "again"]
    assert len(list(m.children())) == 2 and len(list(m.buffers(recurse=False))) == 4


def test_buffers_that_are_not_saved():
    m = Net()
    assert {"seen", "mean"} == {k for k in m.state_dict() if "." not in k} - {"scale"}
    assert {"cache", "temporary"} < set(dict(m.named_buffers()))
    m.load_state_dict(m.state_dict())
    m.register_buffer("cache", fc.ones(1))
    m.mean = nn.Buffer(fc.ones(3), persistent=False)
    assert "cache" in m.state_dict() and "mean" not in m.state_dict()
    del m.mean
    m.register_buffer("mean", None)
    m.mean = fc.ones(2)
    assert "mean" in m.state_dict() and m.double().cache.dtype == np.float64
    assert "Buffer containing" in repr(nn.Buffer(fc.ones(1)))


@pytest.mark.parametrize("kind", ["parameter", "buffer", "module"])
@pytest.mark.parametrize(
    ("name", "error", "match"),
    [
        ("", KeyError, "must not be empty or contain a dot"),
        ("a.b", KeyError, "'a.b'"),
        (3, TypeError, "the name must be a str, got int"),
        ("forward", KeyError, "Net has an attribute 'forward' already"),
        ("fine", TypeError, "Net.fine: expected .* or None, got int"),
    ],
)
def test_names_that_cannot_be_registered(kind, name, error, match):
    with pytest.raises(error, match=match):
        getattr(Net(), f"register_{kind}")(name, 3)


def test_a_module_without_init_is_named():
    class Forgets(nn.Module):
        def __init__(self):
            self.register_buffer("x", None)

    with pytest.raises(AttributeError, match="register_buffer: call super.*in Forgets first"):
        Forgets()


def test_dir_has_no_numbers():
    assert "0" not in dir(nn.Sequential(nn.ReLU())) and "forward" in dir(nn.ReLU())


def test_lazy_layers_are_refused_by_name():
    with pytest.raises(AttributeError, match="'LazyLinear'; give the number of inputs"):
        _ = nn.LazyLinear
    with pytest.raises(AttributeError, match="no attribute 'NoSuch'$"):
        _ = nn.NoSuch
    assert nn.modules.Conv2d is nn.Conv2d and nn.modules.Sequential is nn.Sequential
    assert nn.parameter.Parameter is nn.Parameter


# ------------------------------------------------------------------------------------------------- values
def test_every_form_of_to():
    m = nn.BatchNorm1d(2)
    like = fc.zeros(1, dtype="float64")
    for call, dtype in [
        (lambda: m.to("float64"), "float64"),
        (lambda: m.to("cpu"), "float64"),
        (lambda: m.to("cpu", "float32"), "float32"),
        (lambda: m.to(like), "float64"),
        (lambda: m.to(device="cpu", dtype=fc.float32, non_blocking=True), "float32"),
        (lambda: m.to(fc.device("cpu"), fc.float64, True), "float64"),
        (lambda: m.to(None, fc.float32), "float32"),
        (lambda: m.to(memory_format="channels_last"), "float32"),
        (lambda: m.type("float64"), "float64"),
        (m.float, "float32"),
        (m.double, "float64"),
        (m.cpu, "float64"),
    ]:
        assert call() is m and m.weight.dtype == dtype and m.num_batches_tracked.dtype == np.int64
    for call, match in [
        (m.half, "half: fastconv computes in float32 and float64"),
        (m.bfloat16, "bfloat16: fastconv computes"),
        (lambda: m.to("float16"), "to: modules compute in float32 and float64, got float16"),
        (lambda: m.to("int64"), "got int64"),
        (lambda: m.to(dtype="text"), "to: dtype must be"),
        (lambda: m.to(divice="cpu"), "unexpected argument 'divice'"),
    ]:
        with pytest.raises(TypeError, match=match):
            call()
    with pytest.raises(ValueError, match="device"):
        m.to("cuda:7")


def test_every_form_of_to_of_a_tensor():
    x = fc.ones(2)
    assert x.to("cpu") is x and x.to(fc.float32) is x and x.to(x) is x
    assert x.to("cpu", "int64").dtype == np.int64 and x.to(dtype="float64").dtype == np.float64
    assert x.to(other=fc.zeros(1, dtype="int64")).dtype == np.int64
    twin = x.to("cpu", copy=True)
    assert twin is not x and not np.shares_memory(twin.numpy(), x.numpy())
    with pytest.raises(TypeError, match="to: expected a device.*got .'cpu', 'float32', 1, 2, 3, 4"):
        x.to("cpu", "float32", 1, 2, 3, 4)


def test_state_dict_options():
    m = nn.Linear(2, 1)
    into = {"mine": 1}
    assert m.state_dict(destination=into, prefix="a.", keep_vars=True) is into
    assert into["a.weight"] is m.weight and into["mine"] == 1
    assert m.state_dict(into, "b.")["b.bias"].requires_grad is False
    with pytest.raises(TypeError, match="got 4 arguments"):
        m.state_dict({}, "", True, 1)


def test_load_state_dict_by_assignment():
    m = nn.BatchNorm1d(2)
    m.weight.requires_grad_(False)
    state = nn.BatchNorm1d(2).double().state_dict()
    m.load_state_dict(state, assign=True)
    assert m.weight.dtype == np.float64 and not m.weight.requires_grad and m.bias.requires_grad
    assert isinstance(m.weight, Parameter) and np.shares_memory(m.bias.numpy(), state["bias"].numpy())
    mine = Parameter(fc.ones(2))
    m.load_state_dict({**state, "bias": mine}, assign=True)
    assert m.bias is mine


def test_zero_grad_keeps_or_drops_the_memory():
    m = nn.Linear(2, 1)
    m(fc.ones(1, 2)).sum().backward()
    grad = m.weight.grad
    m.zero_grad(set_to_none=False)
    assert m.weight.grad is grad and grad.tolist() == [[0, 0]]
    m.zero_grad()
    assert m.weight.grad is None


def test_train_takes_a_bool():
    with pytest.raises(ValueError, match="train: mode must be True or False, got 'yes'"):
        nn.ReLU().train("yes")


def test_parameters():
    assert not Parameter(fc.ones(1), requires_grad=False).requires_grad
    assert Parameter().shape == (0,)
    with pytest.raises(TypeError, match="only float tensors can require gradients"):
        Parameter(fc.arange(3))
    assert Parameter(fc.arange(3), requires_grad=False).dtype == np.int64
