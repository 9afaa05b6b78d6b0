"""Modules: registration, state, training mode, initialisation, text."""

from __future__ import annotations

import copy
import pickle
from collections import OrderedDict

import numpy as np
import pytest
from support.selection import full

import fastconv as fc
from fastconv import nn
from fastconv.nn import functional as F
from fastconv.nn.tree import versions


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(4)
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(4 * 6 * 6, 3))
        self.scale = nn.Parameter(fc.ones(1))
        self.register_buffer("offset", fc.zeros(1))

    def forward(self, x):
        return self.head(F.relu(self.bn(self.conv(x)))) * self.scale + self.offset


NAMES = ["scale", "conv.weight", "bn.weight", "bn.bias", "head.2.weight", "head.2.bias"]
BUFFERS = ["offset", "bn.running_mean", "bn.running_var", "bn.num_batches_tracked"]
X = np.random.default_rng(0).standard_normal((5, 1, 6, 6)).astype(np.float32)


# -------------------------------------------------------------------------------------------------
# registration
def test_parameters_buffers_and_modules_have_dotted_names():
    net = Net()
    assert [n for n, _ in net.named_parameters()] == NAMES
    assert [n for n, _ in net.named_buffers()] == BUFFERS
    assert [n for n, _ in net.named_modules()] == ["", "conv", "bn", "head", "head.0", "head.1", "head.2"]
    assert [n for n, _ in net.named_children()] == ["conv", "bn", "head"]
    assert list(net.children()) == [net.conv, net.bn, net.head]
    assert all(isinstance(p, nn.Parameter) and p.requires_grad for p in net.parameters())
    assert not any(b.requires_grad for b in net.buffers())


def test_without_recursion_only_the_modules_own():
    net = Net()
    assert [n for n, _ in net.named_parameters(recurse=False)] == ["scale"]
    assert [n for n, _ in net.named_parameters("net", recurse=False)] == ["net.scale"]
    assert list(net.parameters(recurse=False)) == [net.scale]
    assert [n for n, _ in net.named_buffers(recurse=False)] == ["offset"]
    assert list(net.buffers(recurse=False)) == [net.offset]


def test_versions_change_with_every_assignment():
    """An assignment changes the version of its own module, not those of parents or other nets."""
    net = Net()
    modules = list(net.modules())
    at = list(modules).index

    def changed(change):
        before = versions(modules)
        change()
        return {i for i, (a, b) in enumerate(zip(before, versions(modules))) if a != b}

    assert changed(lambda: None) == set()
    assert changed(lambda: net.train()) == set()
    assert changed(lambda: net.bn.eval()) == {at(net.bn)}
    assert changed(lambda: net.eval()) == set(range(len(modules))) - {at(net.bn)}
    assert changed(lambda: setattr(net.conv, "bias", None)) == {at(net.conv)}
    assert changed(lambda: net.head.append(nn.ReLU())) == {at(net.head)}
    assert changed(lambda: setattr(net, "anything", 3)) == {0}
    assert changed(lambda: delattr(net, "anything")) == {0}
    assert changed(lambda: Net().train(False)) == set()
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        modules = list(twin.modules())
        assert changed(lambda: setattr(net.conv, "groups", 1)) == set()
        assert changed(lambda twin=twin: setattr(twin.conv, "groups", 1)) == {at(net.conv)}


def test_shared_parameter_is_listed_once_and_saved_twice():
    a, b = nn.Linear(3, 3), nn.Linear(3, 3)
    b.weight = a.weight
    net = nn.Sequential(a, b, a)
    assert [n for n, _ in net.named_parameters()] == ["0.weight", "0.bias", "1.bias"]
    assert "1.weight" in net.state_dict()
    assert len(list(net.modules())) == 3


def test_assignment_replaces_a_parameter_in_its_place():
    net = nn.Linear(2, 3)
    net.weight = nn.Parameter(np.ones((3, 2), np.float32))
    assert [n for n, _ in net.named_parameters()] == ["weight", "bias"]
    net.bias = None
    assert [n for n, _ in net.named_parameters()] == ["weight"]
    np.testing.assert_array_equal(net(np.ones((1, 2), np.float32)).numpy(), [[2, 2, 2]])
    del net.weight
    assert list(net.parameters()) == []


def test_attribute_may_change_its_kind():
    net = nn.Module()
    net.x = None
    net.x = nn.Parameter(fc.ones(2))
    assert [n for n, _ in net.named_parameters()] == ["x"]
    net.x = nn.ReLU()
    assert (list(net.parameters()), [n for n, _ in net.named_children()]) == ([], ["x"])


def test_wrong_assignments_are_refused_by_name():
    net = Net()
    with pytest.raises(TypeError, match=r"Net\.scale: expected an nn.Parameter or None, got Tensor"):
        net.scale = fc.zeros(1)
    with pytest.raises(TypeError, match=r"Net\.head: expected an nn.Module or None, got function"):
        net.head = lambda x: x
    with pytest.raises(TypeError, match=r"Net\.offset: expected a Tensor or None, got ndarray"):
        net.offset = np.zeros(1)
    with pytest.raises(TypeError, match=r"Sequential\.0: expected an nn.Module or None, got type"):
        nn.Sequential(nn.ReLU)
    with pytest.raises(AttributeError, match="'Net' object has no attribute 'heads'"):
        _ = net.heads

    class Forgetful(nn.Module):
        def __init__(self):
            self.layer = nn.ReLU()

    with pytest.raises(AttributeError, match=r"call super\(\).__init__\(\) before assigning 'layer'"):
        Forgetful()
    with pytest.raises(NotImplementedError, match="define forward"):
        nn.Module()(X)


def test_parameter_wraps_arrays_and_tensors_without_a_copy():
    a = np.zeros(3, np.float32)
    p = nn.Parameter(fc.from_numpy(a))
    p.data[:] = 2
    np.testing.assert_array_equal(a, 2)
    assert p.is_leaf and p.requires_grad and repr(p).startswith("Parameter containing:\ntensor([2., 2., 2.]")
    with pytest.raises(TypeError, match="float"):
        nn.Parameter(np.arange(3))


# ------------------------------------------------------------------------------------------------- containers
def test_sequential():
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    assert len(net) == 3 and list(net)[1] is net[1] is net[-2]
    tail = net[1:]
    assert (
        isinstance(tail, nn.Sequential)
        and tail[1] is net[2]
        and list(tail.state_dict()) == ["2.weight", "2.bias"]
    )
    assert len(net[:0]) == 0
    assert net.append(nn.Sigmoid()) is net and isinstance(net[3], nn.Sigmoid)
    net[1] = nn.Tanh()
    x = np.array([[0.5, -1.0]], np.float32)
    want = F.sigmoid(net[2](F.tanh(net[0](x))))
    np.testing.assert_array_equal(net(x).numpy(), want.numpy())
    with pytest.raises(IndexError, match="index 4 is out of range for 4 modules"):
        net[4]
    named = nn.Sequential(OrderedDict([("first", nn.Linear(2, 3)), ("act", nn.ReLU())]))
    assert [n for n, _ in named.named_parameters()] == ["first.weight", "first.bias"] and named.act is named[
        1
    ]


def test_module_list():
    layers = nn.ModuleList([nn.Linear(2, 2) for _ in range(3)]).append(nn.ReLU())
    assert len(layers) == 4 and len(layers[1:3]) == 2 and layers[1:3][0] is layers[1]
    assert list(layers[1:3].state_dict())[0] == "0.weight"
    net = nn.Module()
    net.layers = layers
    assert len(list(net.parameters())) == 6


def test_names_that_are_no_identifiers():
    net = nn.Sequential()
    net.add_module("block 0", nn.Linear(1, 1))
    net.register_parameter("gain", nn.Parameter(fc.ones(1)))
    net.register_parameter("none", None)
    assert list(net.state_dict()) == ["gain", "block 0.weight", "block 0.bias"] and net.none is None


# ------------------------------------------------------------------------------------------------- state
def test_state_dict_shares_memory_and_keeps_the_order():
    net = Net()
    state = net.state_dict()
    assert list(state) == [
        "scale",
        "offset",
        "conv.weight",
        "bn.weight",
        "bn.bias",
        "bn.running_mean",
        "bn.running_var",
        "bn.num_batches_tracked",
        "head.2.weight",
        "head.2.bias",
    ]
    assert not any(t.requires_grad for t in state.values())
    state["scale"][0] = 7.0
    assert net.scale.item() == 7.0


@pytest.mark.parametrize(
    "convert", [lambda t: t, lambda t: t.numpy(), lambda t: t.numpy().astype(np.float64)]
)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_load_state_dict(convert, prefix, backend):
    a, b = Net(), Net()
    a(X)
    parameters = list(b.parameters())
    result = b.load_state_dict({prefix + k: convert(v) for k, v in a.state_dict().items()})
    assert (result.missing_keys, result.unexpected_keys) == ([], [])
    assert all(p is q for p, q in zip(parameters, b.parameters()))
    assert b.bn.num_batches_tracked.item() == 1 and b.bn.num_batches_tracked.dtype == np.int64
    assert {t.dtype for t in b.parameters()} == {np.dtype("float32")}
    np.testing.assert_array_equal(a.eval()(X).numpy(), b.eval()(X).numpy())


def test_load_state_dict_reports_everything_at_once_and_changes_nothing():
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    before = net[0].bias.numpy().copy()
    state = {
        "0.weight": np.zeros((3, 4)),
        "0.bias": np.ones(3),
        "2.weight": np.zeros((1, 3)),
        "1.bias": np.zeros(1),
    }
    with pytest.raises(ValueError) as caught:
        net.load_state_dict(state)
    message = str(caught.value)
    assert message.startswith("load_state_dict: ")
    for part in ("missing: 1.weight", "unexpected: 2.weight", "0.weight: expected 3x2, got 3x4"):
        assert part in message
    with pytest.raises(ValueError, match="0.weight: expected 3x2, got 3x4"):
        net.load_state_dict(state, strict=False)
    np.testing.assert_array_equal(net[0].bias.numpy(), before)
    del state["0.weight"]
    result = net.load_state_dict(state, strict=False)
    assert (result.missing_keys, result.unexpected_keys) == (["0.weight", "1.weight"], ["2.weight"])
    np.testing.assert_array_equal(net[0].bias.numpy(), 1)
    with pytest.raises(TypeError, match="expected a mapping"):
        net.load_state_dict("weights.npz")


def test_load_state_dict_finds_the_state_in_a_checkpoint():
    a, b = nn.Linear(2, 3), nn.Linear(2, 3)
    for prefix in ("", "module."):
        checkpoint = {"epoch": 3, "state_dict": {prefix + k: v for k, v in a.state_dict().items()}, 5: None}
        with pytest.raises(
            ValueError, match=r"its entry 'state_dict' holds these names: pass state\['state_dict'\]"
        ):
            b.load_state_dict(checkpoint)
        b.load_state_dict(checkpoint["state_dict"])
        np.testing.assert_array_equal(a.weight.numpy(), b.weight.numpy())
    # the prefix on some names only
    with pytest.raises(ValueError, match="missing: weight\n  unexpected: module.weight$"):
        b.load_state_dict({"module.weight": a.weight, "bias": a.bias})


def test_old_files_without_the_count_of_batches_load():
    net = nn.BatchNorm2d(2)
    state = {k: v for k, v in net.state_dict().items() if k != "num_batches_tracked"}
    assert net.load_state_dict(state).missing_keys == []


def test_copies_are_independent():
    net = Net()
    twin = copy.deepcopy(net)
    twin.conv.weight.data[:] = 0
    assert np.abs(net.conv.weight.numpy()).max() > 0
    assert [n for n, _ in twin.named_parameters()] == NAMES


# ------------------------------------------------------------------------------------------------- whole-tree
# actions
def test_train_and_eval_reach_dropout_and_batch_norm(backend):
    net = Net()
    assert net.eval() is net and not any(m.training for m in net.modules())
    still = net.bn.running_mean.numpy().copy()
    np.testing.assert_array_equal(net(X).numpy(), net(X).numpy())
    np.testing.assert_array_equal(net.bn.running_mean.numpy(), still)
    assert net.train() is net and all(m.training for m in net.modules())
    assert np.abs(net(X).numpy() - net(X).numpy()).max() > 0
    assert net.bn.num_batches_tracked.item() == 2


def test_zero_grad_requires_grad_and_apply(backend):
    net = Net().eval()
    net.conv.requires_grad_(False)
    net(X).sum().backward()
    assert net.conv.weight.grad is None and net.scale.grad is not None
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())
    seen = []

    def initialise(m):
        seen.append(type(m).__name__)
        if type(m) is nn.Linear:
            nn.init.constant_(m.weight, 0.5)

    assert net.apply(initialise) is net
    assert seen == ["Conv2d", "BatchNorm2d", "Flatten", "Dropout", "Linear", "Sequential", "Net"]
    np.testing.assert_array_equal(net.head[2].weight.numpy(), 0.5)


def test_to_dtype_keeps_the_parameters_and_integer_buffers(backend):
    net = Net().eval()
    parameters = list(net.parameters())
    net(X).sum().backward()
    assert net.to(fc.float64) is net and net.to(net.scale.device) is net
    assert all(p is q and p.dtype == p.grad.dtype == fc.float64 for p, q in zip(net.parameters(), parameters))
    assert net.bn.num_batches_tracked.dtype == np.int64
    assert net(X.astype(np.float64)).dtype == fc.float64
    assert net.float().scale.dtype == fc.float32 and net.double().scale.dtype == fc.float64


# ------------------------------------------------------------------------------------------------- layers
LAYERS = {
    "Conv1d": (nn.Conv1d(2, 3, 3, padding=1), (2, 2, 5), (2, 3, 5)),
    "Conv2d": (
        nn.Conv2d(2, 4, (3, 1), stride=2, padding=((1, 1), (0, 0)), groups=2),
        (2, 2, 5, 4),
        (2, 4, 3, 2),
    ),
    "Conv3d": (nn.Conv3d(2, 3, 2, padding="same"), (1, 2, 3, 4, 5), (1, 3, 3, 4, 5)),
    "ConvTranspose2d": (nn.ConvTranspose2d(2, 3, 3, 2, 1, 1), (1, 2, 3, 4), (1, 3, 6, 8)),
    "Linear": (nn.Linear(5, 2), (3, 4, 5), (3, 4, 2)),
    "MaxPool1d": (nn.MaxPool1d(2), (1, 2, 5), (1, 2, 2)),
    "MaxPool2d": (nn.MaxPool2d(3, 2, 1, ceil_mode=True), (1, 2, 6, 5), (1, 2, 4, 3)),
    "MaxPool3d": (nn.MaxPool3d(2, stride=1), (1, 2, 3, 4, 5), (1, 2, 2, 3, 4)),
    "AvgPool1d": (nn.AvgPool1d(2), (1, 2, 5), (1, 2, 2)),
    "AvgPool2d": (nn.AvgPool2d(kernel_size=2, stride=2), (1, 2, 6, 5), (1, 2, 3, 2)),
    "AvgPool3d": (nn.AvgPool3d(2), (1, 2, 4, 4, 4), (1, 2, 2, 2, 2)),
    "AdaptiveAvgPool2d": (nn.AdaptiveAvgPool2d(1), (1, 2, 6, 5), (1, 2, 1, 1)),
    "AdaptiveMaxPool2d": (nn.AdaptiveMaxPool2d((3, None)), (1, 2, 6, 5), (1, 2, 3, 5)),
    "BatchNorm1d": (nn.BatchNorm1d(4), (3, 4), (3, 4)),
    "BatchNorm2d": (nn.BatchNorm2d(4, affine=False), (3, 4, 2, 2), (3, 4, 2, 2)),
    "BatchNorm3d": (nn.BatchNorm3d(4, track_running_stats=False), (3, 4, 2, 2, 2), (3, 4, 2, 2, 2)),
    "GroupNorm": (nn.GroupNorm(2, 4), (3, 4, 2), (3, 4, 2)),
    "LayerNorm": (nn.LayerNorm((2, 3)), (4, 2, 3), (4, 2, 3)),
    "LocalResponseNorm": (nn.LocalResponseNorm(5), (1, 7, 2, 2), (1, 7, 2, 2)),
    "Dropout": (nn.Dropout(0.2, mode="downgrade_in_infer"), (3, 4), (3, 4)),
    "ReLU": (nn.ReLU(inplace=True), (3, 4), (3, 4)),
    "LeakyReLU": (nn.LeakyReLU(0.2, True), (3, 4), (3, 4)),
    **{
        name: (getattr(nn, name)(), (3, 4), (3, 4))
        for name in (
            *("ReLU6", "Hardtanh", "Hardswish", "Hardsigmoid", "ELU", "SELU", "CELU", "Mish", "Softplus"),
            *("Softsign", "LogSigmoid", "Hardshrink", "Softshrink", "Tanhshrink", "RReLU"),
        )
    },
    "PReLU": (nn.PReLU(4), (3, 4, 2), (3, 4, 2)),
    "Threshold": (nn.Threshold(0.1, 2.0), (3, 4), (3, 4)),
    "GLU": (nn.GLU(1), (3, 4), (3, 2)),
    "Softmin": (nn.Softmin(dim=1), (3, 4), (3, 4)),
    "LogSoftmax": (nn.LogSoftmax(dim=1), (3, 4), (3, 4)),
    "Softmax2d": (nn.Softmax2d(), (3, 4, 2, 2), (3, 4, 2, 2)),
    "Sigmoid": (nn.Sigmoid(), (3, 4), (3, 4)),
    "Tanh": (nn.Tanh(), (3, 4), (3, 4)),
    "GELU": (nn.GELU(approximate="tanh"), (3, 4), (3, 4)),
    "SiLU": (nn.SiLU(), (3, 4), (3, 4)),
    "Softmax": (nn.Softmax(dim=1), (3, 4), (3, 4)),
    "Upsample": (nn.Upsample(scale_factor=2, mode="bilinear"), (1, 2, 3, 4), (1, 2, 6, 8)),
    "Flatten": (nn.Flatten(), (3, 4, 5), (3, 20)),
    "Identity": (nn.Identity(54, unused=True), (3, 4), (3, 4)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layer_shapes_and_gradients(name, backend):
    layer, shape, want = LAYERS[name]
    x = fc.randn(shape, requires_grad=True)
    layer = copy.deepcopy(layer).to(x.device)  # it was made on the host
    y = layer(x)
    assert y.shape == want
    layer.zero_grad()
    y.backward(fc.randn(want))
    assert x.grad.shape == shape
    assert all(p.grad is not None and p.grad.shape == p.shape for p in layer.parameters())


def test_reprs():
    assert repr(
        nn.Sequential(nn.Conv2d(1, 6, 5, padding=2, bias=False), nn.Sequential(nn.ReLU(), nn.AvgPool2d(2)))
    ) == (
        "Sequential(\n"
        "  (0): Conv2d(1, 6, kernel_size=(5, 5), stride=(1, 1), padding=(2, 2), bias=False)\n"
        "  (1): Sequential(\n"
        "    (0): ReLU()\n"
        "    (1): AvgPool2d(kernel_size=2, stride=2, padding=0)\n"
        "  )\n"
        ")"
    )
    assert repr(nn.Linear(400, 120)) == "Linear(in_features=400, out_features=120, bias=True)"
    assert (
        repr(nn.MaxPool2d(3, 2))
        == "MaxPool2d(kernel_size=3, stride=2, padding=0, dilation=1, ceil_mode=False)"
    )
    assert repr(nn.BatchNorm2d(4)) == (
        "BatchNorm2d(4, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)"
    )
    assert repr(nn.ConvTranspose2d(4, 2, 3, 2, output_padding=1)) == (
        "ConvTranspose2d(4, 2, kernel_size=(3, 3), stride=(2, 2), output_padding=(1, 1))"
    )


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (
            lambda: nn.Conv2d(3, 4, 3, groups=2),
            ValueError,
            "Conv2d: in_channels 3 and out_channels 4 .* groups 2",
        ),
        (lambda: nn.Conv2d(3, 4, 0), ValueError, "Conv2d: kernel_size must be at least 1"),
        (lambda: nn.Conv2d(3, 0, 1), ValueError, "Conv2d: out_channels must be at least 1"),
        (
            lambda: nn.Conv2d(1, 1, 1, dtype="int64"),
            TypeError,
            "Conv2d: dtype must be float32 or float64, got i",
        ),
        (
            lambda: nn.ConvTranspose1d(1, 1, 1, dtype="int64"),
            TypeError,
            "ConvTranspose1d: dtype must be float",
        ),
        (lambda: nn.PReLU(dtype="int64"), TypeError, "PReLU: dtype must be float32 or float64, got int64"),
        (lambda: nn.Softmax2d()(3.0), ValueError, "Softmax2d: input must have 3 or 4 dimensions"),
        (lambda: nn.Softmax2d()("x"), TypeError, "Softmax2d: input"),
        (lambda: fc.ones(1).cuda("cpu"), ValueError, "cuda: expected the GPU, 0 or 'cuda', got 'cpu'"),
        (lambda: nn.Linear(3, 2.5), TypeError, "Linear: out_features must be an int"),
        (lambda: nn.Dropout(1.5), ValueError, "dropout: p must be between 0 and 1, got 1.5"),
        (
            lambda: nn.GroupNorm(3, 4),
            ValueError,
            "GroupNorm: num_channels 4 must be divisible by num_groups 3",
        ),
        (lambda: nn.MaxPool2d(), TypeError, "MaxPool2d.*missing a required argument: 'kernel_size'"),
        (lambda: nn.ReLU(slope=1), TypeError, "ReLU.*unexpected keyword argument 'slope'"),
        (lambda: nn.BatchNorm2d(3)(fc.zeros(2, 3)), ValueError, "BatchNorm2d: input must have 4 dimensions"),
        (lambda: nn.BatchNorm2d(3)(fc.zeros(2, 4, 1, 1)), ValueError, "batch_norm: weight must have shape 4"),
    ],
)
def test_bad_options_are_refused(build, error, message):
    with pytest.raises(error, match=message):
        build()


def test_batch_norm_statistics(backend):
    """The biased variance normalises, the unbiased one is averaged; momentum None averages all batches."""
    rng = np.random.default_rng(1)
    batches = [(2 + 3 * rng.standard_normal((4, 3, 2, 2))).astype(np.float32) for _ in range(3)]
    moving, plain = nn.BatchNorm2d(3, momentum=0.2), nn.BatchNorm2d(3, momentum=None)
    for x in batches:
        y = moving(x).numpy()
        plain(x)
    np.testing.assert_allclose(y.mean((0, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(y.var((0, 2, 3)), 1, rtol=1e-4)
    variances = [x.var((0, 2, 3), ddof=1) for x in batches]
    want = np.ones(3)
    for v in variances:
        want = 0.8 * want + 0.2 * v
    np.testing.assert_allclose(moving.running_var.numpy(), want, rtol=1e-5)
    np.testing.assert_allclose(plain.running_var.numpy(), np.mean(variances, 0), rtol=1e-5)
    np.testing.assert_allclose(
        plain.running_mean.numpy(), np.mean([x.mean((0, 2, 3)) for x in batches], 0), rtol=1e-5
    )
    moving.eval()
    shape = (1, 3, 1, 1)
    mean, var = (t.numpy().reshape(shape) for t in (moving.running_mean, moving.running_var))
    np.testing.assert_allclose(moving(x).numpy(), (x - mean) / np.sqrt(var + 1e-5), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"track_running_stats": False}, {"affine": False}], ids=str)
@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("momentum", [None, 0.3, *full(0.0)])
def test_batch_norm_is_pytorchs(dims, options, momentum, backend):
    """Results and statistics over some batches, in evaluation, and with the statistics switched off later."""
    torch = pytest.importorskip("torch")
    name, rng = f"BatchNorm{dims}d", np.random.default_rng(0)
    mine, other = (getattr(m, name)(4, momentum=momentum, **options) for m in (nn, torch.nn))

    def agree():
        x = (rng.standard_normal((3, 4, *[5] * dims)) * 2 + 1).astype("f4")
        np.testing.assert_allclose(
            mine(x).numpy(), other(torch.tensor(x)).detach().numpy(), rtol=1e-4, atol=1e-5
        )
        state, want = mine.state_dict(), other.state_dict()
        assert state.keys() == want.keys()
        for k in want:
            np.testing.assert_allclose(state[k].numpy(), want[k].numpy(), rtol=1e-5, atol=1e-6)

    for switch in (None, "eval", "train", "off", "eval"):
        for m in (mine, other) if switch else ():
            setattr(m, "track_running_stats", False) if switch == "off" else None
            m.train(switch != "eval")
        for _ in range(3):
            agree()


def test_fused_batch_norm_equals_separate_layers(backend):
    fused, plain = nn.BatchNorm2d(3, activation="relu"), nn.BatchNorm2d(3)
    results = []
    for call in (lambda x, r: fused(x, r), lambda x, r: F.relu(plain(x) + r)):
        fc.manual_seed(3)
        x, r = fc.randn(2, 3, 4, 5, requires_grad=True), fc.randn(2, 3, 4, 5, requires_grad=True)
        y = call(x, r)
        y.backward(fc.randn(2, 3, 4, 5))
        results.append((y, x.grad, r.grad))
    results[0] += fused.weight.grad, fused.bias.grad, fused.running_var
    results[1] += plain.weight.grad, plain.bias.grad, plain.running_var
    for a, b in zip(*results):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-5, atol=1e-5)


def test_losses_call_their_functions(backend):
    x, labels = fc.randn(4, 3), np.array([0, 2, 1, 2])
    weight = np.array([1, 2, 0.5], np.float32)
    want = F.cross_entropy(x, labels, weight, ignore_index=1, label_smoothing=0.1).item()
    loss = nn.CrossEntropyLoss(weight, ignore_index=1, label_smoothing=0.1)
    assert loss(x, labels).item() == want and list(loss.state_dict()) == ["weight"]
    assert nn.CrossEntropyLoss(reduction="none")(x, labels).shape == (4,)
    assert nn.NLLLoss()(F.log_softmax(x, 1), labels).item() == pytest.approx(
        F.cross_entropy(x, labels).item(), rel=1e-6
    )
    assert nn.MSELoss(reduction="sum")(x, fc.zeros(4, 3)).item() == pytest.approx(
        (x**2).sum().item(), rel=1e-6
    )
    assert nn.BCEWithLogitsLoss()(fc.zeros(3), fc.ones(3)).item() == pytest.approx(np.log(2), rel=1e-6)


# -------------------------------------------------------------------------------------------------
# initialisation
@pytest.mark.parametrize(
    ("fill", "std", "bound"),
    [
        (lambda t: nn.init.xavier_uniform_(t), (2 / 5400) ** 0.5, (6 / 5400) ** 0.5),
        (lambda t: nn.init.xavier_normal_(t, gain=2.0), 2 * (2 / 5400) ** 0.5, None),
        (lambda t: nn.init.kaiming_uniform_(t, nonlinearity="relu"), (2 / 1800) ** 0.5, (6 / 1800) ** 0.5),
        (lambda t: nn.init.kaiming_normal_(t, mode="fan_out", nonlinearity="relu"), (2 / 3600) ** 0.5, None),
        (lambda t: nn.init.kaiming_normal_(t, a=1.0), (1 / 1800) ** 0.5, None),
        (lambda t: nn.init.normal_(t, 0, 0.01), 0.01, None),
        (lambda t: nn.init.uniform_(t, -0.3, 0.3), 0.3 / 3**0.5, 0.3),
    ],
)
def test_initialisation_spreads(fill, std, bound):
    t = nn.Parameter(fc.zeros(400, 200, 3, 3))  # fan in 1800, fan out 3600
    assert fill(t) is t
    values = t.numpy()
    assert t.requires_grad and t.dtype == fc.float32
    # 720,000 draws: the sample's deviation is within 0.5% of std beyond six sigma, its mean within std / 140
    assert values.std() == pytest.approx(std, rel=0.005)
    assert abs(values.mean()) < std / 140
    if bound is not None:
        assert bound * 0.999 < np.abs(values).max() <= bound * (1 + 1e-6)


@pytest.mark.parametrize(
    "name, options",
    [
        ("xavier_uniform_", {}),
        ("xavier_uniform_", {"gain": 2.0}),
        ("xavier_normal_", {}),
        ("kaiming_uniform_", {}),
        ("kaiming_uniform_", {"a": 5**0.5, "mode": "fan_out"}),
        ("kaiming_normal_", {}),
        ("kaiming_normal_", {"mode": "fan_out", "nonlinearity": "relu"}),
        ("kaiming_normal_", {"nonlinearity": "tanh"}),
        ("normal_", {"mean": 0.5, "std": 0.1}),
        ("uniform_", {"a": -0.1, "b": 0.3}),
        ("constant_", {"val": 2.5}),
        ("zeros_", {}),
        ("ones_", {}),
    ],
)
def test_initialisation_spreads_as_in_pytorch(name, options):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    mine = getattr(nn.init, name)(fc.zeros(200, 100, 3, 3), **options).numpy()
    theirs = getattr(torch.nn.init, name)(torch.zeros(200, 100, 3, 3), **options).numpy()
    # 180,000 draws: deviations and means agree far beyond six of their own deviations
    assert mine.std() == pytest.approx(theirs.std(), rel=0.02)
    assert mine.mean() == pytest.approx(theirs.mean(), abs=0.02 * float(theirs.std()) + 1e-7)
    if "uniform" in name:
        assert (mine.min(), mine.max()) == pytest.approx((theirs.min(), theirs.max()), rel=1e-3)


def test_default_initialisation_is_pytorchs():
    for layer in (nn.Linear(288, 500), nn.Conv2d(32, 500, 3), nn.Conv2d(64, 500, 3, groups=2)):
        bound = 1 / 288**0.5
        for p in (layer.weight, layer.bias):
            assert 0.98 * bound < np.abs(p.numpy()).max() <= bound * (1 + 1e-6)
    bn = nn.BatchNorm2d(3)
    vectors = [t.numpy() for t in (bn.weight, bn.bias, bn.running_mean, bn.running_var)]
    np.testing.assert_array_equal(np.stack(vectors).T, [[1, 0, 0, 1]] * 3)


def test_initialisation_follows_the_seed():
    fc.manual_seed(5)
    a = nn.Conv2d(3, 4, 3).weight.numpy()
    b = nn.Conv2d(3, 4, 3).weight.numpy()
    fc.manual_seed(5)
    np.testing.assert_array_equal(nn.Conv2d(3, 4, 3).weight.numpy(), a)
    assert np.abs(a - b).max() > 0


def test_constants_and_gains():
    assert nn.init.ones_(fc.zeros(2)).tolist() == [1, 1]
    assert nn.init.zeros_(fc.ones(2)).tolist() == [0, 0]
    assert nn.init.constant_(fc.ones(2), 2.5).tolist() == [2.5, 2.5]
    assert nn.init.calculate_gain("tanh") == 5 / 3
    assert nn.init.calculate_gain("leaky_relu", 0.2) == (2 / 1.04) ** 0.5
    with pytest.raises(ValueError, match="calculate_gain: expected one of .*, got 'swish'"):
        nn.init.calculate_gain("swish")
    with pytest.raises(ValueError, match="xavier_uniform_: .* at least 2 dimensions, got 3"):
        nn.init.xavier_uniform_(fc.zeros(3))
    with pytest.raises(ValueError, match="kaiming_normal_: mode must be 'fan_in' or 'fan_out', got 'fan'"):
        nn.init.kaiming_normal_(fc.zeros(3, 3), mode="fan")


@pytest.mark.parametrize(
    "fill, error, message",
    [
        (lambda t: nn.init.uniform_(t, "a", 1), TypeError, "uniform_: a must be a number, got 'a'"),
        (lambda t: nn.init.uniform_(t, 0, None), TypeError, "uniform_: b must be a number, got None"),
        (lambda t: nn.init.uniform_(t, 1, 0), ValueError, "uniform_: a must not be above b, got 1.0 and 0.0"),
        (lambda t: nn.init.normal_(t, 0, "x"), TypeError, "normal_: std must be a number, got 'x'"),
        (lambda t: nn.init.normal_(t, "x"), TypeError, "normal_: mean must be a number, got 'x'"),
        (lambda t: nn.init.normal_(t, 0, -1), ValueError, "normal_: std must not be negative, got -1"),
        (lambda t: nn.init.trunc_normal_(t, std="x"), TypeError, "trunc_normal_: std must be a number"),
        (
            lambda t: nn.init.trunc_normal_(t, b=[2]),
            TypeError,
            r"trunc_normal_: b must be a number, got \[2\]",
        ),
        (lambda t: nn.init.constant_(t, "x"), TypeError, "constant_: val must be a number, got 'x'"),
        (lambda t: nn.init.xavier_uniform_(t, "x"), TypeError, "xavier_uniform_: gain must be a number"),
        (
            lambda t: nn.init.xavier_normal_(t, -1),
            ValueError,
            "xavier_normal_: gain must be at least 0, got -1",
        ),
        (
            lambda t: nn.init.kaiming_uniform_(t, "x"),
            TypeError,
            "kaiming_uniform_: a must be a number, got 'x'",
        ),
        (lambda t: nn.init.orthogonal_(t, "x"), TypeError, "orthogonal_: gain must be a number, got 'x'"),
        (lambda t: nn.init.sparse_(t, 0.5, -1), ValueError, "sparse_: std must be at least 0, got -1"),
        (
            lambda t: nn.init.dirac_(fc.zeros(2, 2, 1), 1.5),
            TypeError,
            "dirac_: groups must be an int, got 1.5",
        ),
        (lambda t: nn.init.dirac_(fc.zeros(2, 2, 1), 0), ValueError, "dirac_: groups must be at least 1"),
        (
            lambda t: nn.init.normal_(t.numpy()),
            TypeError,
            "normal_: tensor must be a Tensor, got ndarray; it is",
        ),
        (lambda t: nn.init.ones_([1.0]), TypeError, "ones_: tensor must be a Tensor, got list"),
    ],
)
def test_bad_options_of_initialisations_are_refused(fill, error, message):
    t = fc.zeros(3, 3)
    with pytest.raises(error, match=message):
        fill(t)
    assert not t.numpy().any()
