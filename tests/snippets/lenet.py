import torch
from torch import nn

net = nn.Sequential(
    nn.Conv2d(1, 6, kernel_size=5, padding=2),
    nn.Sigmoid(),
    nn.AvgPool2d(kernel_size=2, stride=2),
    nn.Conv2d(6, 16, kernel_size=5),
    nn.Sigmoid(),
    nn.AvgPool2d(kernel_size=2, stride=2),
    nn.Flatten(),
    nn.Linear(16 * 5 * 5, 120),
    nn.Sigmoid(),
    nn.Linear(120, 84),
    nn.Sigmoid(),
    nn.Linear(84, 10),
)

X = torch.rand(size=(1, 1, 28, 28), dtype=torch.float32)
for layer in net:
    X = layer(X)
    print(layer.__class__.__name__, "output shape:", X.shape)


def init_weights(m):
    if type(m) == nn.Linear or type(m) == nn.Conv2d:
        nn.init.xavier_uniform_(m.weight)


def evaluate_accuracy(net, batches, device=None):
    if isinstance(net, nn.Module):
        net.eval()
        if not device:
            device = next(iter(net.parameters())).device
    right, total = 0, 0
    with torch.no_grad():
        for X, y in batches:
            X, y = X.to(device), y.to(device)
            right += float((net(X).argmax(dim=1) == y).sum())
            total += y.numel()
    return right / total


def train(net, batches, num_epochs, lr, device):
    net.apply(init_weights)
    net.to(device)
    optimizer = torch.optim.SGD(net.parameters(), lr=lr)
    loss = nn.CrossEntropyLoss()
    history = []
    for _ in range(num_epochs):
        total, count = 0.0, 0
        net.train()
        for X, y in batches:
            optimizer.zero_grad()
            X, y = X.to(device), y.to(device)
            l = loss(net(X), y)
            l.backward()
            optimizer.step()
            with torch.no_grad():
                total += float(l * X.shape[0])
                count += X.shape[0]
        history.append(total / count)
    return history


torch.manual_seed(0)
batches = []
for _ in range(4):  # the two classes: a bright upper half, a bright lower half
    y = torch.tensor([i % 2 for i in range(16)])
    X = torch.rand(size=(16, 1, 28, 28)) - 2
    X[0::2, :, :14] += 3
    X[1::2, :, 14:] += 3
    batches.append((X, y))
history = train(net, batches, num_epochs=40, lr=0.9, device=torch.device("cpu"))
accuracy = evaluate_accuracy(net, batches)
print(f"loss {history[-1]:.3f}, train acc {accuracy:.3f}")
