"""PyTorch networks, written as their users write them. PyTorch is imported when one is made."""

from __future__ import annotations


def modules():
    """The networks by name: functions that make one, and the size of their images."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    class LeNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(3, 6, 5, padding=2), nn.Conv2d(6, 16, 5)
            self.fc1, self.fc2 = nn.Linear(16 * 4 * 3, 20), nn.Linear(20, 4)

        def forward(self, x):
            x = F.avg_pool2d(torch.sigmoid(self.conv1(x)), 2)
            x = F.max_pool2d(F.relu(self.conv2(x)), 2, stride=1)[:, :, ::1, :-1]
            x = F.pad(x[:, :, ::2, ::2], (1, 1, 1, 1))[:, :, :6, :6]
            return F.log_softmax(self.fc2(torch.tanh(self.fc1(x.flatten(1)))), 1)

    class Block(nn.Module):
        def __init__(self, c, k, stride):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(c, k, 3, stride, 1, bias=False), nn.BatchNorm2d(k)
            self.conv2, self.bn2 = nn.Conv2d(k, k, 3, 1, 1, bias=False), nn.BatchNorm2d(k)
            self.down = None
            if stride > 1 or c != k:
                self.down = nn.Sequential(nn.Conv2d(c, k, 1, stride, bias=False), nn.BatchNorm2d(k))

        def forward(self, x):
            y = F.relu(self.bn1(self.conv1(x)), inplace=True)
            y = self.bn2(self.conv2(y))
            y += x if self.down is None else self.down(x)
            return F.relu(y)

    class ResNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8)
            self.layers = nn.Sequential(Block(8, 8, 1), Block(8, 16, 2), Block(16, 16, 1))
            self.fc = nn.Linear(16, 4)

        def forward(self, x):
            x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
            return self.fc(F.adaptive_avg_pool2d(self.layers(x), 1).flatten(1))

    class UNet(nn.Module):
        """Transposed convolution and resizing on the way up, a mask per pixel as result."""

        def __init__(self):
            super().__init__()
            self.first, self.second, self.third = (
                nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU(inplace=True))
                for a, b in ((3, 8), (8, 16), (16, 16))
            )
            self.up2 = nn.ConvTranspose2d(16, 16, 2, 2)
            self.up1 = nn.Upsample(scale_factor=2, mode="bilinear")
            self.join2, self.join1 = nn.Conv2d(32, 16, 3, padding=1), nn.Conv2d(24, 8, 3, padding=1)
            self.head = nn.Conv2d(8, 4, 1)

        def forward(self, x):
            a = self.first(x)
            b = self.second(F.max_pool2d(a, 2))
            c = self.third(F.max_pool2d(b, 2))
            b = F.leaky_relu(self.join2(torch.cat([b, self.up2(c)], 1)), 0.1)
            a = F.gelu(
                self.join1(
                    torch.cat(
                        [
                            a,
                            self.up1(b),
                        ],
                        1,
                    )
                )
            )
            return self.head(a)

    class Grouped(nn.Module):
        """Group norm, dropout, a layer used twice, nearest neighbours, SiLU."""

        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(2, 8)
            self.twice, self.drop = nn.Conv2d(8, 8, 3, padding=1, groups=2), nn.Dropout(0.3)
            self.bn, self.fc = nn.BatchNorm2d(8), nn.Linear(8, 4)

        def forward(self, x):
            x = F.silu(self.norm(self.conv(x)))
            x = self.bn(self.twice(F.interpolate(self.bn(self.twice(x)), scale_factor=2)))
            return self.fc(self.drop(x.mean((2, 3))))

    class Depthwise(nn.Module):
        """Inverted residuals with ReLU6, a gate with Hardsigmoid."""

        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6())
            self.body = nn.Sequential(
                *(nn.Conv2d(8, 16, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6()),
                *(nn.Conv2d(16, 16, 3, 1, 1, groups=16, bias=False), nn.BatchNorm2d(16), nn.Hardswish()),
                *(nn.Conv2d(16, 8, 1, bias=False), nn.BatchNorm2d(8)),
            )
            self.gate, self.fc = nn.Conv2d(8, 8, 1), nn.Linear(8, 4)

        def forward(self, x):
            x = self.stem(x)
            y = x + self.body(x)
            y = y * F.hardsigmoid(self.gate(F.adaptive_avg_pool2d(y, 1)))
            return self.fc(torch.flatten(F.adaptive_avg_pool2d(y, (2, 2))[:, :, 0, 0], 1))

    class Strange(nn.Module):
        """Ops that the engine does not have, between ops that it has, and two results."""

        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 4)

        def forward(self, x):
            y = torch.special.i0e(F.relu(self.conv(x))).cumsum(-1)
            y, index = F.max_pool2d(y, 2, return_indices=True)
            scores = self.fc(torch.logsumexp(y, (2, 3)) + index.float().mean((2, 3)).to(y.dtype) / 100)
            share = (F.max_unpool2d(y, index, 2) > 0).contiguous().view(len(x), -1).to(y.dtype).mean(1, True)
            return scores * share * index.flatten(1).to(y.dtype).mean(1, True), index

    found = (LeNet, ResNet, UNet, Grouped, Depthwise, Strange)
    return {net.__name__: net for net in found}
