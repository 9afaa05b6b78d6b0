"""Training steps that are recorded and replayed on the CPU: the same bits as ordinary steps."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from support.selection import full

import fastconv as fc
from fastconv import nn, optim, train
from fastconv.nn import functional as F

OPTIMIZERS = {
    "SGD": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=1e-3),
    "AdamW": lambda p: optim.AdamW(p, lr=1e-2),
}


class Net(nn.Module):
    """Branches, dropout, norms, small and large arrays."""

    def __init__(self):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.conv2, self.norm2 = nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.BatchNorm2d(16)
        self.norm3 = nn.BatchNorm2d(16)
        self.squeeze, self.group = nn.Linear(32, 32), nn.GroupNorm(4, 32)
        self.head, self.calls = nn.Linear(32 * 16, 10), 0

    def forward(self, x):
        self.__dict__["calls"] += 1
        y = F.relu6(self.norm1(self.conv1(x)))
        y = F.relu(self.norm2(self.conv2(y)))
        z = F.silu(self.norm3(self.conv1(x)))
        z = fc.cat([y, z], 1)
        z = z * F.sigmoid(self.squeeze(z.mean((2, 3))))[:, :, None, None]
        z = F.max_pool2d(self.group(z), 3)
        z += z[:, :1]
        return self.head(F.dropout(z.flatten(1), 0.3, self.training))


def steps(net, optimizer, **options):
    def step(x, y):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y, **options)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        return loss

    return step


def batch(seed, n=8):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, 3, 12, 12)).astype(np.float32), rng.integers(0, 10, n)


@pytest.fixture(autouse=True)
def on_the_cpu():
    with fc.backend("cpu"):
        yield


@pytest.mark.parametrize("kind", ["AdamW", *full("SGD")])
def test_the_same_bits(kind):
    """Batches of two sizes, a schedule, labels to ignore, weights that are loaded in between."""
    results = []
    for graphed in (False, True):
        fc.manual_seed(0)
        net = Net()
        optimizer = OPTIMIZERS[kind](net.parameters())
        schedule = optim.lr_scheduler.StepLR(optimizer, 4, 0.5)
        step = steps(net, optimizer, ignore_index=3, label_smoothing=0.1)
        call, losses = (train.graphed(step, net, optimizer) if graphed else step), []
        for i in range(12):
            losses.append(call(*map(fc.tensor, batch(i, 5 if i == 6 else 8))).item())
            schedule.step()
            if i == 8:
                net.load_state_dict({k: v * 0.5 for k, v in net.state_dict().items()})
        state = {k: v.numpy().tobytes() for k, v in net.state_dict().items()}
        results.append((losses, state, fc.random.get_state(), net.calls))
    (*plain, plain_calls), (*replayed, calls) = results
    assert plain == replayed
    assert plain_calls == 12 and calls < 10  # no Python in replays


def test_fit_gives_the_same_bits():
    results = []
    for graph in (False, None):
        fc.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(800, 10)
        )
        loader = fc.data.DataLoader(batch(1, 44), 8, shuffle=True)
        history = train.fit(net, loader, epochs=2, progress=False, graph=graph)
        state = {k: v.numpy().tobytes() for k, v in net.state_dict().items()}
        results.append((state, [p["train_loss"] for p in history]))
    assert results[0] == results[1]


def test_a_label_that_is_no_class_is_an_error_in_replays():
    net = Net()
    call = train.graphed(steps(net, o := optim.SGD(net.parameters(), lr=0.1)), net, o)
    for i in range(4):
        call(*batch(i))
    x, y = batch(9)
    with pytest.raises(ValueError, match="cross_entropy: target has a label that is not a class"):
        call(x, np.where(y == y[0], 10, y))


@pytest.mark.parametrize(
    ("extra", "why"),
    [
        (lambda loss: loss.item(), "values are read on the host"),
        (lambda loss: fc.rand(2), "random numbers are drawn outside dropout"),
    ],
)
def test_steps_that_cannot_be_recorded_run_as_usual(extra, why):
    net = Net()
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    plain = steps(net, optimizer)

    def step(x, y):
        loss = plain(x, y)
        extra(loss)
        return loss

    call = train.graphed(step, net, optimizer)
    with pytest.warns(UserWarning, match=f"graphed: the step cannot be recorded as a graph .{why}"):
        for i in range(3):
            call(*batch(i))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = net.calls
        call(*batch(4))
    assert net.calls == before + 1


def test_a_second_optimizer_is_noticed():
    net = Net()
    first, second = (optim.Adam(p.parameters()) for p in (net.conv1, net.head))
    plain = steps(net, first)
    call = train.graphed(lambda x, y: (plain(x, y), second.step())[0], net, first)
    with pytest.warns(UserWarning, match="parameters change that are not the optimizer's"):
        for i in range(3):
            call(*batch(i))


def test_a_change_of_the_net_is_noticed():
    net = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(3 * 144, 10))
    optimizer = optim.SGD(net.parameters(), lr=0.0)
    call = train.graphed(steps(net, optimizer), net, optimizer)
    noisy = {call(*batch(0)).item() for _ in range(6)}
    net.eval()
    assert len(noisy) == 6 and len({call(*batch(0)).item() for _ in range(5)}) == 1


def test_fit_says_nothing_of_what_it_was_not_asked():
    """A loss that reads its labels on the host, with class weights, is trained step by step."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 144, 10), nn.LogSoftmax(1))
    loss = nn.NLLLoss(weight=fc.ones(10), reduction="sum")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train.fit(net, [batch(i) for i in range(4)], loss=loss, progress=False)
    with pytest.warns(UserWarning, match="fit: the step cannot be recorded"):
        train.fit(net, [batch(i) for i in range(4)], loss=loss, progress=False, graph=True)


def test_relu_behind_a_norm_is_one_op(monkeypatch):
    """Where nothing else reads what is between them; the bits of all other results are compared."""
    from fastconv.backends.cpu.norm_and_relu import Watched

    found, plain = [], Watched.same
    monkeypatch.setattr(Watched, "same", lambda *both: found.append(plain(*both)) or found[-1])
    net = Net()
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    call = train.graphed(steps(net, optimizer), net, optimizer)
    for i in range(3):
        call(*batch(i))
    assert found == [True]
