"""What the cases do not launch on the device: optimizers, statistics, dropout, casts."""

from __future__ import annotations

import numpy as np

import fastconv as fc
from fastconv import nn, optim
from fastconv.nn import functional as F


def more(dtype: str) -> None:
    """Run it on the backend in force."""
    x = fc.tensor(np.ones((2, 3, 4, 4), dtype), requires_grad=True)
    F.dropout(x, 0.5).sum().backward()
    nn.BatchNorm2d(3).to(dtype)(x)
    y = F.batch_norm(x, None, None, training=True, activation="relu", residual=x)
    y.sum().backward()
    for make in (lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True), lambda p: optim.AdamW(p, lr=0.1)):
        make([x]).step()
    (x.astype("float64").astype("float32") > 0).sum()
    x.data[:, :, 1:3, ::-1] = 0
