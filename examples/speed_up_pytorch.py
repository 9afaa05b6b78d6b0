"""Train a PyTorch network as it is and compiled for fastconv's engine, and compare the times.

    python examples/speed_up_pytorch.py [--steps 10] [--batch 32] [--size 32]

Both copies of the network start with the same weights and see the same images, so their losses must agree.
"""

from __future__ import annotations

import argparse
import copy
from statistics import median
from time import perf_counter

import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    """A residual block: two convolutions, and a shortcut around them."""

    def __init__(self, c_in: int, c: int, stride: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(c_in, c, 3, stride, 1, bias=False), nn.BatchNorm2d(c)
        self.conv2, self.bn2 = nn.Conv2d(c, c, 3, 1, 1, bias=False), nn.BatchNorm2d(c)
        self.shortcut = nn.Identity()
        if stride > 1 or c_in != c:
            self.shortcut = nn.Sequential(nn.Conv2d(c_in, c, 1, stride, bias=False), nn.BatchNorm2d(c))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += self.shortcut(x)
        return F.relu(y)


class ResNet18(nn.Module):
    """ResNet-18 for small images (He et al.: Deep residual learning for image recognition, 2016)."""

    def __init__(self, classes: int = 10, width: int = 64):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        blocks, c_in = [], width
        for i in range(4):
            for j in range(2):
                c = width << i
                blocks.append(Block(c_in, c, 2 if i and not j else 1))
                c_in = c
        self.blocks, self.fc = nn.Sequential(*blocks), nn.Linear(c_in, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.blocks(F.relu(self.bn1(self.conv1(x))))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


def train(net: nn.Module, run, x: torch.Tensor, target: torch.Tensor, steps: int) -> tuple[list, float]:
    """The loss of each step, and the median seconds of a step after the first two, which may compile."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, fused=True)
    losses, times = [], []
    for _ in range(steps + 2):
        start = perf_counter()
        optimizer.zero_grad()
        loss = F.cross_entropy(run(x), target)
        loss.backward()
        optimizer.step()
        times.append(perf_counter() - start)
        losses.append(loss.item())
    return losses, median(times[2:])


def main(arguments: list[str] | None = None) -> None:
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--steps", type=int, default=10, help="steps that are timed (default: 10)")
    p.add_argument("--batch", type=int, default=32, help="images in a batch (default: 32)")
    p.add_argument("--size", type=int, default=32, help="rows and columns of an image (default: 32)")
    p.add_argument("--width", type=int, default=64, help="channels of the first layers (default: 64)")
    args = p.parse_args(arguments)

    torch.manual_seed(0)
    net = ResNet18(width=args.width).to(memory_format=torch.channels_last)
    twin = copy.deepcopy(net)
    x = torch.randn(args.batch, 3, args.size, args.size).to(memory_format=torch.channels_last)
    target = torch.randint(0, 10, (args.batch,))

    losses, seconds = train(net, net, x, target, args.steps)
    print(f"PyTorch            {1e3 * seconds:8.1f} ms a step, first loss {losses[0]:.4f}")
    compiled = torch.compile(twin, backend="fastconv")  # the only line that changes
    our_losses, our_seconds = train(twin, compiled, x, target, args.steps)
    print(f"backend='fastconv' {1e3 * our_seconds:8.1f} ms a step, first loss {our_losses[0]:.4f}")
    print(f"{seconds / our_seconds:.2f} times as fast")


if __name__ == "__main__":
    main()
