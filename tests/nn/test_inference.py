"""``optimize_for_inference``: the same results with fewer passes, and the original net left alone."""

from __future__ import annotations

import copy
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support.selection import full

import fastconv as fc
from fastconv import models, nn
from fastconv.nn import functional as F

RTOL = 1e-4


def with_statistics(net):
    """The net in evaluation with random BatchNorm statistics and parameters, as after training."""
    rng = np.random.default_rng(1)
    for m in net.modules():
        if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)) and m.running_mean is not None:
            m.running_mean[...] = rng.standard_normal(m.num_features).astype("f4")
            m.running_var[...] = rng.uniform(0.5, 2, m.num_features).astype("f4")
            if m.weight is not None:
                m.weight.data[:] = rng.uniform(-1.5, 1.5, m.num_features).astype("f4")
                m.bias.data[:] = rng.standard_normal(m.num_features).astype("f4")
    return net.eval()


def check(net, *shape):
    """The optimized net, after its results have been compared with those of ``net``."""
    net = with_statistics(net)
    before = {k: v.numpy().copy() for k, v in net.state_dict().items()}
    x = np.random.default_rng(0).standard_normal(shape).astype("f4")
    fast = fc.optimize_for_inference(net)
    want = net(x).numpy()
    for _ in range(2):  # the second call finds its weights packed
        got = fast(x)
        assert got.dtype == want.dtype and got.shape == want.shape and not got.requires_grad
        np.testing.assert_allclose(got.numpy(), want, rtol=0, atol=RTOL * np.abs(want).max())
    after = net.state_dict()
    assert before.keys() == after.keys() and all(np.array_equal(before[k], after[k].numpy()) for k in before)
    return fast


def ran(net, *shape):
    """The classes of the layers that an optimized net runs; those of merged layers are joined by plus
    signs."""
    return [x.type for x in fc.profile(net, fc.randn(*shape), 1).layers]


@pytest.fixture
def norms(monkeypatch):
    """``norms(net, *shape)``: how often the reference engine normalises; a folded norm does not."""
    from fastconv.backends import numpy as engine

    plain, calls = engine.batch_norm_fwd, []
    monkeypatch.setattr(engine, "batch_norm_fwd", lambda *args: calls.append(1) or plain(*args))

    def count(net, *shape):
        if any(p.device != "cpu" for p in net.parameters()):
            net = copy.deepcopy(net).to("cpu")  # where the reference engine computes
        with fc.backend("numpy"), fc.no_grad():
            for _ in range(3):  # the first two times an optimized net looks at what its layers do
                calls.clear()
                net(fc.zeros(*shape))
        return len(calls)

    return count


def test_sequential(backend):
    net = nn.Sequential(
        nn.Conv2d(3, 17, 3, padding=1, bias=False),
        nn.BatchNorm2d(17),
        nn.ReLU(),
        nn.Sequential(nn.Conv2d(17, 20, 1), nn.Dropout(0.3)),
        nn.BatchNorm2d(20, activation="relu"),
        nn.Conv2d(20, 20, 3, groups=20),
        nn.ReLU(),
        nn.BatchNorm2d(20),
        nn.ReLU(),
        nn.Dropout(0.5, mode="downgrade_in_infer"),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(180, 40),
        nn.BatchNorm1d(40, affine=False),
        nn.ReLU(),
        nn.Linear(40, 7),
    )
    fast = check(net, 2, 3, 8, 8)
    assert len(fast) == len(net)
    # A BatchNorm behind a ReLU cannot be folded; dropout of the other convention scales in evaluation.
    assert ran(fast, 2, 3, 8, 8) == [
        "Conv2d+BatchNorm2d+ReLU",
        "Conv2d+BatchNorm2d",
        "Conv2d+ReLU",
        "BatchNorm2d+ReLU",
        "Dropout",
        "MaxPool2d",
        "Flatten",
        "Linear+BatchNorm1d+ReLU",
        "Linear",
    ]


@pytest.mark.parametrize("seed", range(6))
def test_random_nets(seed, backend):
    rng = np.random.default_rng(seed)
    layers, c = [], int(rng.integers(1, 40))
    shape = (int(rng.integers(1, 4)), c, *rng.integers(9, 14, 2))
    for _ in range(4):
        k, kernel, grouped = int(rng.integers(1, 40)), int(rng.integers(1, 4)), rng.random() < 0.2
        k = c if grouped else k
        layers.append(
            nn.Conv2d(
                c,
                k,
                kernel,
                int(rng.integers(1, 3)),
                kernel // 2,
                groups=c if grouped else 1,
                bias=bool(rng.integers(2)),
            )
        )
        for extra in (nn.BatchNorm2d(k), nn.ReLU(), nn.Dropout(), nn.LeakyReLU(0.1)):
            if rng.random() < 0.5:
                layers.append(extra)
        c = k
    check(nn.Sequential(*layers), *map(int, shape))


def test_other_dimensions(backend):
    check(nn.Sequential(nn.Conv1d(3, 5, 3), nn.ReLU(), nn.Linear(7, 4), nn.ReLU()), 2, 3, 9)
    check(nn.Sequential(nn.Conv3d(2, 5, 2), nn.BatchNorm3d(5), nn.ReLU()), 1, 2, 4, 5, 4)


@pytest.mark.parametrize("make", [models.resnet18, *full(models.resnet50)], ids=lambda f: f.__name__)
def test_resnet(make, norms):
    net = make(num_classes=10, small_input=True)
    assert norms(check(net, 2, 3, 32, 32), 1, 3, 8, 8) == 0 < norms(net, 1, 3, 8, 8)


def test_resnet_stem(norms):
    assert norms(check(models.resnet18(), 1, 3, 64, 64), 1, 3, 32, 32) == 0


@pytest.mark.parametrize("make", [models.lenet5, lambda: models.lenet5(modern=True)])
def test_lenet(make, backend):
    check(make(), 3, 1, 28, 28)


class Block(nn.Module):
    """A module that fastconv knows nothing about."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.act = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()
        self.second, self.after = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.gain = nn.Parameter(fc.ones(4, 1, 1) * 0.5)

    def forward(self, x):
        y = self.after(F.sigmoid(self.second(self.act(self.norm(self.first(x))))))
        return F.relu(x + y * self.gain)


def test_modules_of_users(backend, norms):
    """The norm behind a convolution is folded, the one behind a sigmoid is not."""
    fast = check(nn.Sequential(Block(), Block()), 2, 4, 6, 5)
    assert norms(fast, 2, 4, 6, 5) == 2
    assert not any(p.requires_grad for p in fast.parameters())


class Doubling(nn.Conv2d):
    def forward(self, x):
        return super().forward(x) * 2


class Halving(nn.Conv2d):
    def __call__(self, x):
        return super().__call__(x) / 2


class Standardised(nn.Conv2d):
    @property
    def weight(self):
        w = vars(self)["weight"]
        return w - w.mean()

    @weight.setter
    def weight(self, value):
        pass


class Other(nn.Conv2d):
    function = staticmethod(lambda *args, **options: F.conv2d(*args, **options).abs())


class Backwards(nn.Sequential):
    def __iter__(self):
        return iter(list(super().__iter__())[::-1])


class Named(nn.Conv2d):
    """Differs from its base only in what does not compute."""

    def __init__(self, c_in, c_out, kernel, name="own"):
        super().__init__(c_in, c_out, kernel)
        self.name = name

    def extra_repr(self):
        return self.name


SUBCLASSES = {
    Doubling: ["Doubling", "BatchNorm2d"],
    Halving: ["Halving", "Sequential", "BatchNorm2d"],  # which divides the result of its forward
    Standardised: ["Standardised+BatchNorm2d"],
    Other: ["Other", "BatchNorm2d"],
    Named: ["Named+BatchNorm2d"],
}


@pytest.mark.parametrize("kind", SUBCLASSES)
def test_subclasses_of_layers_compute_what_they_compute(kind, backend):
    fast = check(nn.Sequential(kind(3, 4, 3), nn.BatchNorm2d(4)), 1, 3, 5, 5)
    assert ran(fast, 1, 3, 5, 5) == SUBCLASSES[kind]


def test_a_sequential_with_an_order_of_its_own(backend):
    check(Backwards(nn.BatchNorm2d(4), nn.Conv2d(3, 4, 3)), 1, 3, 5, 5)


def test_a_forward_given_to_one_module_is_kept(backend):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.ReLU()))
    net[0].forward = lambda x: F.conv2d(x, fc.ones(4, 3, 1, 1))
    net[2].forward = F.sigmoid
    assert ran(check(net, 1, 3, 5, 5), 1, 3, 5, 5) == ["Conv2d+BatchNorm2d+Sequential"]
    net.forward = lambda x: x * 2
    check(net, 1, 3, 5, 5)
    check(nn.Sequential(fc.optimize_for_inference(net), nn.ReLU()), 1, 3, 5, 5)


def test_a_norm_over_another_axis_than_the_layers_outputs_is_not_folded(backend):
    check(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU()), 2, 4, 3)
    check(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm2d(4)), 2, 4, 4, 3)
    check(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), 3, 5, 5)  # one image


def test_what_does_not_fit_raises_as_before():
    for net, x, error in (
        (
            nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(5)),
            fc.randn(2, 3),
            "batch_norm: weight must have shape 4",
        ),
        (
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm1d(4)),
            fc.randn(2, 3, 5, 5),
            "BatchNorm1d: input must have 2 or 3",
        ),
        (
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4).double()),
            fc.randn(2, 3, 5, 5),
            "weight is float64 but",
        ),
    ):
        for n in (net.eval(), fc.optimize_for_inference(net)):
            with pytest.raises((ValueError, TypeError), match=error):
                n(x)


def test_norm_without_running_statistics_stays():
    fast = check(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)), 2, 3, 6, 6)
    assert ran(fast, 2, 3, 6, 6) == ["Conv2d", "BatchNorm2d"]


def test_the_original_keeps_training():
    """The copy shares no memory with the net it was made from."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    fast = fc.optimize_for_inference(net)
    assert net.training and not fast.training
    x = fc.randn(2, 3, 6, 6)
    before = fast(x).numpy()
    net(x).sum().backward()
    for p in net.parameters():
        p.data[:] = 0.0
    np.testing.assert_array_equal(fast(x).numpy(), before)


@pytest.mark.parametrize("more", [(), (nn.ReLU(), nn.Conv2d(4, 2, 1))])
def test_it_refuses_to_train(more):
    fast = fc.optimize_for_inference(nn.Sequential(nn.Conv2d(3, 4, 3), *more))
    x = fc.randn(1, 3, 5, 5, requires_grad=True)
    with pytest.raises(RuntimeError, match="optimize_for_inference: the net computes no gradients"):
        fast(x)
    with fc.no_grad():
        assert fast(x).shape == (1, 2 if more else 4, 3, 3)
    fast.train()
    with pytest.raises(RuntimeError, match="optimize_for_inference: the net evaluates only"):
        fast(x.detach())
    with pytest.raises(TypeError, match="optimize_for_inference: expected a Module, got function"):
        fc.optimize_for_inference(F.relu)


def test_errors_are_those_of_the_layers():
    fast = fc.optimize_for_inference(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(36, 2)))
    with pytest.raises(ValueError, match="conv2d: weight expects 3 input channels"):
        fast(fc.randn(1, 2, 5, 5))
    with pytest.raises(ValueError, match="linear: weight expects 36 input features"):
        fast(fc.randn(1, 3, 6, 6))
    with pytest.raises(TypeError, match="conv2d: .*float64"):
        fast(fc.randn(1, 3, 5, 5).double())


def test_weights_loaded_or_moved_later_are_used():
    fast = check(nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU()), 1, 3, 8, 8)
    x = fc.randn(1, 3, 8, 8)
    before = fast(x).numpy()
    fast.load_state_dict({k: v * 2 for k, v in fast.state_dict().items()})
    np.testing.assert_allclose(fast(x).numpy(), 2 * before, rtol=1e-5, atol=1e-6)
    assert fast.double()(x.double()).dtype == "float64"
    with fc.backend("numpy"):
        np.testing.assert_allclose(fast(x.double()).numpy(), 2 * before, rtol=1e-4, atol=1e-5)


def test_weights_are_packed_once(monkeypatch):
    """After the second call, which compares with the layers, no kernel that packs weights runs."""
    from fastconv.backends.cpu.codegen import jit

    net = fc.optimize_for_inference(models.resnet18(num_classes=10, small_input=True))
    x = fc.randn(2, 3, 32, 32)
    net(x), net(x)
    launched = []
    plain = jit.Kernel.__call__
    monkeypatch.setattr(
        jit.Kernel, "__call__", lambda self, *args: launched.append(self.__name__) or plain(self, *args)
    )
    net(x)
    assert launched and not {"_pack", "_arrange", "_transform_weights"} & set(launched)


def small_net():
    return nn.Sequential(
        nn.Conv2d(3, 20, 3, padding=1),
        nn.BatchNorm2d(20),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(20, 16, 3, stride=2),
        nn.Sigmoid(),
        nn.Flatten(),
        nn.Linear(64, 5),
    )


@pytest.fixture
def only_replays(monkeypatch):
    """A function: after ``only_replays(True)`` layers refuse to run, after ``only_replays(False)`` not."""
    plain = nn.Conv2d.forward
    refused = []

    def forward(self, *args):
        assert not refused, "a layer ran, not its recording"
        return plain(self, *args)

    monkeypatch.setattr(nn.Conv2d, "forward", forward)
    return lambda on: refused.append(on) if on else refused.clear()


def test_later_inputs_of_a_shape_run_kernels_alone(only_replays):
    for net, shape in (
        (small_net(), (4, 3, 11, 11)),
        (models.resnet18(10, small_input=True), (2, 3, 16, 16)),
    ):
        fast, plain = fc.optimize_for_inference(net), net.eval()
        inputs = [fc.randn(*shape) for _ in range(4)]
        inputs[2] = fc.tensor(
            np.ascontiguousarray(inputs[2].numpy().transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
        )
        want = [plain(x).numpy() for x in inputs]
        got = [fast(x).numpy() for x in inputs[:2]]
        only_replays(True)
        got += [fast(x).numpy() for x in inputs[2:]]
        only_replays(False)
        for a, b in zip(got, want):  # all at the end: a later result must not be written over an earlier one
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_what_changes_the_result_changes_the_recording():
    fast = fc.optimize_for_inference(small_net())
    x = fc.randn(2, 3, 11, 11)
    first = [fast(x).numpy() for _ in range(3)]
    fast.load_state_dict({k: v * 2 for k, v in fast.state_dict().items()})
    doubled = [fast(x).numpy() for _ in range(3)]
    fast[-1] = nn.Identity()
    shapes = [fast(x).shape for _ in range(3)]
    assert np.abs(doubled[0] - first[0]).max() > 1e-3 and set(shapes) == {(2, 64)}
    for results in (first, doubled):
        for y in results[1:]:
            np.testing.assert_array_equal(y, results[0])
    with pytest.raises(ValueError, match="conv2d: weight expects 3 input channels"):
        fast(fc.randn(2, 4, 11, 11))
    with fc.backend("numpy"):
        assert fast(x).shape == (2, 64)


def test_a_forward_that_looks_at_values_is_not_recorded():
    class Gate(nn.Module):
        def forward(self, x):
            return x if x.sum().item() > 0 else x * 0

    net = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), Gate())
    net[0].weight.data[:] = 1.0
    fast = copy.deepcopy(fc.optimize_for_inference(net))
    x = fc.ones(1, 1, 2, 2)
    assert [fast(sign * x).numpy().sum() for sign in (1, 1, 1, -1, -1, 1)] == [4, 4, 4, 0, 0, 4]


def test_several_threads_share_a_recording():
    fast = fc.optimize_for_inference(small_net())
    inputs = [fc.randn(2, 3, 11, 11) for _ in range(8)]
    with fc.no_grad():
        want = [fast(x).numpy() for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda x: fast(x).numpy(), inputs * 5))
    for a, b in zip(got, want * 5):
        np.testing.assert_array_equal(a, b)


def test_threads_that_meet_at_the_second_input_record_once(recordings):
    with fc.backend("cpu"):
        net, x = fc.optimize_for_inference(small_net()), fc.randn(2, 3, 11, 11)
        first = net(x).numpy()
        barrier = threading.Barrier(4)

        def call(_):
            with fc.backend("cpu"):
                barrier.wait()
                return net(x).numpy()

        with ThreadPoolExecutor(4) as pool:
            for y in pool.map(call, range(4)):
                np.testing.assert_array_equal(y, first)
    assert len(recordings) == 1 and len(net.forward.programs) == 1


# ------------------------------------------------------------------------------------- what records again
@pytest.fixture
def recordings(monkeypatch):
    """A list that gets one more entry with every recording."""
    from fastconv.backends import load

    engine, found = load("cpu"), []
    plain = engine.record
    monkeypatch.setattr(engine, "record", lambda *args: found.append(args) or plain(*args))
    return found


#: Changes of a net; each must be noticed by the net that it is done to, and by no other.
CHANGES = {
    "an option": lambda net: setattr(net[0], "padding", ((0, 2), (2, 0))),
    "an option of a folded norm": lambda net: setattr(net[1], "eps", 0.5),
    "a submodule": lambda net: net.__setitem__(3, nn.AvgPool2d(2)),
    "one more submodule": lambda net: net.append(nn.Sigmoid()),
    "a parameter": lambda net: setattr(net[7], "weight", nn.Parameter(fc.ones(5, 64))),
    "no bias": lambda net: setattr(net[0], "bias", None),
    "weights in place": lambda net: net[0].weight.data.mul_(2.0),
    "weights by data": lambda net: setattr(net[0].weight, "data", fc.ones(20, 3, 3, 3)),
    "statistics in place": lambda net: net[1].running_mean.add_(1.0),
    "a state": lambda net: net.load_state_dict({k: v * 2 for k, v in net.state_dict().items()}),
    "a forward": lambda net: setattr(net[5], "forward", F.relu),
    "training": lambda net: net[8].train(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_an_optimized_net_records_again_after_its_own_changes_only(change, recordings):
    with fc.backend("cpu"):
        x = fc.randn(2, 3, 11, 11)
        make = lambda: with_statistics(small_net().append(nn.Dropout(1.0)))  # noqa: E731
        net, other = (fc.optimize_for_inference(make()) for _ in range(2))
        before = [[n(x).numpy() for _ in range(3)][-1] for n in (net, other)]
        assert len(recordings) == 2
        small_net().train().eval()  # a net that is not optimized
        CHANGES[change](other)
        np.testing.assert_array_equal(net(x).numpy(), before[0])
        assert len(recordings) == 2
        after = [other(x).numpy() for _ in range(3)]
        assert after[0].shape != before[1].shape or np.abs(after[0] - before[1]).max() > 1e-3
        for y in after[1:]:
            np.testing.assert_array_equal(y, after[0])
        np.testing.assert_array_equal(net(x).numpy(), before[0])
        assert len(recordings) <= 3  # once more, for the changed net


def test_changes_of_nothing_do_not_record_again(recordings):
    """``eval()`` of a net that is in evaluation changes nothing, and ``zero_grad()`` changes no result."""
    with fc.backend("cpu"):
        net, x = fc.optimize_for_inference(small_net()), fc.randn(2, 3, 11, 11)
        for _ in range(4):
            net.eval().zero_grad()
            net(x)
    assert len(recordings) == 1


def test_a_module_that_two_nets_share_changes_both(recordings):
    with fc.backend("cpu"):
        x, last = fc.randn(2, 3, 11, 11), nn.ReLU()
        nets = [fc.optimize_for_inference(small_net()) for _ in range(2)]
        for n in nets:
            n.append(last)
            assert (n(x).numpy() >= 0).all() and (n(x).numpy() >= 0).all()
        assert len(recordings) == 2
        last.forward = lambda y: y - 100.0
        assert all((n(x).numpy() < 0).all() for n in nets)
