"""One rank of ``scaling.py``: ``scaling_worker.py JSON`` times training steps, rank 0 prints JSON.

The job has ``engine`` (fastconv, torch), ``net``, ``size`` (pixels), ``batch`` (of this rank), ``threads``,
``steps``, ``overlap``, ``timeline``, and for PyTorch's gloo ``rank``, ``ranks`` and ``port``. The answer has
the seconds of each step, and what the gradients' transfers took. With ``timeline`` it has the time at which
each gradient is ready, counted from the beginning of the backward pass, and the bytes of each.
"""

from __future__ import annotations

import json
import sys
from statistics import median
from time import perf_counter

import numpy as np

CLASSES = 10


def example(job: dict, rank: int):
    rng = np.random.default_rng(rank)
    x = rng.standard_normal((job["batch"], 3, job["size"], job["size"])).astype(np.float32)
    return x, rng.integers(0, CLASSES, job["batch"])


def timed(step, job: dict, wait) -> list[float]:
    """Seconds of each step; the first ones compile or are recorded, and do not count."""
    times = []
    for i in range(job["steps"] + 4):
        wait()
        start = perf_counter()
        step()
        if i >= 4:
            times.append(perf_counter() - start)
    return times


def fastconv(job: dict) -> dict | None:
    import fastconv as fc
    from fastconv import distributed, models, nn, optim, train

    distributed.init()
    fc.set_num_threads(job["threads"])
    fc.manual_seed(0)
    x, y = example(job, distributed.rank())
    more = {"small_input": True} if job["size"] <= 64 and job["net"].startswith("resnet") else {}
    net = models.get_model(job["net"], num_classes=CLASSES, **more)
    if job.get("timeline"):
        return timeline(net, x, y)
    ddp = nn.parallel.DistributedDataParallel(net, overlap=job["overlap"])
    optimizer = optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    sent = []

    def step(x, y):
        loss = nn.functional.cross_entropy(ddp(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    recorded = train.graphed(step, ddp, optimizer)

    def run():
        recorded(x, y).item()
        sent.append(ddp.last_reduction._asdict())

    times = timed(run, job, distributed.barrier)
    slowest = [max(t) for t in zip(*distributed.all_gather_object(times))]
    if distributed.rank():
        return None
    last = sent[-1]
    return {
        "seconds": slowest,
        "bytes": last["bytes"],
        "copied": last["copied"],
        "buckets": last["buckets"],
        "under way": median(s["seconds"] for s in sent[4:]),
        "waited": median(s["waited"] for s in sent[4:]),
    }


def timeline(net, x, y) -> dict:
    """When each gradient is ready; the median of three steps of the same net."""
    from fastconv import nn

    ready: list[list[float]] = []
    names = {p: i for i, p in enumerate(net.parameters())}
    order: list[int] = []
    start = 0.0
    for p in names:
        p.register_post_accumulate_grad_hook(
            lambda p: (order.append(names[p]), ready[-1].append(perf_counter() - start))
        )
    forward, backward = [], []
    for i in range(4):
        order.clear()
        net.zero_grad()
        begin = perf_counter()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.item()
        start = perf_counter()
        ready.append([])
        loss.backward()
        if i:
            forward.append(start - begin)
            backward.append(perf_counter() - start)
    sizes = [p.numel() * p.dtype.itemsize for p in names]
    return {
        "forward": median(forward),
        "backward": median(backward),
        "ready": [median(t) for t in zip(*ready[1:])],
        "sizes": [sizes[i] for i in order],
    }


def torch_resnet18(nn):
    """The net of ``models.resnet18(small_input=True)``."""

    class Block(nn.Module):
        def __init__(self, c: int, k: int, stride: int):
            super().__init__()
            self.conv1 = nn.Conv2d(c, k, 3, stride, 1, bias=False)
            self.conv2 = nn.Conv2d(k, k, 3, 1, 1, bias=False)
            self.bn1, self.bn2, self.relu = nn.BatchNorm2d(k), nn.BatchNorm2d(k), nn.ReLU(inplace=True)
            self.shortcut = nn.Identity()
            if stride > 1:
                self.shortcut = nn.Sequential(nn.Conv2d(c, k, 1, stride, bias=False), nn.BatchNorm2d(k))

        def forward(self, x):
            y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
            return self.relu(y + self.shortcut(x))

    layers, c = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True)], 64
    for k in (64, 128, 256, 512):
        layers += [Block(c, k, 1 + (k > c)), Block(k, k, 1)]
        c = k
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, CLASSES))


def torch(job: dict) -> dict | None:
    import torch

    torch.set_num_threads(job["threads"])
    torch.manual_seed(0)
    x, y = map(torch.from_numpy, example(job, job["rank"]))
    x = x.contiguous(memory_format=torch.channels_last)
    net = torch_resnet18(torch.nn).to(memory_format=torch.channels_last)
    several = job["ranks"] > 1
    if several:
        torch.distributed.init_process_group(
            "gloo", f"tcp://127.0.0.1:{job['port']}", rank=job["rank"], world_size=job["ranks"]
        )
        net = torch.nn.parallel.DistributedDataParallel(net, gradient_as_bucket_view=True)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)

    def step():
        loss = torch.nn.functional.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()

    times = timed(step, job, torch.distributed.barrier if several else lambda: None)
    if several:
        every: list = [None] * job["ranks"]
        torch.distributed.all_gather_object(every, times)
        times = [max(t) for t in zip(*every)]
        torch.distributed.destroy_process_group()
    return None if job["rank"] else {"seconds": times}


if __name__ == "__main__":
    job = json.loads(sys.argv[1])
    answer = {"fastconv": fastconv, "torch": torch}[job["engine"]](job)
    if answer is not None:
        print(json.dumps(answer), flush=True)
