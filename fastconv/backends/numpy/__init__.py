"""The reference backend: every op of the contract in plain NumPy, short enough to read aloud.

It is the specification that the other backends are compared with; clarity comes before speed.
"""

import numpy as np

from ..contract import CONTRACT
from . import conv, index, norm, optim, pointwise, pool, reduce, sampling, shape, sorting, windows
from .conv import CONV_ACTIVATIONS, CONV_ALGORITHMS

__all__ = ["CONV_ACTIVATIONS", "CONV_ALGORITHMS", *CONTRACT]

for _module in (conv, index, norm, optim, pointwise, pool, reduce, sampling, shape, sorting, windows):
    for _name in CONTRACT.keys() & vars(_module).keys():
        # NaN and infinity are results like others, so division by zero and overflow raise no warnings.
        globals()[_name] = np.errstate(all="ignore")(getattr(_module, _name))
