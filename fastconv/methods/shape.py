"""Methods that change the shape or the order of the dimensions, and methods about memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

from fastconv.checks import check, check_axis, check_rank, one_of
from fastconv.ops import Copy
from fastconv.ops import shape as shapes
from fastconv.ops.reduce import given
from fastconv.typing import Ints
from fastconv.variable import Variable, argument

if TYPE_CHECKING:
    from typing_extensions import Self

#: PyTorch's names for orders of the axes in memory.
MEMORY_FORMATS = ("contiguous_format", "preserve_format", "channels_last", "channels_last_3d")


class ShapeMethods(Variable):
    """The same elements in another shape, or with the dimensions in another order."""

    __slots__ = ()

    # ---- shapes
    def reshape(self, *args: Ints, shape: Ints | None = None) -> Self:
        """The same elements, in logical (NCHW) order, in another shape; one extent may be -1.

        >>> fc.arange(6).reshape(2, -1).shape
        (2, 3)
        """
        return shapes.reshape(self, shapes.several(args, shape, "reshape", "shape"))

    def view(self, *args: Ints, size: Ints | None = None) -> Self:
        """:meth:`reshape` without a copy. An in-place change of the view changes the tensor too.

        It works in the cases in which PyTorch has a view: always for a new tensor, and for views whose
        elements lie in a suitable order.

        Raises
        ------
        ValueError
            If the shape does not fit, or the elements do not lie in its order, as after :meth:`permute`.

        Examples
        --------
        >>> x = fc.zeros(2, 3)
        >>> x.view(6)[0] = 1; x
        tensor([[1., 0., 0.],
                [0., 0., 0.]])
        """
        return shapes.view(self, shapes.several(args, size, "view", "size"))

    def view_as(self, other: Variable) -> Self:
        """:meth:`view` with the shape of ``other``.

        >>> fc.arange(6).view_as(fc.zeros(3, 2)).shape
        (3, 2)
        """
        return shapes.view(self, argument("view_as", "other", other).shape)

    def reshape_as(self, other: Variable) -> Self:
        """:meth:`reshape` to the shape of ``other``.

        >>> fc.arange(6).reshape_as(fc.zeros(3, 2)).shape
        (3, 2)
        """
        return shapes.reshape(self, argument("reshape_as", "other", other).shape)

    def ravel(self) -> Self:
        """All elements in one dimension, in logical order.

        >>> fc.zeros(2, 3).ravel().shape
        (6,)
        """
        return shapes.reshape(self, (-1,))

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Self:
        """Merge the dimensions ``start_dim`` to ``end_dim`` into one.

        >>> fc.zeros(2, 3, 4).flatten(1).shape
        (2, 12)
        """
        return shapes.flatten(self, start_dim, end_dim)

    def unflatten(self, dim: int, sizes: Ints) -> Self:
        """Divide dimension ``dim`` into several; one of ``sizes`` may be -1.

        >>> fc.zeros(2, 12).unflatten(1, (3, -1)).shape
        (2, 3, 4)
        """
        return shapes.unflatten(self, dim, sizes)

    def squeeze(self, dim: Ints | None = None, *, axis: Ints | None = None) -> Self:
        """Remove all dimensions of extent 1, or only those in ``dim``; larger ones in ``dim`` stay.

        >>> fc.zeros(1, 2, 1).squeeze().shape, fc.zeros(1, 2, 1).squeeze(0).shape
        ((2,), (2, 1))
        """
        return shapes.squeeze(self, given("squeeze", dim, axis))

    def unsqueeze(self, dim: int | None = None, *, axis: int | None = None) -> Self:
        """Insert a dimension of extent 1 at ``dim``.

        >>> fc.zeros(2, 3).unsqueeze(1).shape
        (2, 1, 3)
        """
        return shapes.unsqueeze(self, given("unsqueeze", dim, axis))

    # ---- order of the dimensions
    def permute(self, *args: Ints, dims: Ints | None = None) -> Self:
        """Reorder the dimensions.

        >>> fc.zeros(2, 3, 4).permute(2, 0, 1).shape
        (4, 2, 3)
        """
        return shapes.permute(self, shapes.several(args, dims, "permute", "dims"))

    def transpose(self, dim0: int, dim1: int) -> Self:
        """Exchange two dimensions.

        >>> fc.zeros(2, 3, 4).transpose(0, 2).shape
        (4, 3, 2)
        """
        return shapes.transpose(self, dim0, dim1)

    def swapaxes(self, axis0: int, axis1: int) -> Self:
        """:meth:`transpose` by NumPy's name.

        >>> fc.zeros(2, 3, 4).swapaxes(0, 2).shape
        (4, 3, 2)
        """
        return shapes.transpose(self, axis0, axis1, "swapaxes")

    def swapdims(self, dim0: int, dim1: int) -> Self:
        """:meth:`transpose` by another name.

        >>> fc.zeros(2, 3, 4).swapdims(0, 2).shape
        (4, 3, 2)
        """
        return shapes.transpose(self, dim0, dim1, "swapdims")

    def movedim(self, source: Ints, destination: Ints) -> Self:
        """Move the dimensions ``source`` to the positions ``destination``; the others keep their order.

        >>> fc.zeros(2, 3, 4).movedim(0, 2).shape
        (3, 4, 2)
        """
        return shapes.movedim("movedim", self, source, destination)

    def moveaxis(self, source: Ints, destination: Ints) -> Self:
        """:meth:`movedim` by NumPy's name.

        >>> fc.zeros(2, 3, 4).moveaxis((0, 1), (1, 2)).shape
        (4, 2, 3)
        """
        return shapes.movedim("moveaxis", self, source, destination)

    def t(self) -> Self:
        """The transposed matrix; a vector or scalar is returned unchanged.

        >>> fc.zeros(2, 3).t().shape
        (3, 2)
        """
        check_rank("t", "tensor", self.shape, (0, 1, 2), "at most a matrix")
        return shapes.permute(self, range(self.ndim)[::-1])

    @property
    def T(self) -> Self:  # noqa: N802 - NumPy's name
        """The dimensions in reverse order."""
        return shapes.permute(self, range(self.ndim)[::-1])

    @property
    def mT(self) -> Self:  # noqa: N802 - PyTorch's name
        """The transposed matrices: the last two dimensions exchanged."""
        check(self.ndim >= 2, "mT", f"expected at least two dimensions, got {self.ndim}")
        return shapes.transpose(self, -2, -1, "mT")

    # ---- memory
    def contiguous(self, memory_format: str = "contiguous_format") -> Self:
        """The tensor itself, or a copy if it is a view whose elements do not lie in logical order.

        ``memory_format`` has no effect, because the engine chooses the order of the axes in the memory of its
        results: images are channels-last.

        >>> fc.zeros(2, 3).t().contiguous().is_contiguous()
        True
        """
        one_of("contiguous", "memory_format", memory_format, MEMORY_FORMATS)
        return self if self.is_contiguous() else Copy.apply(self)

    def is_contiguous(self, memory_format: str = "contiguous_format") -> bool:
        """Whether :meth:`contiguous` returns the tensor itself.

        With ``memory_format="channels_last"`` or ``"channels_last_3d"``: whether the channels of an image or
        a volume are the innermost axis in memory.

        >>> fc.zeros(2, 3).is_contiguous(), fc.zeros(2, 3).t().is_contiguous()
        (True, False)
        """
        one_of("is_contiguous", "memory_format", memory_format, MEMORY_FORMATS)
        if memory_format.startswith("channels_last"):
            last = self.ndim == (4 if memory_format == "channels_last" else 5)
            order = (0, *range(2, self.ndim), 1)
            return last and self.array.transpose(*order).flags.c_contiguous
        return self.view_of is None or self.array.flags.c_contiguous

    @overload
    def stride(self, dim: None = None) -> tuple[int, ...]: ...

    @overload
    def stride(self, dim: int) -> int: ...

    def stride(self, dim: int | None = None) -> int | tuple[int, ...]:
        """The distance in memory, in elements, from one index to the next: along each dimension, or ``dim``.

        It may differ from PyTorch's, because images may be channels-last in memory.

        >>> fc.zeros(2, 3).stride(), fc.zeros(2, 3).t().stride(0)
        ((3, 1), 1)
        """
        steps = tuple(s // self.array.itemsize for s in self.array.strides)
        return steps if dim is None else steps[check_axis("stride", dim, self.ndim)]

    def data_ptr(self) -> int:
        """The address in memory of the first element.

        >>> x = fc.zeros(4)
        >>> x[1:].data_ptr() - x.data_ptr()
        4
        """
        a: Any = self.array
        return a.address if hasattr(a, "address") else a.__array_interface__["data"][0]

    def storage_offset(self) -> int:
        """The distance in memory, in elements, from the start of the base tensor to the start of this view.

        It is 0 for a tensor that is not a view.

        >>> fc.zeros(4)[1:].storage_offset()
        1
        """
        source: Any = self
        while source.view_of is not None:
            source = source.view_of.source
        return (self.data_ptr() - source.data_ptr()) // self.array.itemsize
