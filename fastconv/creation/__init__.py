"""Functions that make new tensors: from data, filled by a rule, or of random numbers."""

from .data import argument, as_tensor, from_dlpack, from_numpy, tensor
from .filled import (
    arange,
    empty,
    empty_like,
    eye,
    fill,
    full,
    full_like,
    linspace,
    logspace,
    ones,
    ones_like,
    tril_indices,
    triu_indices,
    zeros,
    zeros_like,
)
from .sampling import (
    bernoulli,
    multinomial,
    normal,
    rand,
    rand_like,
    randint,
    randint_like,
    randn,
    randn_like,
    randperm,
)
