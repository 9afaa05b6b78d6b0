"""PyTorch models on fastconv's engine, for training and inference, with their scripts unchanged::

    model = torch.compile(model, backend="fastconv")

::

    compiler.py      what torch.compile calls: graphs from AOTAutograd, each turned into steps
    fusion.py        nodes of the joint graph merged: norm + sum + ReLU, sums of gradients
    build.py         a graph as steps: which node runs where, and what is converted between them
    steps.py         steps, and how they run
    segments.py      inference: runs of steps as programs of the engine, made again when weights change
    lowering/        the aten ops that the engine computes, by subject
    explaining.py    explain: which op ran where, and its time
    exporting.py     from_torch: a trained model as a fastconv Module, which runs without PyTorch
    preparing.py     prepare: weights arranged once

PyTorch is imported when one of these functions is called, never by ``import fastconv``.
"""

from .compiler import backend
from .explaining import explain
from .exporting import from_torch
from .preparing import prepare

__all__ = ["backend", "explain", "from_torch", "prepare"]
