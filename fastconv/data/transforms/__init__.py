"""Transforms of images, for one image and for a whole batch.

Objects (:class:`Compose`, :class:`RandomCrop`, ...) have torchvision's names and arguments. They take a
Pillow image, or a Tensor or an array C x H x W, or a batch N x C x H x W, and return the same kind. Each
image of a batch has its own random numbers. These depend on the seed, but not on the number of workers.

Functions (:func:`compose`, :func:`pad_crop`, ...) return a callable ``(batch, rng) -> batch``, where the
batch is a float32 array N x C x H x W.
"""

from .affine import RandomAffine, RandomRotation
from .base import Compose, Lambda, RandomApply, RandomChoice, RandomOrder, RandomTransform, Transform
from .colour import ColorJitter, GaussianBlur, Grayscale, RandomGrayscale
from .convert import ConvertImageDtype, Normalize, PILToTensor, ToPILImage, ToTensor
from .functions import BatchFunction, compose, cutout, horizontal_flip, normalize, pad_crop, resize
from .geometry import (
    CenterCrop,
    FiveCrop,
    Pad,
    RandomCrop,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomVerticalFlip,
    Resize,
    TenCrop,
)
from .mixing import CutMix, Mixing, MixUp, RandomErasing
from .resample import InterpolationMode

__all__ = [
    "BatchFunction",
    "CenterCrop",
    "ColorJitter",
    "Compose",
    "ConvertImageDtype",
    "CutMix",
    "FiveCrop",
    "GaussianBlur",
    "Grayscale",
    "InterpolationMode",
    "Lambda",
    "MixUp",
    "Mixing",
    "Normalize",
    "PILToTensor",
    "Pad",
    "RandomAffine",
    "RandomApply",
    "RandomChoice",
    "RandomCrop",
    "RandomErasing",
    "RandomGrayscale",
    "RandomHorizontalFlip",
    "RandomOrder",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomTransform",
    "RandomVerticalFlip",
    "Resize",
    "TenCrop",
    "ToPILImage",
    "ToTensor",
    "Transform",
    "compose",
    "cutout",
    "horizontal_flip",
    "normalize",
    "pad_crop",
    "resize",
]
