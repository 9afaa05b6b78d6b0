"""The functions ``fc.NAME`` that are made of methods of Tensor. They take arrays and numbers too.

The documentation is in the methods, in ``fastconv/methods``. Functions that are not methods (``zeros``,
``cat``) are in ``fastconv/creation`` and in the other files of this folder. ``where`` is written out here,
because its arguments have another order than those of the method.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar, overload

from ..checks import check
from ..ops import ternary
from ..tensor import Tensor
from ..typing import Operand
from ..variable import argument

P = ParamSpec("P")
R = TypeVar("R")


def _function(
    method: Callable[Concatenate[Tensor, P], R], **renamed: str
) -> Callable[Concatenate[Operand, P], R]:
    """The method as a function, whose first argument, ``input``, may be an array or a number.

    ``renamed`` are the arguments whose names differ in PyTorch's function: ``function's="method's"``.
    """
    name = method.__name__
    signature = inspect.signature(method)
    first, *others = signature.parameters.values()
    names = {ours: theirs for theirs, ours in renamed.items()}
    others = [p.replace(name=names.get(p.name, p.name)) for p in others]
    signature = signature.replace(parameters=[first.replace(name="input", annotation="Operand"), *others])

    @functools.wraps(method)
    def function(*args: Any, **kwargs: Any) -> R:
        if "input" in kwargs and not args:  # passed by name, as in many PyTorch examples
            args = (kwargs.pop("input"),)
        check(len(args) > 0, name, f"missing 'input'; the arguments are {signature}", TypeError)
        kwargs |= {renamed[k]: kwargs.pop(k) for k in kwargs.keys() & renamed.keys()}
        return method(argument(name, "input", args[0]), *args[1:], **kwargs)

    function.__signature__ = signature  # type: ignore[attr-defined]
    return function


# One block per subject, names in alphabetical order.
# ---- pointwise
abs = _function(Tensor.abs)
ceil = _function(Tensor.ceil)
clamp = _function(Tensor.clamp)
clamp_max = _function(Tensor.clamp_max)
clamp_min = _function(Tensor.clamp_min)
clip = _function(Tensor.clip)
cos = _function(Tensor.cos)
erf = _function(Tensor.erf)
exp = _function(Tensor.exp)
expm1 = _function(Tensor.expm1)
floor = _function(Tensor.floor)
isfinite = _function(Tensor.isfinite)
isinf = _function(Tensor.isinf)
isnan = _function(Tensor.isnan)
log = _function(Tensor.log)
log10 = _function(Tensor.log10)
log1p = _function(Tensor.log1p)
log2 = _function(Tensor.log2)
log_softmax = _function(Tensor.log_softmax)
neg = _function(Tensor.neg)
reciprocal = _function(Tensor.reciprocal)
relu = _function(Tensor.relu)
round = _function(Tensor.round)
rsqrt = _function(Tensor.rsqrt)
sigmoid = _function(Tensor.sigmoid)
sign = _function(Tensor.sign)
sin = _function(Tensor.sin)
softmax = _function(Tensor.softmax)
sqrt = _function(Tensor.sqrt)
square = _function(Tensor.square)
tanh = _function(Tensor.tanh)
trunc = _function(Tensor.trunc)

# ---- arithmetic
add = _function(Tensor.add)
addcdiv = _function(Tensor.addcdiv)
addcmul = _function(Tensor.addcmul)
allclose = _function(Tensor.allclose)
bitwise_and = _function(Tensor.bitwise_and)
bitwise_not = _function(Tensor.bitwise_not)
bitwise_or = _function(Tensor.bitwise_or)
bitwise_xor = _function(Tensor.bitwise_xor)
div = _function(Tensor.div)
eq = _function(Tensor.eq)
equal = _function(Tensor.equal)
floor_divide = _function(Tensor.floor_divide)
fmod = _function(Tensor.fmod)
ge = _function(Tensor.ge)
gt = _function(Tensor.gt)
isclose = _function(Tensor.isclose)
le = _function(Tensor.le)
lerp = _function(Tensor.lerp)
logical_and = _function(Tensor.logical_and)
logical_not = _function(Tensor.logical_not)
logical_or = _function(Tensor.logical_or)
logical_xor = _function(Tensor.logical_xor)
lt = _function(Tensor.lt)
maximum = _function(Tensor.maximum)
minimum = _function(Tensor.minimum)
mul = _function(Tensor.mul)
ne = _function(Tensor.ne)
pow = _function(Tensor.pow)
remainder = _function(Tensor.remainder)
sub = _function(Tensor.sub)
true_divide = _function(Tensor.true_divide)


@overload
def where(condition: Operand, input: Operand, other: Operand) -> Tensor: ...


@overload
def where(condition: Operand) -> tuple[Tensor, ...]: ...


def where(
    condition: Operand, input: Operand | None = None, other: Operand | None = None
) -> Tensor | tuple[Tensor, ...]:
    """``input`` where ``condition`` is true, else ``other``; the three broadcast.

    Parameters
    ----------
    condition : Tensor or array of bools
    input, other : Tensor, array or number
        If both are left out, the result is a tuple of int64 tensors, one per dimension: the indices of the
        elements of ``condition`` that are true.

    Raises
    ------
    TypeError
        If ``condition`` does not hold bools, or only one of ``input`` and ``other`` is given.

    Examples
    --------
    >>> x = fc.tensor([-1.0, 2.0])
    >>> fc.where(x > 0, x, 0.5 * x)
    tensor([-0.5,  2. ])
    """
    if input is None and other is None:
        return tuple(argument("where", "condition", condition).nonzero().unbind(1))
    check(
        input is not None and other is not None, "where", "give both input and other, or neither", TypeError
    )
    return ternary.where(condition, input, other)


# ---- reduce
all = _function(Tensor.all)
amax = _function(Tensor.amax)
amin = _function(Tensor.amin)
aminmax = _function(Tensor.aminmax)
any = _function(Tensor.any)
argmax = _function(Tensor.argmax)
argmin = _function(Tensor.argmin)
count_nonzero = _function(Tensor.count_nonzero)
logsumexp = _function(Tensor.logsumexp)
max = _function(Tensor.max)
mean = _function(Tensor.mean)
min = _function(Tensor.min)
nanmean = _function(Tensor.nanmean)
nansum = _function(Tensor.nansum)
norm = _function(Tensor.norm)
prod = _function(Tensor.prod)
sum = _function(Tensor.sum)

# ---- statistics
cummax = _function(Tensor.cummax)
cummin = _function(Tensor.cummin)
cumprod = _function(Tensor.cumprod)
cumsum = _function(Tensor.cumsum)
logcumsumexp = _function(Tensor.logcumsumexp)
std = _function(Tensor.std)
std_mean = _function(Tensor.std_mean)
var = _function(Tensor.var)
var_mean = _function(Tensor.var_mean)

# ---- shape
broadcast_to = _function(Tensor.broadcast_to)
chunk = _function(Tensor.chunk)
clone = _function(Tensor.clone)
diag = _function(Tensor.diag)
diag_embed = _function(Tensor.diag_embed)
diagonal = _function(Tensor.diagonal)
flatten = _function(Tensor.flatten)
flip = _function(Tensor.flip)
fliplr = _function(Tensor.fliplr)
flipud = _function(Tensor.flipud)
moveaxis = _function(Tensor.moveaxis)
movedim = _function(Tensor.movedim)
narrow = _function(Tensor.narrow)
permute = _function(Tensor.permute)
ravel = _function(Tensor.ravel)
repeat_interleave = _function(Tensor.repeat_interleave)
reshape = _function(Tensor.reshape)
roll = _function(Tensor.roll)
rot90 = _function(Tensor.rot90)
select = _function(Tensor.select)
split = _function(Tensor.split, split_size_or_sections="split_size")
split_with_sizes = _function(Tensor.split_with_sizes)
squeeze = _function(Tensor.squeeze)
swapaxes = _function(Tensor.swapaxes)
swapdims = _function(Tensor.swapdims)
t = _function(Tensor.t)
tensor_split = _function(Tensor.tensor_split)
tile = _function(Tensor.tile)
transpose = _function(Tensor.transpose)
unbind = _function(Tensor.unbind)
unflatten = _function(Tensor.unflatten)
unsqueeze = _function(Tensor.unsqueeze)

# ---- index
gather = _function(Tensor.gather)
index_add = _function(Tensor.index_add)
index_copy = _function(Tensor.index_copy)
index_fill = _function(Tensor.index_fill)
index_put = _function(Tensor.index_put)
index_select = _function(Tensor.index_select)
masked_fill = _function(Tensor.masked_fill)
masked_scatter = _function(Tensor.masked_scatter)
masked_select = _function(Tensor.masked_select)
scatter = _function(Tensor.scatter)
scatter_add = _function(Tensor.scatter_add)
scatter_reduce = _function(Tensor.scatter_reduce)
take = _function(Tensor.take)
take_along_dim = _function(Tensor.take_along_dim)
tril = _function(Tensor.tril)
triu = _function(Tensor.triu)

# ---- matrix
addbmm = _function(Tensor.addbmm)
addmm = _function(Tensor.addmm)
addmv = _function(Tensor.addmv)
addr = _function(Tensor.addr)
baddbmm = _function(Tensor.baddbmm)
bmm = _function(Tensor.bmm)
dot = _function(Tensor.dot)
ger = _function(Tensor.ger)
inner = _function(Tensor.inner)
kron = _function(Tensor.kron)
matmul = _function(Tensor.matmul)
mm = _function(Tensor.mm)
mv = _function(Tensor.mv)
outer = _function(Tensor.outer)
tensordot = _function(Tensor.tensordot)
trace = _function(Tensor.trace)
vdot = _function(Tensor.vdot)

# ---- sort
argsort = _function(Tensor.argsort)
bincount = _function(Tensor.bincount)
bucketize = _function(Tensor.bucketize)
histc = _function(Tensor.histc)
kthvalue = _function(Tensor.kthvalue)
median = _function(Tensor.median)
msort = _function(Tensor.msort)
nanmedian = _function(Tensor.nanmedian)
nonzero = _function(Tensor.nonzero)
sort = _function(Tensor.sort)
topk = _function(Tensor.topk)
unique = _function(Tensor.unique)
unique_consecutive = _function(Tensor.unique_consecutive)
