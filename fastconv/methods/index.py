"""Items, read and assigned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastconv import inplace
from fastconv.ops import GetItem
from fastconv.ops.index import plain_key
from fastconv.typing import Operand
from fastconv.variable import Variable

if TYPE_CHECKING:
    from typing_extensions import Self


class IndexMethods(Variable):
    """Parts of a tensor, read and assigned."""

    __slots__ = ()

    def __getitem__(self, key: Any) -> Self:
        return GetItem.apply(self, key=plain_key(key))

    def __setitem__(self, key: Any, value: Operand) -> None:
        inplace.assign(self, key, value)
