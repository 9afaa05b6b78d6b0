"""A forward pass as a list of kernel launches: recorded once per shape of input, then run without the layers.

Between two kernels a layer spends some 100 microseconds on shapes, checks and memory, which is as long as a
small kernel takes. All of this is the same for the next input of the same shape. So the launches keep their
arguments, and scratch and results stay at their place in memory that belongs to the recording.

    first call    layers -> shapes, checks, memory -> kernel(arguments) -> layers -> ...
                                                      (the arguments are noted)
    later calls   copy the input to its place; kernel(arguments); kernel(arguments); ...; copy the result
"""

from __future__ import annotations

import numpy as np

from ..codegen import jit
from . import layout, memory


class _Place:
    """The memory of an array, without the array that keeps it."""

    def __init__(self, x: np.ndarray):
        self.__array_interface__ = x.__array_interface__


class RecordedForward:
    """``function`` on arrays of the shape and dtype of ``x``.

    Only its kernels may depend on the input, because whatever else ``function`` does happens in the recording
    only.
    """

    def __init__(self, function, x: np.ndarray):
        self._arena, self._launches, self._kept = memory.Arena(), [], []
        with self._arena, jit.recording(self._note):
            # In the order that kernels read. NumPy would make a copy into that order, which is not recorded.
            self._x = layout.empty(x.shape, x.dtype)[0] if x.ndim > 2 else memory.empty(x.shape, x.dtype)
            np.copyto(self._x, x)
            self._y = function(self._x)

    def _note(self, kernel, args):
        if kernel is None:
            self._kept.append(args)
        else:
            self._launches.append((kernel, tuple(map(self._without_owner, args))))

    def _without_owner(self, argument):
        """The argument as later launches use it.

        Arrays of the arena do not keep their blocks, because launches that follow use these blocks again.
        """
        if isinstance(argument, tuple):
            return tuple(map(self._without_owner, argument))
        if isinstance(argument, np.ndarray) and memory.home(argument) is self._arena:
            return np.asarray(_Place(argument))
        return argument

    def __call__(self, x: np.ndarray) -> np.ndarray:
        with jit.lock:
            np.copyto(self._x, x)
            for kernel, args in self._launches:
                kernel(*args)
            return self._y.copy(order="K")


def record(function, x):
    """A :class:`RecordedForward` of ``function``, or None if it gives another result for another input."""
    replay = RecordedForward(function, x)
    other = x * x.dtype.type(-0.5)
    same = np.array_equal(replay(other), function(other), equal_nan=True)
    return replay if same else None
