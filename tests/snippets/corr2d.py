import torch
from torch import nn


def corr2d(X, K):
    h, w = K.shape
    Y = torch.zeros((X.shape[0] - h + 1, X.shape[1] - w + 1))
    for i in range(Y.shape[0]):
        for j in range(Y.shape[1]):
            Y[i, j] = (X[i : i + h, j : j + w] * K).sum()
    return Y


def corr2d_multi_in(X, K):
    return sum(corr2d(x, k) for x, k in zip(X, K))


def corr2d_multi_in_out(X, K):
    return torch.stack([corr2d_multi_in(X, k) for k in K], 0)


class Conv2D(nn.Module):
    def __init__(self, kernel_size):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(kernel_size))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return corr2d(x, self.weight) + self.bias


X = torch.arange(9.0).reshape(3, 3)
K = torch.tensor([[0.0, 1.0], [2.0, 3.0]])
single = corr2d(X, K)
channels = torch.stack((X, X + 1), 0)
stacked = corr2d_multi_in_out(
    channels, torch.stack((torch.stack((K, K + 1), 0), torch.stack((K + 1, K + 2), 0)), 0)
)

image = torch.ones((6, 8))
image[:, 2:6] = 0
edges = corr2d(image, torch.tensor([[1.0, -1.0]]))

torch.manual_seed(0)
layer = Conv2D(kernel_size=(1, 2))
losses = []
for _ in range(60):
    loss = ((layer(image) - edges) ** 2).sum()
    layer.zero_grad()
    loss.backward()
    for p in layer.parameters():
        p.data[:] -= 1e-2 * p.grad
    losses.append(loss.item())
