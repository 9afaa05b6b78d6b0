import numpy as np
import torch
from torch import nn

rows, columns = np.mgrid[0:20, 0:24]
# H x W x C
image = np.stack([rows * columns % 17, rows + columns, (rows > 9) * 100], axis=2).astype("float32")

kernel = np.array([[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]], dtype="float32") / 8
conv = nn.Conv2d(3, 1, 3, bias=False)
conv.weight = nn.Parameter(torch.from_numpy(np.stack([kernel] * 3)[np.newaxis]))
print([tuple(p.shape) for p in conv.parameters()])

x = torch.from_numpy(image.transpose(2, 0, 1)[np.newaxis].copy())
edges = conv(x).detach().numpy()[0, 0]
flat = conv(torch.ones((1, 3, 20, 24))).detach().numpy()
