"""Methods that repeat elements, or put them in another order along a dimension."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastconv.checks import check, check_axis, check_count, int_tuple, shape_str
from fastconv.ops import gather, reorder, views
from fastconv.ops import shape as shapes
from fastconv.typing import Ints
from fastconv.variable import Variable, argument

if TYPE_CHECKING:
    from typing_extensions import Self


class RepeatMethods(Variable):
    """Elements repeated, or in another order."""

    __slots__ = ()

    # ---- repeated
    def expand(self, *args: Ints, size: Ints | None = None) -> Self:
        """The tensor repeated along dimensions of extent 1 and along new leading ones, without a copy.

        -1 keeps an extent. The result cannot be changed in place.

        >>> fc.tensor([[1], [2]]).expand(-1, 3)
        tensor([[1, 1, 1],
                [2, 2, 2]])
        """
        return views.expand("expand", self, shapes.several(args, size, "expand", "size"))

    def expand_as(self, other: Variable) -> Self:
        """:meth:`expand` to the shape of ``other``.

        >>> fc.ones(3).expand_as(fc.zeros(2, 3)).shape
        (2, 3)
        """
        return views.expand("expand_as", self, argument("expand_as", "other", other).shape)

    def broadcast_to(self, size: Ints) -> Self:
        """:meth:`expand` by NumPy's name.

        >>> fc.ones(3).broadcast_to((2, 3)).shape
        (2, 3)
        """
        return views.expand("broadcast_to", self, shapes.several((size,)))

    def repeat(self, *args: Ints, repeats: Ints | None = None) -> Self:
        """Copies of the tensor laid side by side: a number of copies for each dimension.

        If there are more numbers than dimensions, the tensor gets new leading dimensions. NumPy's ``repeat``
        is :meth:`repeat_interleave`.

        >>> fc.tensor([1, 2]).repeat(2, 2)
        tensor([[1, 2, 1, 2],
                [1, 2, 1, 2]])
        """
        return views.repeat("repeat", self, shapes.several(args, repeats, "repeat", "repeats"))

    def tile(self, *args: Ints, dims: Ints | None = None) -> Self:
        """:meth:`repeat`, but there may be fewer numbers than dimensions; the missing leading ones are 1.

        >>> fc.zeros(2, 3).tile(2).shape
        (2, 6)
        """
        times = shapes.several(args, dims, "tile", "dims")
        return views.repeat("tile", self, (1,) * (self.ndim - len(times)) + times)

    def repeat_interleave(
        self, repeats: Ints | Variable, dim: int | None = None, *, output_size: int | None = None
    ) -> Self:
        """Each element (or slice along ``dim``) repeated; its copies follow one another.

        Parameters
        ----------
        repeats : int or tensor of ints
            The number of copies of every slice, or one number for each slice.
        dim : int, optional
            By default the tensor is flattened first.
        output_size : int, optional
            The extent of the result. It is only checked.

        Examples
        --------
        >>> fc.tensor([1, 2]).repeat_interleave(2)
        tensor([1, 1, 2, 2])
        """
        name = "repeat_interleave"
        x = shapes.reshape(self, (-1,)) if dim is None else self
        axis = check_axis(name, 0 if dim is None else dim, x.ndim)
        n = x.shape[axis] if x.ndim else 1
        counts = argument(name, "repeats", repeats).numpy()
        check(
            counts.dtype.kind in "iu" and counts.ndim < 2 and counts.size in (1, n),
            name,
            f"repeats must be an int, or an int for each of the {n} slices, got {counts.dtype} "
            f"{shape_str(counts.shape)}",
        )
        counts = np.broadcast_to(counts.reshape(-1), (n,)) if counts.size == 1 else counts
        check(counts.min(initial=0) >= 0, name, f"repeats must be at least 0, got {counts.min(initial=0)}")
        check_count(name, "the result", (int(counts.sum(dtype=np.float64)),))
        total = int(counts.sum())
        check(
            output_size in (None, total),
            name,
            f"the result has extent {total} in dimension {axis}, not output_size {output_size}",
        )
        return gather.index_select(x, axis, np.repeat(np.arange(n), counts))

    # ---- another order
    def flip(self, *args: Ints, dims: Ints | None = None) -> Self:
        """A copy with the elements along ``dims`` in reverse order.

        >>> fc.tensor([[1, 2], [3, 4]]).flip(1)
        tensor([[2, 1],
                [4, 3]])
        """
        return reorder.flip("flip", self, shapes.several(args, dims, "flip", "dims"))

    def fliplr(self) -> Self:
        """:meth:`flip` of dimension 1.

        >>> fc.tensor([[1, 2], [3, 4]]).fliplr()
        tensor([[2, 1],
                [4, 3]])
        """
        check(self.ndim > 1, "fliplr", f"expected at least two dimensions, got {self.ndim}")
        return reorder.flip("fliplr", self, (1,))

    def flipud(self) -> Self:
        """:meth:`flip` of dimension 0.

        >>> fc.tensor([[1, 2], [3, 4]]).flipud()
        tensor([[3, 4],
                [1, 2]])
        """
        check(self.ndim > 0, "flipud", "expected at least one dimension, got a scalar")
        return reorder.flip("flipud", self, (0,))

    def roll(self, shifts: Ints, dims: Ints | None = None) -> Self:
        """The elements along ``dims`` moved by ``shifts``; those moved past one end enter at the other.

        Without ``dims`` the tensor is rolled as if it were flat, and keeps its shape.

        >>> fc.tensor([1, 2, 3]).roll(1)
        tensor([3, 1, 2])
        """
        several: Any = shapes.several((shifts,))
        moves = int_tuple("roll", "shifts", several, len(several), -(1 << 40))
        along = () if dims is None else shapes.several((dims,))
        if not along and len(moves) == 1:
            flat = reorder.roll(shapes.reshape(self, (-1,)), moves, (0,))
            return shapes.reshape(flat, (self.shape,))
        check(
            len(moves) == len(along),
            "roll",
            f"expected as many shifts as dims, got {len(moves)} and {len(along)}",
        )
        return reorder.roll(self, moves, along)

    def rot90(self, k: int = 1, dims: tuple[int, int] = (0, 1)) -> Self:
        """Rotate by ``k`` times 90 degrees in the plane of two dimensions, from the first to the second.

        >>> fc.tensor([[1, 2], [3, 4]]).rot90()
        tensor([[2, 4],
                [1, 3]])
        """
        check(len(shapes.several((dims,))) == 2, "rot90", f"expected two dims, got {dims}")
        a, b = views.two_axes("rot90", self.ndim, *dims)
        (turns,) = int_tuple("rot90", "k", k, 1, -(1 << 40))
        if turns % 2 == 0:
            return reorder.flip("rot90", self, (a, b) if turns % 4 else ())
        flipped = reorder.flip("rot90", self, (b if turns % 4 == 1 else a,))
        return shapes.transpose(flipped, a, b)
