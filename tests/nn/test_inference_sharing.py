"""``optimize_for_inference`` of nets whose modules are used more than once, in all ways Python allows."""

from __future__ import annotations

import contextlib
import copy
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support.selection import every

import fastconv as fc
from fastconv import nn
from fastconv.nn import functional as F

C = 4  # channels everywhere, so that any module may follow any other


def conv(bias=True):
    return nn.Conv2d(C, C, 3, padding=1, bias=bias)


def with_statistics(net):
    """The net in evaluation, every BatchNorm far from the identity."""
    rng = np.random.default_rng(1)
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d) and m.running_mean is not None:
            m.running_mean[...] = rng.standard_normal(C).astype("f4")
            m.running_var[...] = rng.uniform(0.5, 2, C).astype("f4")
            if m.weight is not None:
                m.weight.data[:] = rng.uniform(0.5, 1.5, C).astype("f4") * rng.choice([-1, 1], C).astype("f4")
                m.bias.data[:] = rng.standard_normal(C).astype("f4")
    return net.eval()


def same(net, x, fast=None):
    """The optimized net, which computes what ``net`` does: at first, once packed, and recorded."""
    fast = fast or fc.optimize_for_inference(net)
    want = net(x).numpy()
    for _ in range(3):
        np.testing.assert_allclose(fast(x).numpy(), want, rtol=0, atol=1e-5 * np.abs(want).max())
    return fast


class Calls(nn.Module):
    """``forward`` is a function of this module; the modules are its attributes."""

    def __init__(self, forward, **modules):
        super().__init__()
        self.function = forward
        for name, m in modules.items():
            setattr(self, name, m)

    def forward(self, x):
        return self.function(self, x)


def twice(self, x):
    return self.f(self.f(x))


def shared():
    """Nets by the way in which they share modules."""
    c, n, r = conv(), nn.BatchNorm2d(C), nn.ReLU()
    f = nn.Sequential(c, n, r)
    yield "a layer twice in one Sequential", nn.Sequential(c, n, r, c, r, c, nn.BatchNorm2d(C))
    yield "a Sequential twice", nn.Sequential(f, f)
    yield "two parents", nn.Sequential(nn.Sequential(f, nn.ReLU()), Calls(twice, f=f), f)
    yield (
        "one convolution, two BatchNorms",
        nn.Sequential(nn.Sequential(c, nn.BatchNorm2d(C)), nn.Sequential(c, n)),
    )
    yield "one BatchNorm, two convolutions", nn.Sequential(c, n, conv(), n, r, n)
    yield "one ReLU", nn.Sequential(c, r, conv(), n, r)
    yield "two attributes", Calls(lambda self, x: self.b(self.a(x)) + self.a(self.b(x)), a=f, b=f)
    yield "the first of a Sequential", Calls(lambda self, x: self.f(x) + self.f[0](x), f=f)
    yield "the middle of a Sequential", Calls(lambda self, x: self.f(x) * self.f[1](x), f=f)
    yield "part of a Sequential", Calls(lambda self, x: self.f[:2](x) - self.f(x), f=f)
    yield "BatchNorm elsewhere", Calls(lambda self, x: self.f(x) + self.n(x), f=f, n=n)
    yield "a result used twice", Calls(lambda self, x: (y := self.c(x)) + self.n(y), c=c, n=n)

    def one_by_one(self, x):
        found = [x]
        for m in self.f:
            found.append(m(found[-1]))
        return sum(found)

    yield "all results", Calls(one_by_one, f=f)
    yield (
        "in a ModuleList",
        Calls(lambda self, x: self.f(x) + self.more[0](self.more[1](x)), f=f, more=nn.ModuleList([c, n])),
    )
    aliased = Calls(lambda self, x: self.f(x) + self.alias(x) + self.plain[0](x), f=f, alias=c)
    aliased.plain = [n]
    yield "in a list of Python's", aliased
    tied = nn.Sequential(nn.Sequential(conv(), n), nn.Sequential(conv(), nn.BatchNorm2d(C)), conv())
    tied[1][0].weight = tied[2].weight = tied[0][0].weight
    yield "one weight", tied
    block = fc.models.resnet.BasicBlock(C, C, 1)
    outside = Calls(lambda self, x: self.c(x) + self.n(x), c=block.conv2, n=block.bn1)
    yield "a block's layers", nn.Sequential(block, outside, block)
    block = fc.models.resnet.BasicBlock(C, C, 1)
    block.bn1 = nn.BatchNorm2d(C, track_running_stats=False)
    yield "a block that cannot be merged", nn.Sequential(block, c)


class Doubled(fc.models.resnet.BasicBlock):
    def forward(self, x):
        return super().forward(x) * 2


class Around(nn.Module):
    """A block of a user: ``norm(conv(x)) + x``, then ReLU."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = conv(), nn.BatchNorm2d(C, activation="relu")

    def forward(self, x):
        return self.norm(self.conv(x), x)


def test_a_block_of_a_user(backend):
    """The sum is computed by the convolution's kernel, with nothing left for the norm."""
    net, x = with_statistics(nn.Sequential(Around(), Around())), fc.randn(2, C, 6, 5)
    (program,) = same(net, x).forward.programs
    assert [call.op for call in program.calls] == ["conv_fwd"] * 2


def test_a_block_that_adds_to_the_one_that_it_inherits_from(backend):
    net, x = with_statistics(nn.Sequential(Doubled(C, C, 1))), fc.randn(2, C, 6, 5)
    same(net, x)


SHARED = [name for name, _ in shared()]


@pytest.mark.parametrize("what", SHARED)
def test_modules_that_are_shared(what, backend):
    net = with_statistics(dict(shared())[what])  # made here, on the backend of the test
    x = fc.randn(2, C, 6, 5)
    fast = same(net, x)
    same(net, x, copy.deepcopy(fast))
    same(net, x, fc.optimize_for_inference(fast))


CHAINS = {
    "as it says": lambda self, x: self.a(self.n(self.c(x))),
    "a result used twice": lambda self, x: (y := self.c(x)) + self.n(y) + self.a(y),
    "not all": lambda self, x: self.n(self.c(x)),
    "another order": lambda self, x: self.c(self.n(self.a(x))),
    "something between": lambda self, x: self.a(self.n(F.sigmoid(self.c(x)))),
    "something after each": lambda self, x: self.a(self.n(self.c(x)).abs()).abs(),
    "twice": lambda self, x: self.a(self.n(self.c(self.a(self.n(self.c(x)))))),
    "two at a time": lambda self, x: self.two(self.c(x), self.c(x * 2)),
    "changed in between": lambda self, x: self.changed(self.c(x)),
    "the end alone": lambda self, x: self.a(x) + self.n(x),
}


@pytest.mark.parametrize("how", CHAINS)
@pytest.mark.parametrize("inside", ["layers", "Sequential"])
def test_what_forward_does_between_layers(how, inside, backend):
    def two(y, z):
        return net.a(net.n(z)) - net.a(net.n(y))

    def changed(y):
        y[0] = 0.5
        return net.a(net.n(y))

    parts = {"c": conv(), "n": nn.BatchNorm2d(C), "a": nn.ReLU()}
    if inside == "Sequential":
        parts = {
            "c": nn.Sequential(conv(), nn.ReLU()),
            "n": nn.Sequential(nn.BatchNorm2d(C), conv()),
            "a": nn.Sequential(),
        }
    net = Calls(CHAINS[how], **parts)
    net.two, net.changed = two, changed
    with_statistics(net)
    x = fc.randn(2, C, 6, 5)
    want = net(x).numpy()
    fast = fc.optimize_for_inference(net)
    net = fast  # for the two functions
    with contextlib.nullcontext() if how != "changed in between" else pytest.warns(match="changes in place"):
        for _ in range(3):
            np.testing.assert_allclose(fast(x).numpy(), want, rtol=0, atol=1e-5 * np.abs(want).max())


def test_modules_of_an_optimized_net_alone(backend):
    """They compute what they are, also in training mode and with gradients."""
    net = with_statistics(Calls(CHAINS["as it says"], c=conv(), n=nn.BatchNorm2d(C), a=nn.ReLU()))
    x = fc.randn(1, C, 5, 5)
    fast = same(net, x)
    for name in ("c", "n", "a"):
        ours, theirs = getattr(fast, name), getattr(net, name)
        for _ in range(3):
            np.testing.assert_allclose(ours(x).numpy(), theirs(x).numpy(), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="conv2d"):
        fast.c(fc.zeros(1, 1, 5, 5))


def test_results_that_a_forward_keeps(backend):
    """Results that a ``forward`` keeps do not change when weights and input do."""

    def forward(self, x):
        self.kept = self.c(x)
        return {"result": [self.c(x)]}

    net = with_statistics(Calls(forward, c=conv(), n=nn.BatchNorm2d(C)))
    fast = fc.optimize_for_inference(net)
    x = fc.randn(1, C, 5, 5)
    want = net.c(x).numpy()
    result, alone = fast(x)["result"][0], fast.c(x)
    x.data[...] = 0.0
    fast.c.weight.data[...] = 0.0
    for y in (result, fast.kept, alone):
        np.testing.assert_allclose(y.numpy(), want, rtol=1e-5, atol=1e-6)


def test_constants_that_a_net_returns(backend):
    """A caller may change them in place."""
    net = Calls(lambda self, x: (self.c.bias * 2, x + 1), c=conv()).eval()
    fast, x = fc.optimize_for_inference(net), fc.randn(1, C, 2, 2)
    want = net(x)[0].numpy()
    for _ in range(4):
        y = fast(x)[0]
        np.testing.assert_array_equal(y.numpy(), want)
        y.zero_()


def test_arguments_of_any_kind(backend):
    """Tensors by position and by name are inputs of the program, and each number has its own program."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.c = conv()

        def forward(self, x, scale=1, *, mask=None, shift=None):
            y = self.c(x) * scale
            y = y if mask is None else y * mask
            return y if shift is None else y + shift[0]

    net = Net().eval()
    fast, x, mask = fc.optimize_for_inference(net), fc.randn(1, C, 5, 5), fc.randn(5, 5)
    for _ in range(3):
        for args, kwargs in (((x,), {}), ((x, 2), {}), ((x, 2.0), {"mask": mask}), ((x,), {"mask": x * 2})):
            np.testing.assert_allclose(
                fast(*args, **kwargs).numpy(), net(*args, **kwargs).numpy(), rtol=1e-5, atol=1e-6
            )
    assert len(fast.forward.programs) == 4
    with pytest.warns(match="an argument is neither a tensor nor a number: list"):
        got = fast(x, shift=[x])
    np.testing.assert_allclose(got.numpy(), net(x, shift=[x]).numpy(), rtol=1e-5, atol=1e-6)
    with pytest.raises(RuntimeError, match="no gradients"):
        fast(x, mask=fc.ones(5, 5, requires_grad=True))


def test_the_reason_is_said_once(backend):
    """A net that cannot be captured and has no parts runs layer by layer."""
    net = Calls(lambda self, x: self.c(x) if x.sum() > 0 else -self.c(x), c=conv()).eval()
    fast, x = fc.optimize_for_inference(net), fc.ones(1, C, 3, 3)
    for i in range(4):
        with contextlib.nullcontext() if i else pytest.warns(UserWarning) as found:
            x = -x
            np.testing.assert_allclose(fast(x).numpy(), net(x).numpy(), rtol=1e-5, atol=1e-6)
        if found:
            (one,) = found
            assert str(one.message).startswith(
                "optimize_for_inference: the net cannot be captured as a program (the numbers of a tensor "
                "(scalar) are read by Tensor.__bool__, at "
            )
            assert one.filename == __file__ and str(one.message).endswith(
                "; its parts are optimized one by one"
            )


def test_the_parts_of_a_net_that_is_no_program(backend):
    """Of a list, of a list in it, and a part of a part that cannot be captured either. A part that is called
    on its own has gradients."""

    def branches(self, x):
        return self.inner(x) if x.sum() > 0 else self.inner(-x)

    def chain():
        return nn.Sequential(conv(), nn.BatchNorm2d(C), nn.ReLU())

    branching = Calls(branches, inner=chain())
    parts = nn.ModuleList([chain(), nn.ModuleList([chain(), branching])])
    net = Calls(lambda self, x: branches(branching, x) + self.parts[1][1](self.parts[1][0](self.parts[0](x))))
    net.parts = parts
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.running_mean[:], m.running_var[:] = 0.5, 2.0
    net, x = net.eval(), fc.randn(2, C, 5, 5)
    fast = fc.optimize_for_inference(net)
    with pytest.warns(match="its parts are optimized one by one") as found:
        fast(x)
    assert len(found) == 1
    for _ in range(3):
        x = -x
        np.testing.assert_allclose(fast(x).numpy(), net(x).numpy(), rtol=1e-4, atol=1e-5)
    (first, (second, third)) = fast.parts
    for part in (first, second, third.inner):
        (program,) = part.forward.programs
        assert [c.op for c in program.calls] == ["conv_fwd"]
    assert not third.forward.programs and "forward" not in vars(first[0])
    assert "forward" not in vars(net.parts[0])
    y = fc.ones(1, C, 5, 5, requires_grad=True)
    first(y).sum().backward()
    assert y.grad is not None
    again = fc.optimize_for_inference(fast)
    assert not any("forward" in vars(m) for m in again.parts.modules())


def test_a_net_that_counts_its_calls(backend):
    """The second call shows that the program does not repeat what the net does."""
    seen = []

    def forward(self, x):
        seen.append(x)
        return self.c(x) * len(seen)

    fast, x = fc.optimize_for_inference(Calls(forward, c=conv())), fc.ones(1, C, 3, 3)
    first = fast(x).numpy()
    with pytest.warns(match="computes something else for other values"):
        fast(x)
    before = fast(x).numpy()
    assert np.abs(fast(x).numpy() - before - first).max() < 1e-5


def test_a_net_that_assigns_attributes(backend):
    """Each assignment is a change of the net, so a net that assigns in each call is not captured for ever;
    one that does so for a new shape only is."""

    def always(self, x):
        self.calls = getattr(self, "calls", 0) + 1
        return self.c(x) * self.calls

    def once(self, x):
        if getattr(self, "size", None) != x.shape:
            self.size = x.shape
        return self.c(x)

    net, x = Calls(always, c=conv()).eval(), fc.ones(1, C, 3, 3)
    fast = fc.optimize_for_inference(net)
    with pytest.warns(match="its forward assigns attributes in each call"):
        for _ in range(8):
            np.testing.assert_allclose(fast(x).numpy(), net(x).numpy(), rtol=1e-5, atol=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fast = fc.optimize_for_inference(Calls(once, c=conv()))
        for size in range(3, 12):
            for _ in range(4):
                fast(fc.ones(1, C, size, 3))


def test_a_teacher_in_a_recorded_step():
    """Steps of training that are recorded call an optimized net."""
    fc.manual_seed(0)
    body = nn.Sequential(conv(), nn.BatchNorm2d(C), nn.ReLU(), nn.Flatten(), nn.Linear(9 * C, 2))
    teacher, xs = fc.optimize_for_inference(with_statistics(body)), [fc.randn(2, C, 3, 3) for _ in range(6)]
    losses = []
    for record in (False, True):
        fc.manual_seed(1)
        net = nn.Sequential(nn.Flatten(), nn.Linear(9 * C, 2))
        optimizer = fc.optim.SGD(net.parameters(), lr=0.1)

        def step(x, y, net=net, optimizer=optimizer):
            optimizer.zero_grad()
            with fc.no_grad():
                wanted = teacher(x)
            loss = ((net(x) - wanted) ** 2).mean()
            loss.backward()
            optimizer.step()
            return loss

        run = fc.compile(step, net, optimizer) if record else step
        losses.append([run(x, fc.zeros(2)).item() for x in xs])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)


def random_net(rng):
    """Modules that are built from modules of one pool, so that many are shared."""
    pool = [
        conv(),
        conv(False),
        nn.BatchNorm2d(C),
        nn.BatchNorm2d(C, affine=False),
        nn.BatchNorm2d(C, activation="relu"),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Identity(),
        nn.Conv2d(C, C, 1, groups=2),
        nn.Sigmoid(),
    ]
    weights = [pool[0].weight, pool[1].weight]
    pool.append(conv())
    pool[-1].weight = weights[rng.integers(2)]

    def pick():
        return pool[rng.integers(len(pool))]

    for _ in range(8):
        kind = rng.integers(6)
        some = [pick() for _ in range(rng.integers(1, 5))]
        if kind < 3:
            pool.append(nn.Sequential(*some))
        elif kind == 3:
            i = int(rng.integers(len(some)))
            pool.append(Calls(lambda self, x, i=i: (self.f(x) + self.f[i](x)) * 0.5, f=nn.Sequential(*some)))
        elif kind == 4:
            pool.append(Calls(lambda self, x: (self.a(x) + self.b(self.a(x))) * 0.5, a=pick(), b=pick()))
        else:
            pool.append(Calls(lambda self, x: self.b(self.a(x)), a=pick(), b=pick()))
    return nn.Sequential(*pool[-4:], pick())


@pytest.mark.parametrize("seed", every(range(24), 8))
def test_random_nets_of_shared_modules(seed, backend):
    rng = np.random.default_rng(seed)
    net = with_statistics(random_net(rng))
    x = fc.tensor(rng.standard_normal((2, C, 5, 4)).astype("f4"))
    same(net, x)
    same(net.double(), x.double())


# ------------------------------------------------------------------------------------------------- afterwards
def small():
    return with_statistics(
        nn.Sequential(nn.Sequential(conv(), nn.BatchNorm2d(C)), nn.ReLU(), nn.Dropout(), conv(), nn.ReLU())
    )


def test_state_is_that_of_the_net(backend):
    """A state that was trained later can be loaded; the folded and packed weights follow."""
    net, later, x = small(), small(), fc.randn(1, C, 5, 5)
    later[0][1].running_mean[...] = 3.0
    fast = same(net, x)
    assert fast.state_dict().keys() == net.state_dict().keys() and repr(fast) == repr(net)
    fast.load_state_dict(later.state_dict())
    same(later, x, fast)


@pytest.mark.parametrize(
    "change",
    [
        lambda net: net[0][0].weight.data.__setitem__(..., 0.5),
        lambda net: net[0][1].running_var.__setitem__(..., 3.0),
        lambda net: setattr(net[0][1], "eps", 0.5),
        lambda net: setattr(net[0][0], "weight", nn.Parameter(fc.ones(C, C, 3, 3))),
        lambda net: setattr(net[0][0], "padding", 0),
        lambda net: setattr(net[3], "bias", None),
        lambda net: net[0].__setitem__(1, nn.Identity()),
        lambda net: net[0].append(nn.Sigmoid()),
        lambda net: net.__setitem__(1, conv()),
        lambda net: setattr(net[1], "forward", F.tanh),
    ],
)
def test_changes_of_an_optimized_net_take_effect(change, backend):
    fc.manual_seed(0)
    net, x = small(), fc.randn(1, C, 5, 5)
    fast = same(net, x)
    before = net(x).numpy()
    fc.manual_seed(1)
    change(net)
    fc.manual_seed(1)
    change(fast)
    net.eval(), fast.eval()
    same(net, x, fast)
    after = net(x).numpy()
    assert after.shape != before.shape or np.abs(after - before).max() > 1e-3


def test_dropout_that_is_switched_on_again(backend):
    fast = fc.optimize_for_inference(nn.Sequential(nn.Dropout(0.5), nn.Identity()))
    x = fc.ones(4000)
    assert (fast(x).numpy() == 1).all()
    fast[0].train()
    assert [0.4 < (fast(x).numpy() == 0).mean() < 0.6 for _ in range(3)] == [True] * 3


def test_inputs_of_any_kind(backend):
    """Recordings of one kind of input do not answer for another."""
    net = small()
    fast = fc.optimize_for_inference(net)
    big = np.random.default_rng(0).standard_normal((6, 2 * C, 9, 9)).astype("f4")
    views = [
        big[::2, ::2],
        big[:3, C:, ::-1],
        big.transpose(0, 1, 3, 2)[3:, :C],
        big[:3, :C, 1:8, 1:8],
        big[:1, :C],
        np.broadcast_to(big[:1, :C], (3, C, 9, 9)),
        big[:0, :C],
        big[0, :C],
    ]
    for _ in range(3):
        for v in views:
            if v.ndim == 3:
                v = fc.tensor(v)[None]
            want = net(fc.from_numpy(v) if isinstance(v, np.ndarray) else v).numpy()
            np.testing.assert_allclose(fast(v).numpy(), want, rtol=1e-5, atol=1e-5)
        with pytest.raises(TypeError, match="conv2d: .*float64"):
            fast(big[:2, :C].astype("f8"))


def test_an_optimized_net_inside_another(backend):
    inner = small()
    fast, x = fc.optimize_for_inference(inner), fc.randn(1, C, 5, 5)
    resnet = fc.models.ResNet(fc.models.resnet.BasicBlock, (1, 1, 1, 1), 3, C, True).eval()
    for last in (fast, copy.deepcopy(fast)):
        same(nn.Sequential(inner, conv := nn.Conv2d(C, C, 1)).eval(), x, nn.Sequential(last, conv).eval())
    deeper = fc.optimize_for_inference(nn.Sequential(inner, nn.Identity()))
    deeper[1] = fc.optimize_for_inference(resnet)  # which records on its own
    same(nn.Sequential(inner, resnet), x, deeper)


@pytest.mark.full
@pytest.mark.parametrize(
    "make",
    [
        small,
        conv,
        lambda: fc.models.resnet18(5, C, True),
        lambda: with_statistics(dict(shared())["a block's layers"][0]),
    ],
)
@pytest.mark.parametrize("through", [lambda net: pickle.loads(pickle.dumps(net)), copy.deepcopy])
def test_pickles_and_copies(make, through, backend):
    net, x = make().eval(), fc.randn(1, C, 8, 8)
    fast = same(net, x)
    for twin in (through(fast), through(fc.optimize_for_inference(net))):
        same(net, x, twin)
        with pytest.raises(RuntimeError, match="evaluates only"):
            copy.deepcopy(twin).train()(x)


def test_pickles_of_nets_that_share_modules(backend):
    net = fc.models.resnet18(5, C, True).eval()
    net.more = Links(net.conv1, net.bn1)
    x = fc.randn(1, C, 8, 8)
    fast = pickle.loads(pickle.dumps(fc.optimize_for_inference(net)))
    same(net, x, fast)
    assert fast.more.conv is fast.conv1
    same(net.more, x, fast.more)


class Links(nn.Module):
    def __init__(self, conv, norm):
        super().__init__()
        self.conv, self.norm = conv, norm

    def forward(self, x):
        return self.norm(self.conv(x))


def test_threads():
    """Several threads run one net on inputs of several shapes at once."""
    net = with_statistics(
        nn.Sequential(dict(shared())["the first of a Sequential"], small(), Links(conv(), nn.BatchNorm2d(C)))
    )
    fast = fc.optimize_for_inference(net)
    inputs = [fc.randn(1 + i % 3, C, 6, 6) for i in range(12)]
    want = [net(x).numpy() for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        for a, b in zip(pool.map(lambda x: fast(x).numpy(), inputs * 4), want * 4):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
