import math
import os
import tempfile

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import clip_grad_norm_
from torch.utils.data import DataLoader, Dataset, random_split
from torchvision import transforms


class Stripes(Dataset):
    """Grey images of stripes, of three directions."""

    def __init__(self, n, transform=None):
        generator = torch.Generator().manual_seed(3)
        self.labels = torch.arange(n) % 3
        rows = torch.linspace(0, 2 * math.pi, 20)
        phase = torch.rand(n, generator=generator) * math.pi
        waves = [torch.sin(3 * rows + p) for p in phase]
        grids = [
            (w.unsqueeze(0).expand(20, 20), w.unsqueeze(1).expand(20, 20), torch.outer(w, w)) for w in waves
        ]
        self.images = torch.stack([g[int(k)].unsqueeze(0) for g, k in zip(grids, self.labels)])
        self.images += 0.5 * torch.randn(self.images.shape, generator=generator)
        self.transform = transform

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        image = self.images[i]
        return (self.transform(image) if self.transform else image), int(self.labels[i])


class Net(nn.Module):
    def __init__(self, classes=3):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.InstanceNorm2d(16, affine=True), nn.ReLU6()
        )
        self.down = nn.Sequential(
            nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.Hardswish()
        )
        self.body = nn.ModuleDict({"conv": nn.Conv2d(32, 32, 3, padding=1), "act": nn.PReLU(32)})
        self.up = nn.PixelShuffle(2)
        self.drop = nn.Dropout2d(0.1)
        self.sequence = nn.ConvTranspose1d(8, 16, 4, stride=2, padding=1)
        self.pool = nn.AdaptiveAvgPool1d(4)
        self.head = nn.Linear(16 * 4, classes)
        for m in self.modules():
            if isinstance(m, (nn.Conv2d, nn.ConvTranspose1d)):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x):
        x = self.down(self.stem(x))
        x = x + self.body["act"](self.body["conv"](x))
        x = self.drop(self.up(x))
        x = F.elu(self.sequence(x.mean(dim=2)))
        return self.head(self.pool(x).flatten(1))


@torch.no_grad()
def evaluate(net, loader):
    net.eval()
    loss, hits, top2, n = 0.0, 0, 0, 0
    for x, y in loader:
        out = net(x)
        loss += F.cross_entropy(out, y, reduction="sum").item()
        hits += (out.argmax(dim=1) == y).sum().item()
        top2 += out.topk(2, dim=1).indices.eq(y.view(-1, 1)).any(dim=1).sum().item()
        n += len(y)
    return loss / n, hits / n, top2 / n


torch.manual_seed(0)
augment = transforms.Compose([transforms.RandomCrop(20, padding=2), transforms.Normalize((0.0,), (0.7,))])
train_set, test_set = random_split(
    Stripes(360, augment), [300, 60], generator=torch.Generator().manual_seed(1)
)
train_loader = DataLoader(
    train_set, batch_size=30, shuffle=True, num_workers=2, drop_last=True, pin_memory=False
)
test_loader = DataLoader(test_set, batch_size=60)

net = Net()
net.stem[0].weight.requires_grad_(False)  # the first layer is frozen
shapes = {}


def note(module, args, y):
    shapes[type(module).__name__] = tuple(y.shape)


hooks = [m.register_forward_hook(note) for m in net.children()]
net(torch.zeros(2, 1, 20, 20))
for hook in hooks:
    hook.remove()

head, others = (
    list(net.head.parameters()),
    [p for n, p in net.named_parameters() if not n.startswith("head") and p.requires_grad],
)
optimizer = torch.optim.AdamW([{"params": others}, {"params": head, "lr": 1e-2}], lr=3e-3, weight_decay=1e-2)
scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
criterion = nn.CrossEntropyLoss(label_smoothing=0.05)

best, history = 0.0, []
path = os.path.join(tempfile.mkdtemp(), "best.pt")
for epoch in range(8):
    net.train()
    for x, y in train_loader:
        optimizer.zero_grad(set_to_none=True)
        loss = criterion(net(x), y)
        loss.backward()
        norm = clip_grad_norm_(net.parameters(), max_norm=5.0)
        optimizer.step()
    test_loss, accuracy, top2 = evaluate(net, test_loader)
    scheduler.step(test_loss)
    history.append(test_loss)
    lr = optimizer.param_groups[0]["lr"]
    print(f"epoch {epoch}: test loss {test_loss:.3f}, accuracy {accuracy:.2f}, top 2 {top2:.2f}, lr {lr:.4f}")
    if accuracy >= best:
        best = accuracy
        torch.save({"model": net.state_dict(), "epoch": epoch}, path)

checkpoint = torch.load(path, weights_only=True)
restored = Net()
restored.load_state_dict(checkpoint["model"])
restored_accuracy = evaluate(restored, test_loader)[1]
