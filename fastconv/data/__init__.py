"""Data sets, transforms and the loader that turns them into batches."""

from . import transforms
from .datasets import CIFAR10, MNIST, FashionMNIST, FashionMNISTMini, ImageSet, fashion_mnist_or_mini
from .loader import DataLoader

__all__ = [
    "CIFAR10",
    "DataLoader",
    "fashion_mnist_or_mini",
    "FashionMNIST",
    "FashionMNISTMini",
    "ImageSet",
    "MNIST",
    "transforms",
]
