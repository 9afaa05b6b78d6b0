"""A user's script with annotations: no error under pyright and mypy in strict mode, and it runs."""

from __future__ import annotations

import numpy as np

import fastconv as fc
from fastconv import data, models, nn, optim, train
from fastconv.nn import functional as F


class Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: fc.Tensor) -> fc.Tensor:
        y = self.act(self.norm(self.conv(x)))
        return F.relu(y + x)


class Net(nn.Module):
    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.ReLU())
        self.body = nn.Sequential(Block(8), nn.MaxPool2d(2), Block(8))
        self.head = nn.Linear(8, classes)

    def forward(self, x: fc.Tensor) -> fc.Tensor:
        x = F.max_pool2d(self.body(self.stem(x)), 2)
        x = F.adaptive_avg_pool2d(x, 1).flatten(1)
        scores: fc.Tensor = self.head(F.dropout(x, 0.1, self.training))
        return scores


def accuracy(net: nn.Module, images: fc.Tensor, labels: fc.Tensor) -> float:
    with fc.no_grad():
        return float((net(images).argmax(1) == labels).float().mean())


def main() -> None:
    fc.manual_seed(0)
    net = Net()
    loader = data.DataLoader(data.FashionMNISTMini(train=True), batch_size=100, shuffle=True, seed=0)
    optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    schedule = optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    criterion = nn.CrossEntropyLoss()
    for step, (images, labels) in enumerate(loader):
        loss = criterion(net(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step == 2:
            break
    schedule.step()
    x = fc.zeros(2, 1, 28, 28)
    x[0, 0, 3:5] += 1.0
    x += 0.5
    y = 1 - x * 2 + np.ones((28,), np.float32) @ fc.eye(28)
    mask = y > 0
    best, at = y.flatten(1).max(dim=1)
    print(
        net(x).shape,
        y[mask].sum().item(),
        (-y).mean(dim=(2, 3)).numpy().dtype,
        best / 2,
        at,
        fc.cat([x, y]).size(0),
    )
    w = fc.randn(4, 1, 3, 3, requires_grad=True)
    F.conv2d(x, w, padding="same").pow(2).mean().backward()
    if w.grad is not None:
        w.data -= 0.1 * w.grad
    history = train.fit(net, loader, epochs=1, optimizer=optimizer, progress=False)
    print(history.train_loss, train.evaluate(net, loader), fc.summary(net, (1, 1, 28, 28)).total_params)
    fc.save(net.state_dict(), "net.npz")
    net.load_state_dict(fc.load("net.npz"))
    fast = fc.optimize_for_inference(net)
    print(models.resnet18(num_classes=10)(fc.zeros(1, 3, 64, 64)).shape, accuracy(fast, x, fc.tensor([0, 1])))


main()
