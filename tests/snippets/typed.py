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


class Scale(fc.autograd.Function):
    @staticmethod
    def forward(ctx: fc.autograd.function.FunctionCtx, x: fc.Tensor, by: float) -> fc.Tensor:
        ctx.by = by
        return x * by

    @staticmethod
    def backward(ctx: fc.autograd.function.FunctionCtx, gradient: fc.Tensor) -> tuple[fc.Tensor, None]:
        return gradient * ctx.by, None


@fc.no_grad()
def accuracy(net: nn.Module, images: fc.Tensor, labels: fc.Tensor) -> float:
    return float((net(images).argmax(1) == labels).float().mean())


def gradients(net: nn.Module, images: fc.Tensor) -> list[str]:
    shapes: list[str] = []
    heads = nn.ModuleDict({"a": nn.Linear(10, 2), "b": nn.Linear(10, 2)})
    handles = [
        m.register_forward_hook(lambda m, args, y: shapes.append(str(y.shape))) for m in net.children()
    ]
    handles.append(net.register_full_backward_hook(lambda m, grad_input, grad_output: None))
    y: fc.Tensor = Scale.apply(heads["a"](net(images)), 2.0)
    (g,) = fc.autograd.grad(y.sum(), [y], retain_graph=True)
    y.register_hook(lambda gradient: gradient * 2)
    y.relu_().clamp_(max=1.0).add_(g.abs(), alpha=0.5)
    y.sum().backward()
    norm = nn.utils.clip_grad_norm_(net.parameters(), max_norm=1.0)
    for handle in handles:
        handle.remove()
    for p in nn.ParameterList([nn.Parameter(fc.ones(2), requires_grad=False)]):
        nn.init.trunc_normal_(p, std=0.02)
    body = net.get_submodule("body").to("cpu", "float32")
    return [*shapes, f"{norm.item():.3f} {y.grad_fn} {type(body).__name__}"]


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
    assert len(gradients(net, x)) == 4
    print(models.resnet18(num_classes=10)(fc.zeros(1, 3, 64, 64)).shape, accuracy(fast, x, fc.tensor([0, 1])))


main()
