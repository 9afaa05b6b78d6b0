"""Helpers of several layers: the base of layers without parameters, default initialisation, reprs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from math import prod, sqrt
from types import FunctionType
from typing import Any

import numpy as np

from ... import dtypes
from ...checks import check, check_call, number
from ...creation import as_tensor
from ...dtypes import FLOAT32, FLOAT64
from ...spec import window_options
from ...tensor import Tensor
from ...typing import DType
from .. import init
from ..module import Module


def shown(**options: Any) -> str:
    """Options as the repr of a layer shows them: ``p=0.5, mode='full'``."""
    return ", ".join(f"{k}={v!r}" for k, v in options.items())


NO_OPTIONS = ("inplace", "size_average", "reduce")  # arguments that a layer accepts but does not keep


class FunctionLayer(Module):
    """A function of ``nn.functional`` as a layer without parameters.

    The layer is constructed with the options of the function, in their order or by name, and called with its
    inputs. The options become attributes; ``weight`` and ``pos_weight`` of losses become buffers. A subclass
    names its function::

        class Softmax(FunctionLayer, function=F.softmax): ...

    A function of each element also names its row in the table of unary ops, with its two numbers or the names
    of the options that they are::

        class ELU(FunctionLayer, function=F.elu, row=("elu", "alpha")): ...
    """

    function: Callable[..., Any]
    options: tuple[str, ...]  # the names of the function's parameters after its inputs
    shown: tuple[str, ...]  # the options that the repr shows
    row: tuple[str | float, ...] = ()
    ndim: int = 0  # the spatial dimensions: from a name such as "max_pool2d", or set by the layer
    __signature__: inspect.Signature

    def __init_subclass__(
        cls,
        function: Callable[..., Any] | None = None,
        inputs: int = 1,
        shown: tuple[str, ...] | None = None,
        without: tuple[str, ...] = (),
        row: tuple[str | float, ...] = (),
        **kwargs: Any,
    ) -> None:
        """Derive the constructor of ``cls`` from the signature of ``function``.

        The first ``inputs`` parameters of the function are inputs. The others are options, except those in
        ``without``. ``shown`` names the options that the repr shows, by default all. ``inplace`` is accepted
        but is not an option, because it has no effect; nor are the deprecated ``size_average`` and ``reduce``
        of losses.
        """
        super().__init_subclass__(**kwargs)
        if function is None:  # a user's subclass of a layer
            return
        options = list(inspect.signature(function).parameters.values())[inputs:]
        options = [o for o in options if o.name not in without]
        cls.function = staticmethod(function)
        cls.row = row
        cls.options = tuple(o.name for o in options if o.name not in NO_OPTIONS)
        if function.__name__[-2].isdigit():
            cls.ndim = int(function.__name__[-2])
        cls.shown = cls.options if shown is None else shown
        cls.__signature__ = inspect.Signature(options)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        bound = check_call(type(self).__name__, self.__signature__, args, kwargs)
        bound.apply_defaults()
        for name, value in bound.arguments.items():
            if name in ("weight", "pos_weight"):
                self.register_buffer(name, None if value is None else as_tensor(value))
            else:
                setattr(self, name, value)
        if "kernel_size" in self.options:
            name = type(self).__name__
            padding, dilation = getattr(self, "padding", 0), getattr(self, "dilation", 1)
            if self.stride is None:
                self.stride = self.kernel_size
            window_options(name, self.ndim, self.kernel_size, self.stride, padding, dilation)

    def forward(self, *inputs: Any) -> Any:
        """The layer's function with the layer's options."""
        return self.function(*inputs, **{o: getattr(self, o) for o in self.options})

    def pointwise_op(self) -> tuple[str, float, float] | None:
        """The layer's row in the table of unary ops, and the row's numbers; None if it has none."""
        if not self.row:
            return None
        name, *given = self.row
        what = self.function.__name__
        numbers = [number(what, n, getattr(self, n)) if isinstance(n, str) else n for n in given]
        p, q = (*numbers, 0.0, 0.0)[:2]
        return str(name), p, q

    def extra_repr(self) -> str:
        """The options."""
        return shown(**{o: getattr(self, o) for o in self.shown})


def float_dtype(name: str, dtype: DType | None) -> np.dtype[Any]:
    """The dtype of a layer's parameters: ``dtype``, or float32 if it is None."""
    found = FLOAT32 if dtype is None else dtypes.parse(name, dtype)
    check(found in (FLOAT32, FLOAT64), name, f"dtype must be float32 or float64, got {found}", TypeError)
    return found


def own_init(cls: type[Module]) -> None:
    """Give ``cls`` the inherited ``__init__`` as a function of its own, named after ``cls``.

    Python's messages about wrong arguments name the function. A user who wrote ``Conv2d(1, 4)`` should read
    that name, not the name of a private base.
    """
    if "__init__" not in cls.__dict__:
        base: Any = cls.__init__
        own: Any = FunctionType(
            base.__code__, base.__globals__, "__init__", base.__defaults__, base.__closure__
        )
        own.__kwdefaults__, own.__annotations__ = base.__kwdefaults__, base.__annotations__
        own.__qualname__ = f"{cls.__qualname__}.__init__"
        cls.__init__ = own


def default_init(weight: Tensor, bias: Tensor | None) -> None:
    """PyTorch's default: weight and bias are uniform in ``[-b, b)`` with ``b = 1 / sqrt(fan_in)``."""
    init.kaiming_uniform_(weight, a=sqrt(5))
    if bias is not None:
        bound = 1 / sqrt(prod(weight.shape[1:]))
        init.uniform_(bias, -bound, bound)
