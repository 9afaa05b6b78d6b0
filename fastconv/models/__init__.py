"""Networks of the literature, built from ``fastconv.nn``."""

from .alexnet import AlexNet, alexnet
from .lenet import lenet5
from .resnet import ResNet, resnet18, resnet34, resnet50
from .vgg import VGG, vgg, vgg11, vgg13, vgg16, vgg19

__all__ = [
    "AlexNet",
    "alexnet",
    "lenet5",
    "ResNet",
    "resnet18",
    "resnet34",
    "resnet50",
    "VGG",
    "vgg",
    "vgg11",
    "vgg13",
    "vgg16",
    "vgg19",
]
