"""A small training run that kills itself: ``python killed.py CHECKPOINT EVENT`` (a negative EVENT: never).

Events are counted at every step and round every system call that makes a checkpoint appear. No seed is set:
everything that a resumed run repeats comes from the checkpoint. Prints the number of events and a hash of the
final weights.
"""

import hashlib
import os
import signal
import sys

import numpy as np

from fastconv import data, nn, optim, train
from fastconv.nn import functional as F

path, last, events = sys.argv[1], int(sys.argv[2]), 0


def event():
    global events
    if events == last:
        os.kill(os.getpid(), signal.SIGKILL)
    events += 1


def counted(function):
    def call(*args):
        event()
        result = function(*args)
        event()
        return result

    return call


def loss(out, y):
    event()
    return F.cross_entropy(out, y)


os.replace, os.fsync = counted(os.replace), counted(os.fsync)
rng = np.random.default_rng(0)
x, y = rng.random((30, 1, 6, 6), np.float32), rng.integers(0, 3, 30)
net = nn.Sequential(
    nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.4), nn.Linear(48, 3)
)
augment = data.transforms.compose(
    data.transforms.pad_crop(1), data.transforms.horizontal_flip(), data.transforms.cutout(2)
)
loader = data.DataLoader((x, y), 8, shuffle=True, transform=augment)
opt = optim.SGD(net.parameters(), 0.05, momentum=0.9, nesterov=True)
schedule = optim.lr_scheduler.OneCycleLR(opt, 0.1, total_steps=12)
print("begins", flush=True)
train.fit(
    net,
    loader,
    data.DataLoader((x, y), 30),
    epochs=3,
    optimizer=opt,
    scheduler=schedule,
    loss=loss,
    checkpoint=path,
    checkpoint_every=3,
    progress=False,
)
print(events, hashlib.sha256(b"".join(t.numpy().tobytes() for t in net.state_dict().values())).hexdigest())
