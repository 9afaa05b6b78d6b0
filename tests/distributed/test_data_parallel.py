"""DistributedDataParallel and SyncBatchNorm under ``mpiexec``."""

import numpy as np
import pytest
from distributed.world import needs_mpi, run
from support.selection import full

import fastconv as fc
from fastconv import nn
from fastconv.nn.parallel import DistributedDataParallel

pytestmark = needs_mpi


def curve(ranks, *args, **options):
    losses, digest = run(ranks, "curve.py", *args, **options).splitlines()
    return np.array(losses.split(), float), digest


@pytest.mark.parametrize("norm", ["sync", *full("none", "relu")])
def test_the_loss_curve_is_that_of_one_process(norm):
    """50 steps with the same batch in all, divided among 1, 2 and 3 ranks; weights of a rank are its own."""
    one, _ = curve(1, norm)
    assert one[-1] < 0.5 * one[0]
    for ranks in (2, 3):
        several, digest = curve(ranks, norm)
        np.testing.assert_allclose(several, one, rtol=0, atol=1e-5)
        again, same = curve(ranks, norm)
        assert (several == again).all() and digest == same, "another run has other bits"


@pytest.mark.full
def test_the_order_of_sending_does_not_change_the_numbers():
    assert curve(2, "batch")[1] == curve(2, "batch", "overlap=0")[1]


@pytest.mark.parametrize(
    "what",
    ["accumulation", "sync_norm", *full("weights", "shared", "unused", "uneven", "different", "twice")],
)
@pytest.mark.parametrize("ranks", [2, *full(3)])
def test_on_ranks(ranks, what):
    assert run(ranks, "ddp.py", what).split() == ["ok"] * ranks


def test_with_one_rank_it_is_the_net():
    net = nn.Linear(3, 2)
    ddp = DistributedDataParallel(net, device_ids=[0])
    x = fc.ones(4, 3)
    assert (ddp(x).numpy() == net(x).numpy()).all()
    assert list(ddp.state_dict()) == ["module.weight", "module.bias"]
    net.load_state_dict(ddp.state_dict())
    with ddp.join(), ddp.no_sync():
        ddp(x).sum().backward()
    assert ddp.last_reduction.bytes == 0


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"device_ids": [0, 1]}, "device_ids must be None"),
        ({"process_group": 1}, "process_group must be None"),
        ({"bucket_cap_mb": 0}, "bucket_cap_mb must be above 0"),
    ],
)
def test_unsupported_arguments_are_refused(arguments, words):
    with pytest.raises((TypeError, ValueError), match=words):
        DistributedDataParallel(nn.Linear(2, 2), **arguments)
    with pytest.raises(ValueError, match="no parameter of the net requires a gradient"):
        DistributedDataParallel(nn.ReLU())
