"""Layers, losses, initialisation; ``nn.functional`` has the same as functions."""

from . import functional, init
from .layers import (
    GELU,
    AdaptiveAvgPool2d,
    AdaptiveMaxPool2d,
    AvgPool1d,
    AvgPool2d,
    AvgPool3d,
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    BCEWithLogitsLoss,
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose2d,
    CrossEntropyLoss,
    Dropout,
    Flatten,
    GroupNorm,
    Identity,
    LayerNorm,
    LeakyReLU,
    Linear,
    LocalResponseNorm,
    MaxPool1d,
    MaxPool2d,
    MaxPool3d,
    MSELoss,
    NLLLoss,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Tanh,
    Upsample,
)
from .modules import Module, ModuleList, Parameter, Sequential

__all__ = [
    "AdaptiveAvgPool2d", "AdaptiveMaxPool2d", "AvgPool1d", "AvgPool2d", "AvgPool3d", "BatchNorm1d", "BatchNorm2d",
    "BatchNorm3d", "BCEWithLogitsLoss", "Conv1d", "Conv2d", "Conv3d", "ConvTranspose2d", "CrossEntropyLoss",
    "Dropout", "Flatten", "functional", "GELU", "GroupNorm", "Identity", "init", "LayerNorm", "LeakyReLU", "Linear",
    "LocalResponseNorm", "MaxPool1d", "MaxPool2d", "MaxPool3d", "Module", "ModuleList", "MSELoss", "NLLLoss",
    "Parameter", "ReLU", "Sequential", "Sigmoid", "SiLU", "Softmax", "Tanh", "Upsample",
]  # fmt: skip
