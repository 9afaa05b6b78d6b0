"""A network with what real ones use, written by PyTorch's two exporters."""

from __future__ import annotations

import numpy as np
import pytest

import fastconv as fc

pytest.importorskip("onnx.checker")
torch = pytest.importorskip("torch")
pytestmark = pytest.mark.full  # an export takes seconds


def network():
    from torch import nn
    from torch.nn import functional as F

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8)
            self.depthwise, self.groups = nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.GroupNorm(2, 8)
            self.up, self.slope = nn.ConvTranspose2d(8, 8, 2, 2), nn.PReLU(8)
            self.layer, self.head = nn.LayerNorm(8), nn.Linear(8, 5)

        def forward(self, x):
            a = F.silu(self.norm(self.conv(x)))
            b = F.gelu(self.groups(self.depthwise(a)))
            b = self.slope(torch.cat([a[:, :4], b[:, 4:]], 1))
            c = F.interpolate(self.up(b), size=x.shape[2:], mode="bilinear", align_corners=False)
            c = c + F.interpolate(b, scale_factor=2)
            c = F.hardswish(F.max_pool2d(c, 3, 2, 1, ceil_mode=True)) + F.adaptive_avg_pool2d(c, 1)
            d = self.layer(c.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).contiguous()
            n, channels, h, w = d.shape
            d = d.view(n, 2, channels // 2, h, w).transpose(1, 2).reshape(n, channels, h, w)
            scores = self.head(F.adaptive_avg_pool2d(d, 1).flatten(1))
            return F.log_softmax(scores, 1), c.std(dim=(2, 3))

    torch.manual_seed(0)
    return Net().eval()


@pytest.mark.parametrize("dynamo", [False, True])
@pytest.mark.parametrize("open_batch", [False, True])
@pytest.mark.filterwarnings("ignore")
def test_exported_by_pytorch(dynamo, open_batch, tmp_path):
    if dynamo:
        pytest.importorskip("onnxscript")
    net, x, path = network(), torch.randn(2, 3, 32, 32), tmp_path / "net.onnx"
    options = {}
    if open_batch:
        batch = torch.export.Dim("n") if dynamo else "n"
        options = {"dynamic_shapes": ({0: batch},)} if dynamo else {"dynamic_axes": {"x": {0: batch}}}
    torch.onnx.export(net, (x,), path, input_names=["x"], dynamo=dynamo, verbose=False, **options)
    loaded = fc.onnx.load(path)
    fast = fc.optimize_for_inference(loaded)
    for images in [x, torch.randn(3, 3, 32, 32)] if open_batch else [x]:
        want = [y.detach().numpy() for y in net(images)]
        for runs in (loaded, fast, fast, fast):
            for got, y in zip(runs(fc.tensor(images.numpy())), want, strict=True):
                np.testing.assert_allclose(got.detach().numpy(), y, rtol=1e-4, atol=1e-5)
    assert len(vars(fast)["forward"].programs) == 1 + open_batch  # every size was captured
