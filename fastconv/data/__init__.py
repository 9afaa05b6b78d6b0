"""Data sets, samplers, transforms and the loader that turns them into batches."""

from . import datasets, transforms
from .collate import default_collate, default_convert
from .dataset import (
    ChainDataset,
    ConcatDataset,
    Dataset,
    IterableDataset,
    StackDataset,
    Subset,
    TensorDataset,
    random_split,
)
from .datasets import CIFAR10, MNIST, FashionMNIST, FashionMNISTMini, ImageSet, fashion_mnist_or_mini
from .distributed import DistributedSampler
from .folder import DatasetFolder, ImageFolder
from .loader import DataLoader
from .samplers import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from .workers import WorkerInfo, get_worker_info

__all__ = [
    "BatchSampler",
    "ChainDataset",
    "CIFAR10",
    "ConcatDataset",
    "DataLoader",
    "Dataset",
    "DatasetFolder",
    "datasets",
    "default_collate",
    "default_convert",
    "DistributedSampler",
    "fashion_mnist_or_mini",
    "FashionMNIST",
    "FashionMNISTMini",
    "get_worker_info",
    "ImageFolder",
    "ImageSet",
    "IterableDataset",
    "MNIST",
    "random_split",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "StackDataset",
    "Subset",
    "SubsetRandomSampler",
    "TensorDataset",
    "transforms",
    "WeightedRandomSampler",
    "WorkerInfo",
]
