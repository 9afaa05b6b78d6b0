"""The networks that people run, written once in the names that PyTorch and fastconv share.

They are written as users write them: modules, functional calls, ``x + y`` and ``cat``. ``build(lib, name)``
makes the module, where ``lib`` is ``torch`` or ``fastconv``. None is fused or folded by hand.

The structures follow the papers: Iandola et al. 2016 (SqueezeNet), He et al. 2016 (ResNet), Xie et al. 2017
(ResNeXt), Huang et al. 2017 (DenseNet), Sandler et al. 2018 (MobileNetV2), Ma et al. 2018 (ShuffleNetV2), Tan
and Le 2019 (EfficientNet), Howard et al. 2019 (MobileNetV3), Liu et al. 2022 (ConvNeXt), Ronneberger et al.
2015 (U-Net), Zhang et al. 2017 (the denoiser), Simonyan and Zisserman 2015 (VGG), Szegedy et al. 2015
(GoogLeNet, with BatchNorm and without the auxiliary classifiers).
"""

from __future__ import annotations


def modules(lib):
    """Every network as a function without arguments, by name."""
    nn, F = lib.nn, lib.nn.functional

    def conv_bn(c, k, kernel=3, stride=1, groups=1, act=None):
        layers = [nn.Conv2d(c, k, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(k)]
        return nn.Sequential(*layers, *([act()] if act else []))

    class Residual(nn.Module):
        """A block of ResNet or ResNeXt: two 3x3 layers, or 1x1, 3x3 in groups, 1x1."""

        def __init__(self, c, k, stride, bottleneck, groups, width):
            super().__init__()
            out = k * (4 if bottleneck else 1)
            inner = k * width // 64 * groups if bottleneck else k
            self.conv1 = nn.Conv2d(
                c,
                inner,
                1 if bottleneck else 3,
                1 if bottleneck else stride,
                0 if bottleneck else 1,
                bias=False,
            )
            self.bn1 = nn.BatchNorm2d(inner)
            self.conv2 = nn.Conv2d(inner, inner, 3, stride if bottleneck else 1, 1, groups=groups, bias=False)
            self.bn2 = nn.BatchNorm2d(inner)
            self.conv3 = nn.Conv2d(inner, out, 1, bias=False) if bottleneck else None
            self.bn3 = nn.BatchNorm2d(out) if bottleneck else None
            self.shortcut = conv_bn(c, out, 1, stride) if stride > 1 or c != out else None

        def forward(self, x):
            y = F.relu(self.bn1(self.conv1(x)))
            y = self.bn2(self.conv2(y))
            if self.conv3 is not None:
                y = self.bn3(self.conv3(F.relu(y)))
            return F.relu(y + (x if self.shortcut is None else self.shortcut(x)))

    class ResNet(nn.Module):
        def __init__(self, blocks, bottleneck=False, groups=1, width=64):
            super().__init__()
            self.stem, c, layers = conv_bn(3, 64, 7, 2, act=nn.ReLU), 64, []
            for i, count in enumerate(blocks):
                for j in range(count):
                    layers.append(Residual(c, 64 << i, 2 if i and not j else 1, bottleneck, groups, width))
                    c = (64 << i) * (4 if bottleneck else 1)
            self.layers, self.fc = nn.Sequential(*layers), nn.Linear(c, 1000)

        def forward(self, x):
            x = self.layers(F.max_pool2d(self.stem(x), 3, 2, 1))
            return self.fc(lib.flatten(F.adaptive_avg_pool2d(x, 1), 1))

    class Gate(nn.Module):
        """Squeeze and excitation."""

        def __init__(self, c, inner, act, gate):
            super().__init__()
            self.fc1, self.fc2, self.act, self.gate = (
                nn.Conv2d(c, inner, 1),
                nn.Conv2d(inner, c, 1),
                act,
                gate,
            )

        def forward(self, x):
            return x * self.gate(self.fc2(self.act(self.fc1(F.adaptive_avg_pool2d(x, 1)))))

    class Inverted(nn.Module):
        """1x1, depthwise, 1x1, as MobileNet and EfficientNet have it."""

        def __init__(self, c, inner, k, kernel, stride, act, gate=None):
            super().__init__()
            layers = [conv_bn(c, inner, 1, act=act)] if inner != c else []
            layers.append(conv_bn(inner, inner, kernel, stride, inner, act))
            self.body = nn.Sequential(*layers, *([gate] if gate else []), conv_bn(inner, k, 1))
            self.same = stride == 1 and c == k

        def forward(self, x):
            return x + self.body(x) if self.same else self.body(x)

    class Mobile(nn.Module):
        def __init__(self, stem, blocks, last, hidden):
            super().__init__()
            self.features = nn.Sequential(stem, *blocks, last)
            self.head = nn.Sequential(*hidden)

        def forward(self, x):
            return self.head(self.features(x).mean((2, 3)))

    def scaled(table, act, gated):
        """MobileNetV2 or EfficientNet-B0; a row: expansion, channels, blocks, first stride, kernel."""
        c, blocks = 32, []
        for t, k, count, stride, kernel in table:
            for i in range(count):
                gate = Gate(c * t, max(c // 4, 1), F.silu, F.sigmoid) if gated else None
                blocks.append(Inverted(c, c * t, k, kernel, 1 if i else stride, act, gate))
                c = k
        stem, last = conv_bn(3, 32, 3, 2, act=act), conv_bn(320, 1280, 1, act=act)
        return Mobile(stem, blocks, last, [nn.Linear(1280, 1000)])

    def mobilenet_v2():
        table = (
            (1, 16, 1, 1, 3),
            (6, 24, 2, 2, 3),
            (6, 32, 3, 2, 3),
            (6, 64, 4, 2, 3),
            (6, 96, 3, 1, 3),
            (6, 160, 3, 2, 3),
            (6, 320, 1, 1, 3),
        )
        return scaled(table, nn.ReLU6, gated=False)

    def efficientnet_b0():
        table = (
            (1, 16, 1, 1, 3),
            (6, 24, 2, 2, 3),
            (6, 40, 2, 2, 5),
            (6, 80, 3, 2, 3),
            (6, 112, 3, 1, 5),
            (6, 192, 4, 2, 5),
            (6, 320, 1, 1, 3),
        )
        return scaled(table, nn.SiLU, gated=True)

    def mobilenet_v3():
        table = (  # kernel, inner, out, gate, hard swish, stride
            (3, 16, 16, 0, 0, 1),
            (3, 64, 24, 0, 0, 2),
            (3, 72, 24, 0, 0, 1),
            (5, 72, 40, 1, 0, 2),
            (5, 120, 40, 1, 0, 1),
            (5, 120, 40, 1, 0, 1),
            (3, 240, 80, 0, 1, 2),
            (3, 200, 80, 0, 1, 1),
            (3, 184, 80, 0, 1, 1),
            (3, 184, 80, 0, 1, 1),
            (3, 480, 112, 1, 1, 1),
            (3, 672, 112, 1, 1, 1),
            (5, 672, 160, 1, 1, 2),
            (5, 960, 160, 1, 1, 1),
            (5, 960, 160, 1, 1, 1),
        )
        c, blocks, act = 16, [], nn.Hardswish
        for kernel, inner, k, gate, hard, stride in table:
            gate = Gate(inner, (inner // 4 + 7) // 8 * 8, F.relu, F.hardsigmoid) if gate else None
            blocks.append(Inverted(c, inner, k, kernel, stride, act if hard else nn.ReLU, gate))
            c = k
        hidden = [nn.Linear(960, 1280), act(), nn.Linear(1280, 1000)]
        return Mobile(conv_bn(3, 16, 3, 2, act=act), blocks, conv_bn(160, 960, 1, act=act), hidden)

    class LastNorm(nn.Module):
        """LayerNorm over the channels of images."""

        def __init__(self, c):
            super().__init__()
            self.norm = nn.LayerNorm(c, eps=1e-6)

        def forward(self, x):
            return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    class NextBlock(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.depthwise = nn.Conv2d(c, c, 7, padding=3, groups=c)
            self.norm, self.fc1, self.fc2 = (
                nn.LayerNorm(c, eps=1e-6),
                nn.Linear(c, 4 * c),
                nn.Linear(4 * c, c),
            )
            self.scale = nn.Parameter(lib.full((c,), 1e-6))

        def forward(self, x):
            y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
            y = self.scale * self.fc2(F.gelu(self.fc1(y)))
            return x + y.permute(0, 3, 1, 2)

    class ConvNeXt(nn.Module):
        def __init__(self, depths=(3, 3, 9, 3), widths=(96, 192, 384, 768)):
            super().__init__()
            layers = [nn.Conv2d(3, widths[0], 4, 4), LastNorm(widths[0])]
            for i, (count, c) in enumerate(zip(depths, widths)):
                if i:
                    layers += [LastNorm(widths[i - 1]), nn.Conv2d(widths[i - 1], c, 2, 2)]
                layers += [NextBlock(c) for _ in range(count)]
            self.layers = nn.Sequential(*layers)
            self.norm, self.fc = nn.LayerNorm(widths[-1], eps=1e-6), nn.Linear(widths[-1], 1000)

        def forward(self, x):
            return self.fc(self.norm(self.layers(x).mean((2, 3))))

    class DenseLayer(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.norm1, self.conv1 = nn.BatchNorm2d(c), nn.Conv2d(c, 128, 1, bias=False)
            self.norm2, self.conv2 = nn.BatchNorm2d(128), nn.Conv2d(128, 32, 3, padding=1, bias=False)

        def forward(self, x):
            y = self.conv1(F.relu(self.norm1(x)))
            return lib.cat([x, self.conv2(F.relu(self.norm2(y)))], 1)

    class DenseNet(nn.Module):
        def __init__(self, blocks=(6, 12, 24, 16)):
            super().__init__()
            c, layers = 64, [conv_bn(3, 64, 7, 2, act=nn.ReLU), nn.MaxPool2d(3, 2, 1)]
            for i, count in enumerate(blocks):
                for _ in range(count):
                    layers.append(DenseLayer(c))
                    c += 32
                if i < len(blocks) - 1:
                    layers += [
                        nn.BatchNorm2d(c),
                        nn.ReLU(),
                        nn.Conv2d(c, c // 2, 1, bias=False),
                        nn.AvgPool2d(2),
                    ]
                    c //= 2
            self.layers, self.norm, self.fc = nn.Sequential(*layers), nn.BatchNorm2d(c), nn.Linear(c, 1000)

        def forward(self, x):
            x = F.relu(self.norm(self.layers(x)))
            return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))

    class Fire(nn.Module):
        def __init__(self, c, squeeze, expand):
            super().__init__()
            self.squeeze = nn.Conv2d(c, squeeze, 1)
            self.left, self.right = nn.Conv2d(squeeze, expand, 1), nn.Conv2d(squeeze, expand, 3, padding=1)

        def forward(self, x):
            x = F.relu(self.squeeze(x))
            return lib.cat([F.relu(self.left(x)), F.relu(self.right(x))], 1)

    def squeezenet():
        fires = (
            (64, 16, 64),
            (128, 16, 64),
            None,
            (128, 32, 128),
            (256, 32, 128),
            None,
            (256, 48, 192),
            (384, 48, 192),
            (384, 64, 256),
            (512, 64, 256),
        )
        layers = [nn.Conv2d(3, 64, 3, 2), nn.ReLU(), nn.MaxPool2d(3, 2)]
        layers += [Fire(*f) if f else nn.MaxPool2d(3, 2) for f in fires]
        layers += [nn.Conv2d(512, 1000, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        return nn.Sequential(*layers)

    class Shuffle(nn.Module):
        def __init__(self, c, k, stride):
            super().__init__()
            self.stride, half = stride, k // 2
            start = half if stride == 1 else c
            self.left = (
                None
                if stride == 1
                else nn.Sequential(conv_bn(c, c, 3, 2, c), conv_bn(c, half, 1, act=nn.ReLU))
            )
            self.right = nn.Sequential(
                conv_bn(start, half, 1, act=nn.ReLU),
                conv_bn(half, half, 3, stride, half),
                conv_bn(half, half, 1, act=nn.ReLU),
            )

        def forward(self, x):
            if self.left is None:
                a, b = x.chunk(2, 1)
                y = lib.cat([a, self.right(b)], 1)
            else:
                y = lib.cat([self.left(x), self.right(x)], 1)
            n, c, h, w = y.shape
            return y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)

    def shufflenet_v2():
        layers, c = [conv_bn(3, 24, 3, 2, act=nn.ReLU), nn.MaxPool2d(3, 2, 1)], 24
        for k, count in ((116, 4), (232, 8), (464, 4)):
            for i in range(count):
                layers.append(Shuffle(c, k, 1 if i else 2))
                c = k
        layers += [
            conv_bn(c, 1024, 1, act=nn.ReLU),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(1024, 1000),
        ]
        return nn.Sequential(*layers)

    def vgg11():
        layers, c = [], 3
        for k in (64, None, 128, None, 256, 256, None, 512, 512, None, 512, 512, None):
            layers += [nn.Conv2d(c, k, 3, padding=1), nn.ReLU()] if k else [nn.MaxPool2d(2)]
            c = k or c
        layers += [
            nn.Flatten(),
            nn.Linear(512 * 49, 4096),
            nn.ReLU(),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Linear(4096, 1000),
        ]
        return nn.Sequential(*layers)

    class Inception(nn.Module):
        """Branches of 1x1, 3x3 and 5x5 layers and of pooling, joined."""

        def __init__(self, c, one, three_in, three, five_in, five, pooled):
            super().__init__()
            relu = nn.ReLU
            self.one = conv_bn(c, one, 1, act=relu)
            self.three = nn.Sequential(
                conv_bn(c, three_in, 1, act=relu), conv_bn(three_in, three, 3, act=relu)
            )
            self.five = nn.Sequential(conv_bn(c, five_in, 1, act=relu), conv_bn(five_in, five, 5, act=relu))
            self.pooled = nn.Sequential(nn.MaxPool2d(3, 1, 1), conv_bn(c, pooled, 1, act=relu))

        def forward(self, x):
            return lib.cat([self.one(x), self.three(x), self.five(x), self.pooled(x)], 1)

    def googlenet():
        layers = [conv_bn(3, 64, 7, 2, act=nn.ReLU), nn.MaxPool2d(3, 2, ceil_mode=True)]
        layers += [conv_bn(64, 64, 1, act=nn.ReLU), conv_bn(64, 192, 3, act=nn.ReLU)]
        c = 192
        for row in (
            None,
            (64, 96, 128, 16, 32, 32),
            (128, 128, 192, 32, 96, 64),
            None,
            (192, 96, 208, 16, 48, 64),
            (160, 112, 224, 24, 64, 64),
            (128, 128, 256, 24, 64, 64),
            (112, 144, 288, 32, 64, 64),
            (256, 160, 320, 32, 128, 128),
            None,
            (256, 160, 320, 32, 128, 128),
            (384, 192, 384, 48, 128, 128),
        ):
            layers.append(Inception(c, *row) if row else nn.MaxPool2d(3, 2, ceil_mode=True))
            c = row[0] + row[2] + row[4] + row[5] if row else c
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(c, 1000)]
        return nn.Sequential(*layers)

    class Twice(nn.Module):
        def __init__(self, c, k):
            super().__init__()
            self.a, self.b = conv_bn(c, k), conv_bn(k, k)

        def forward(self, x):
            return F.relu(self.b(F.relu(self.a(x))))

    class UNet(nn.Module):
        def __init__(self, c=32, depth=4):
            super().__init__()
            widths = [c << i for i in range(depth + 1)]
            self.down = nn.ModuleList([Twice(a, b) for a, b in zip([3, *widths], widths)])
            self.up = nn.ModuleList([nn.ConvTranspose2d(2 * w, w, 2, 2) for w in widths[:-1]])
            self.join = nn.ModuleList([Twice(2 * w, w) for w in widths[:-1]])
            self.last = nn.Conv2d(c, 2, 1)

        def forward(self, x):
            kept = []
            for i, block in enumerate(self.down):
                x = block(F.max_pool2d(x, 2) if i else x)
                kept.append(x)
            for up, join, skip in zip(reversed(self.up), reversed(self.join), reversed(kept[:-1])):
                x = join(lib.cat([skip, up(x)], 1))
            return self.last(x)

    class Denoiser(nn.Module):
        def __init__(self, c=64, depth=8):
            super().__init__()
            layers = [nn.Conv2d(1, c, 3, padding=1), nn.ReLU()]
            for _ in range(depth):
                layers.append(conv_bn(c, c, act=nn.ReLU))
            self.layers = nn.Sequential(*layers, nn.Conv2d(c, 1, 3, padding=1))

        def forward(self, x):
            return x - self.layers(x)

    class Plain(nn.Module):
        """A residual block on signals or volumes."""

        def __init__(self, conv, norm, c, k, stride):
            super().__init__()
            self.conv1, self.bn1 = conv(c, k, 3, stride, 1, bias=False), norm(k)
            self.conv2, self.bn2 = conv(k, k, 3, 1, 1, bias=False), norm(k)
            self.shortcut = conv(c, k, 1, stride, bias=False) if stride > 1 or c != k else None

        def forward(self, x):
            y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
            return F.relu(y + (x if self.shortcut is None else self.shortcut(x)))

    def plain(conv, norm, pool, c, classes=10):
        layers = [conv(1, c, 3, 1, 1, bias=False), norm(c), nn.ReLU()]
        for i in range(3):
            layers += [
                Plain(conv, norm, c << max(i - 1, 0), c << i, 2 if i else 1),
                Plain(conv, norm, c << i, c << i, 1),
            ]
        return nn.Sequential(*layers, pool(1), nn.Flatten(), nn.Linear(4 * c, classes))

    return {
        "denoiser": Denoiser,
        "unet": UNet,
        "resnet18_user": lambda: ResNet((2, 2, 2, 2)),
        "resnet50": lambda: ResNet((3, 4, 6, 3), True),
        "resnext50": lambda: ResNet((3, 4, 6, 3), True, 32, 4),
        "vgg11": vgg11,
        "googlenet": googlenet,
        "squeezenet": squeezenet,
        "densenet121": DenseNet,
        "mobilenet_v2": mobilenet_v2,
        "mobilenet_v3": mobilenet_v3,
        "shufflenet_v2": shufflenet_v2,
        "efficientnet_b0": efficientnet_b0,
        "convnext_tiny": ConvNeXt,
        "signals": lambda: plain(nn.Conv1d, nn.BatchNorm1d, nn.AdaptiveAvgPool1d, 64),
        "volumes": lambda: plain(nn.Conv3d, nn.BatchNorm3d, nn.AdaptiveAvgPool3d, 16),
    }


#: Inputs: images, and classes (None: the result is an image).
SHAPES = {
    "denoiser": ((8, 1, 64, 64), None),
    "unet": ((2, 3, 256, 256), None),
    "resnet18_user": ((8, 3, 224, 224), 1000),
    "resnet50": ((4, 3, 224, 224), 1000),
    "resnext50": ((4, 3, 224, 224), 1000),
    "vgg11": ((4, 3, 224, 224), 1000),
    "googlenet": ((8, 3, 224, 224), 1000),
    "squeezenet": ((8, 3, 224, 224), 1000),
    "densenet121": ((4, 3, 224, 224), 1000),
    "mobilenet_v2": ((8, 3, 224, 224), 1000),
    "mobilenet_v3": ((8, 3, 224, 224), 1000),
    "shufflenet_v2": ((8, 3, 224, 224), 1000),
    "efficientnet_b0": ((4, 3, 224, 224), 1000),
    "convnext_tiny": ((4, 3, 224, 224), 1000),
    "signals": ((32, 1, 2048), 10),
    "volumes": ((2, 1, 32, 64, 64), 10),
}


def build(lib, name: str):
    """The network as a module of ``lib``, in training mode."""
    return modules(lib)[name]()
