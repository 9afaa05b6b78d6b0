"""How much time loading and augmentation add to a training step of ResNet-18: ``python bench/loading.py``.

It takes about half a minute and needs no data set. "batch" is the time to make one batch of 64 alone. "step"
is a training step, from the request for the batch to the updated weights: once with the loader at work in its
thread, once with a batch that is ready. Both take turns; the numbers are medians.
"""

from __future__ import annotations

import random
from itertools import repeat
from statistics import median
from time import perf_counter

import numpy as np
from compare import processor_name

import fastconv as fc
from fastconv import data, models, nn, optim
from fastconv.cli.training import IMAGES as DATASETS

BATCH, IMAGES, STEPS = 64, 20_000, 15


class Noise(data.ImageSet):
    classes = tuple("0123456789")


def seconds(action, *args) -> float:
    start = perf_counter()
    action(*args)
    return perf_counter() - start


def measure(channels: int, mean, std) -> tuple[float, float, float]:
    """Seconds for a batch, for a step with the loader, for a step without."""
    rng, size, t = np.random.default_rng(0), {1: 28, 3: 32}[channels], data.transforms
    images = Noise(
        rng.integers(0, 256, (IMAGES, channels, size, size), np.uint8), rng.integers(0, 10, IMAGES)
    )
    augment = t.compose(t.pad_crop(4), t.horizontal_flip(), t.normalize(mean, std), t.cutout(8))
    loader = data.DataLoader(images, BATCH, shuffle=True, seed=0, transform=augment)
    batches = [seconds(loader.make_batch, rng.permutation(IMAGES)[:BATCH], rng) for _ in range(100)]

    net = models.resnet18(10, channels, small_input=True)
    opt, criterion = optim.SGD(net.parameters(), 0.01, momentum=0.9, nesterov=True), nn.CrossEntropyLoss()

    def step(source):
        x, y = next(source)
        loss = criterion(net(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()

    sources = iter(loader), repeat(next(iter(loader)))
    times = [], []
    for source in sources:
        step(source)  # compiles
    for _ in range(STEPS):
        for i in random.sample((0, 1), 2):
            times[i].append(seconds(step, sources[i]))
    return median(batches), *map(median, times)


def main() -> None:
    print(
        f"{processor_name()}, {fc.get_num_threads()} threads, batches of {BATCH}; "
        "pad-crop, flip, normalise, cutout; ms"
    )
    print(
        f"{'images':>14} {'batch':>8} {'share of step':>14} {'step with loader':>17} "
        f"{'step without':>13} {'ratio':>7}"
    )
    for name, (channels, mean, std, _, _) in DATASETS.items():
        batch, on, off = (1e3 * s for s in measure(channels, mean, std))
        print(
            f"{name:>14} {batch:8.2f} {batch / off:14.2%} {on:17.1f} {off:13.1f} {on / off:7.3f}", flush=True
        )


if __name__ == "__main__":
    main()
