"""50 steps of a small net on all ranks: ``curve.py NORM [OPTION=VALUE ...]``.

Each step has a batch of 12, which the ranks divide. Rank 0 prints the mean loss of each step, and a hash of
the final weights of all ranks.
"""

import hashlib
import sys

import numpy as np

import fastconv as fc
from fastconv import distributed as dist
from fastconv import nn, optim
from fastconv.nn.parallel import DistributedDataParallel

norm, *options = sys.argv[1:]
dist.init()
rank, size = dist.rank(), dist.world_size()
fc.manual_seed(rank)  # weights of rank 0 count
norms = {"none": nn.Identity, "batch": nn.BatchNorm2d, "sync": nn.BatchNorm2d, "relu": nn.BatchNorm2d}
more = {"activation": "relu"} if norm == "relu" else {}
net = nn.Sequential(
    nn.Conv2d(2, 8, 3, padding=1),
    norms[norm](8, **more),
    nn.ReLU(),
    nn.Conv2d(8, 6, 3, stride=2, groups=2, bias=False),
    norms[norm](6, **more),
    nn.Flatten(),
    nn.Linear(6 * 9, 40),
    nn.ReLU(),
    nn.Linear(40, 3),
)
if size == 1:  # the same weights as rank 0 of several
    fc.manual_seed(0)
if norm in ("sync", "relu"):
    net = nn.SyncBatchNorm.convert_sync_batchnorm(net)
ddp = DistributedDataParallel(
    net, bucket_cap_mb=0.004, **{k: float(v) for k, v in (o.split("=") for o in options)}
)
optimizer = optim.SGD(ddp.parameters(), lr=0.05, momentum=0.9)
rng = np.random.default_rng(1)
x, y = rng.standard_normal((48, 2, 8, 8)).astype(np.float32), rng.integers(0, 3, 48)
losses = []
for step in range(50):
    order = np.random.default_rng(step).permutation(48)[:12]
    mine = order[rank::size]
    loss = nn.functional.cross_entropy(ddp(x[mine]), y[mine])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(dist.all_reduce(fc.tensor([loss.item()], dtype="float64"), "avg").item())
digest = hashlib.sha256(b"".join(p.numpy().tobytes() for p in net.parameters())).hexdigest()
digests = set(dist.all_gather_object(digest))
if size > 1:
    assert ddp.last_reduction.buckets >= 3 and ddp.last_reduction.bytes > 4 * 2000, ddp.last_reduction
    for p in net.parameters():  # views of the buckets
        assert not p.grad.array.flags.owndata
if rank == 0:
    assert len(digests) == 1, "the ranks have different weights"
    print(" ".join(f"{value!r}" for value in losses))
    print(digest)
