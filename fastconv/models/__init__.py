"""Networks of the literature, built from ``fastconv.nn``."""

from .lenet import lenet5
from .resnet import ResNet, resnet18, resnet34, resnet50

__all__ = ["ResNet", "lenet5", "resnet18", "resnet34", "resnet50"]
