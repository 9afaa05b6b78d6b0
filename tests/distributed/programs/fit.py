"""A small run of ``train.fit`` on all ranks; it continues where its checkpoint ends.

``fit.py FOLDER [key=value ...]``: ``stop`` ends it by the callback after so many epochs, ``graph`` is 0 or 1,
``norm`` the kind of norm, ``dropout`` its rate, ``die=RANK,STEP`` kills a rank, ``signal=NAME,RANK,STEP``
sends one to a rank (STEP is ``e3`` for the third batch of evaluations), ``pause`` seconds are added to each
step, ``other=RANK`` gives a rank another data set. Rank 0 prints the history and a hash of the weights as
JSON.
"""

import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

import fastconv as fc
from fastconv import data, nn, optim, train
from fastconv import distributed as dist

folder, *options = sys.argv[1:]
given = dict(o.split("=") for o in options)
dist.init()
rank, size = dist.rank(), dist.world_size()
fc.manual_seed(0)
rng = np.random.default_rng(0)
x, y = rng.standard_normal((96, 2, 8, 8)).astype(np.float32), rng.integers(0, 3, 96)
if given.get("other") == str(rank):
    y = (y + 1) % 3
norm = {"none": nn.Identity, "batch": nn.BatchNorm2d, "sync": nn.SyncBatchNorm}[given.get("norm", "sync")]
net = nn.Sequential(
    nn.Conv2d(2, 8, 3, padding=1, bias=False),
    norm(8),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Dropout(float(given.get("dropout", 0))),
    nn.Linear(128, 3),
)
sampler = data.DistributedSampler((x, y)[1], seed=3)
batch = int(given.get("batch", 12 // size))
augment = data.transforms.horizontal_flip() if "flip" in given else None
train_loader = data.DataLoader((x, y), batch, sampler=sampler, seed=5, transform=augment)
optimizer = optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, 40)
scheduler.interval = "step"
counts = {True: 0, False: 0}  # of calls of the loss: in training, in evaluation


class CrossEntropyLoss(nn.CrossEntropyLoss):
    def forward(self, input, target):
        trains = fc.is_grad_enabled()
        counts[trains] += 1
        step = f"{'' if trains else 'e'}{counts[trains]}"
        time.sleep(float(given.get("pause", 0)))
        if given.get("die") == f"{rank},{step}":
            os.kill(os.getpid(), signal.SIGKILL)
        name, *where = given.get("signal", "").split(",")
        if where == [str(rank), step]:
            os.kill(os.getpid(), getattr(signal, name))
        return super().forward(input, target)


graph = bool(int(given["graph"])) if "graph" in given else None
history = train.fit(
    net,
    train_loader,
    data.DataLoader((x, y), 20),
    epochs=int(given.get("epochs", 5)),
    optimizer=optimizer,
    scheduler=scheduler,
    loss=CrossEntropyLoss() if {"die", "signal", "pause"} & given.keys() else nn.CrossEntropyLoss(),
    checkpoint=Path(folder) / "run.npz",
    checkpoint_every=3,
    progress=False,
    callback=lambda history: history[-1]["epoch"] >= float(given.get("stop", 1e9)),
    graph=graph,
    distributed=True,
)
digest = hashlib.sha256(b"".join(p.numpy().tobytes() for p in net.parameters())).hexdigest()
shown = [{k: v for k, v in p.items() if k != "images_per_second"} for p in history]
for other in dist.all_gather_object((digest, shown, history.stopped)):
    assert other == (digest, shown, history.stopped), "the ranks differ"
if rank == 0:
    print(json.dumps({"history": shown, "digest": digest, "stopped": history.stopped}))
