import torch
import torch.optim as optim
from torch import nn
from torch.nn import functional as F

small = nn.Sequential(nn.Linear(10, 128), nn.ReLU(), nn.Linear(128, 5))


class MLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(20, 256)
        self.out = nn.Linear(256, 10)

    def forward(self, X):
        return self.out(F.relu(self.hidden(X)))


def train(net, inputs, classes):
    X = torch.rand(size=(100, inputs))
    y = torch.tensor([i % classes for i in range(100)])
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.SGD(net.parameters(), lr=5e-3)
    history = []
    for epoch in range(20):
        outputs = net(X)
        loss = criterion(outputs, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
        print(f"epoch {epoch + 1}, loss {loss.item():.4f}")
    return history


torch.manual_seed(0)
large = MLP()
small_history = train(small, 10, 5)
large_history = train(large, 20, 10)
