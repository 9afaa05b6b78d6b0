"""The differentiable ops behind Tensor's operators and methods, by subject.

A class here is a :class:`~fastconv.tape.Op`: it computes on raw arrays and defines its gradient. A function
checks the arguments of a method of Tensor and applies the class. The ops of layers are in
``fastconv.nn.functional``.
"""

from .convert import Cast, Copy, ToDevice
from .index import GetItem, ReplaceItem, SetItem
from .matmul import MatMul
from .pointwise import Binary, Bound, Unary, unbroadcast
from .reduce import Reduce, Softmax
from .shape import Concatenate, Permute, Reshape, Stack
