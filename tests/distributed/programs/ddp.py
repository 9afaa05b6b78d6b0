"""Small runs of DistributedDataParallel; ``ddp.py NAME`` runs the function of that name on all ranks."""

import sys

import numpy as np

import fastconv as fc
from fastconv import distributed as dist
from fastconv import nn, optim
from fastconv.nn.parallel import DistributedDataParallel

dist.init()
rank, size = dist.rank(), dist.world_size()


def mean_of_ranks(value):
    return dist.all_reduce(np.array(value, np.float64), "avg")


def weights():
    """Parameters and buffers of all ranks are those of rank 0, whatever their memory layout."""
    fc.manual_seed(rank)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    net[1].running_mean.fill_(float(rank))
    net[1].num_batches_tracked.fill_(rank)
    own = [p.numpy().copy() for p in net.parameters()]
    first = dist.broadcast_object(own)
    DistributedDataParallel(net)
    for p, want in zip(net.parameters(), first):
        np.testing.assert_array_equal(p.numpy(), want)
    assert not net[1].running_mean.numpy().any() and net[1].num_batches_tracked.item() == 0


def accumulation():
    """Two small batches under no_sync and without it give the gradient of the large one."""
    fc.manual_seed(0)
    net = nn.Linear(3, 2)
    ddp = DistributedDataParallel(net)
    x = np.random.default_rng(rank).standard_normal((4, 3)).astype(np.float32)
    want = mean_of_ranks([(x @ np.eye(3, dtype=np.float32)).sum(0)] * 2)
    for _ in range(2):
        net.zero_grad()
        with ddp.no_sync():
            ddp(x[:1]).sum().backward()
            assert np.allclose(net.weight.grad.numpy(), x[:1].sum(0))  # of this rank alone
        with ddp.no_sync():
            ddp(x[1:3]).sum().backward()
        ddp(x[3:]).sum().backward()
        np.testing.assert_allclose(net.weight.grad.numpy(), want, rtol=1e-5)
    # without zero_grad the averaged gradients are added up
    ddp(x).sum().backward()
    np.testing.assert_allclose(net.weight.grad.numpy(), 2 * want, rtol=1e-5)


def shared():
    """A weight that is used twice is sent when both gradients are there."""
    fc.manual_seed(0)
    layer = nn.Linear(3, 3)
    net = nn.Sequential(layer, nn.Tanh(), layer)
    ddp = DistributedDataParallel(net)
    x = np.random.default_rng(rank).standard_normal((4, 3)).astype(np.float32)
    ddp(x).sum().backward()
    found = layer.weight.grad.numpy().copy()
    net.zero_grad()
    net(x).sum().backward()
    np.testing.assert_allclose(found, mean_of_ranks(layer.weight.grad.numpy()), rtol=1e-5)


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.both, self.one, self.none = nn.Linear(3, 2), nn.Linear(3, 2), nn.Linear(3, 2)

    def forward(self, x):
        return self.both(x) + self.one(x) if rank == 0 else self.both(x)


def unused():
    """Parameters that some ranks or all leave out."""
    fc.manual_seed(0)
    net = Branches()
    ddp = DistributedDataParallel(net, find_unused_parameters=True)
    x = np.ones((2, 3), np.float32)
    for _ in range(2):
        net.zero_grad()
        ddp(x).sum().backward()
        assert net.none.weight.grad is None
        assert np.allclose(net.both.weight.grad.numpy(), 2)
        assert np.allclose(net.one.weight.grad.numpy(), 2 / size)
    strict = DistributedDataParallel(Branches())
    try:
        strict(x).sum().backward()
    except RuntimeError as e:
        assert "did not reach" in str(e) and "none.weight" in str(e), e
        assert ("4 parameters" in str(e)) == (rank > 0), e
    else:
        raise AssertionError("no error")


def uneven():
    """join(): rank r has r + 1 batches."""
    for divide_by_all in (True, False):
        fc.manual_seed(0)
        net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2, bias=False))
        ddp = DistributedDataParallel(net, bucket_cap_mb=1e-5)
        optimizer, steps = optim.SGD(ddp.parameters(), lr=0.1), 0
        with ddp.join(divide_by_initial_world_size=divide_by_all):
            for i in range(rank + 1):
                x = np.random.default_rng(10 * rank + i).standard_normal((4, 3)).astype(np.float32)
                optimizer.zero_grad()
                ddp(x).square().sum().backward()
                if i == size - 1:  # this rank is alone
                    alone = net[2].weight.grad.numpy().copy()
                    net.zero_grad()
                    with ddp.no_sync():
                        net(x).square().sum().backward()
                    ratio = size if divide_by_all else 1
                    np.testing.assert_allclose(
                        alone * ratio, net[2].weight.grad.numpy(), rtol=1e-3, atol=1e-5
                    )
                optimizer.step()
                steps += 1
        assert steps == rank + 1
        states = dist.all_gather_object([t.numpy() for t in net.state_dict().values()])
        for other in states:
            for a, b in zip(states[0], other):
                np.testing.assert_array_equal(a, b)
    try:
        with ddp.join(throw_on_early_termination=True):
            for _ in range(rank + 1):
                ddp(np.ones((4, 3), np.float32)).sum().backward()
    except RuntimeError as e:
        assert "DistributedDataParallel.join: rank 0 has no batch left" in str(e), e
    else:
        raise AssertionError("no error")


def different():
    """Ranks whose nets differ are refused, on all ranks, with the parameter's name."""
    nets = {
        "1.weight 2x4": nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 3 if rank == size - 1 else 2)),
        "no further parameter": nn.Sequential(nn.Linear(3, 4, bias=rank != size - 1)),
        "not trained": nn.Sequential(nn.Linear(3, 4).requires_grad_(rank != size - 1), nn.Linear(4, 2)),
        "float64": nn.Sequential(nn.Linear(3, 4).to("float64" if rank == size - 1 else "float32")),
    }
    for words, net in nets.items():
        try:
            DistributedDataParallel(net)
        except ValueError as e:
            assert f"rank {size - 1} has" in str(e) and words in str(e), e
        else:
            raise AssertionError(words)


def twice():
    """A second call of the net in one backward pass is refused where its gradients come too late."""
    net = nn.Linear(3, 2)
    ddp = DistributedDataParallel(net)
    x = fc.ones(2, 3)
    y = ddp(x).sum() + ddp(x).sum()
    y.backward()  # both uses are complete together
    assert np.allclose(net.weight.grad.numpy(), 4)


def sync_norm():
    """SyncBatchNorm against BatchNorm on the whole batch, with uneven parts, in every rank of input."""
    rng = np.random.default_rng(0)
    for shape in ((7, 3), (7, 3, 5), (7, 3, 4, 5), (7, 3, 2, 3, 2)):
        for backend in ("cpu", "numpy"):
            for options in ({}, {"affine": False}, {"track_running_stats": False}, {"momentum": None}):
                with fc.backend(backend):
                    x, gy = (rng.standard_normal(shape).astype("float32") for _ in range(2))
                    part = np.array_split(np.arange(7), size)[rank]
                    norms = []
                    for kind in (f"BatchNorm{max(len(shape) - 2, 1)}d", "SyncBatchNorm"):
                        norms.append(getattr(nn, kind)(3, **options))
                        if norms[-1].weight is not None:
                            norms[-1].weight.data[:] = np.array([1.0, -2.0, 0.5], "float32")
                    whole, own = fc.tensor(x, requires_grad=True), fc.tensor(x[part], requires_grad=True)
                    y, mine = norms[0](whole), norms[1](own)
                    np.testing.assert_allclose(
                        mine.detach().numpy(), y.detach().numpy()[part], rtol=1e-4, atol=1e-5
                    )
                    y.backward(gy)
                    mine.backward(gy[part])
                    np.testing.assert_allclose(
                        own.grad.numpy(), whole.grad.numpy()[part], rtol=1e-4, atol=1e-5
                    )
                    for a, b in zip(norms[0].buffers(), norms[1].buffers()):
                        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-6)
                    for a, b in zip(norms[0].parameters(), norms[1].parameters()):
                        total = dist.all_reduce(b.grad.numpy().astype("float64"))
                        np.testing.assert_allclose(a.grad.numpy(), total, rtol=1e-4, atol=1e-4)
                    norms[0].eval(), norms[1].eval()
                    np.testing.assert_allclose(
                        norms[0](x).detach().numpy(), norms[1](x).detach().numpy(), atol=1e-5
                    )


globals()[sys.argv[1]]()
print("ok\n", end="", flush=True)  # one write, because the ranks share a pipe
