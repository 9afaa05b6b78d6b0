"""A table of learned vectors."""

from __future__ import annotations

from typing import Any

from ...autograd import no_grad
from ...checks import check, check_count, check_shape, int_tuple
from ...creation import argument, zeros
from ...tensor import Tensor
from ...typing import DType, TensorLike
from .. import functional as F
from .. import init
from ..functional.embedding import check_options, padding_row
from ..module import Module, Parameter
from .base import float_dtype, shown


class Embedding(Module):
    """A table of ``num_embeddings`` learned vectors, whose rows are selected by integers.

    Parameters
    ----------
    num_embeddings, embedding_dim : int
    padding_idx : int, optional
        The index of a row that is zero at first and gets no gradient.
    max_norm, scale_grad_by_freq, sparse
        Not supported; ``norm_type`` belongs to ``max_norm``.
    device : {"cpu", "cuda"}, optional
    dtype : float32 or float64, optional

    Attributes
    ----------
    weight : Parameter, ``(num_embeddings, embedding_dim)``
        Initialised with standard normal numbers.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.Embedding(10, 3)(fc.tensor([[1, 2], [4, 5]])).shape
    (2, 2, 3)
    """

    weight: Parameter

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: Tensor | None = None,
        _freeze: bool = False,
        device: str | None = None,
        dtype: DType | None = None,
    ) -> None:
        super().__init__()
        check_options("Embedding", max_norm, norm_type, scale_grad_by_freq, sparse)
        self.num_embeddings = int_tuple("Embedding", "num_embeddings", num_embeddings, 1, 1)[0]
        self.embedding_dim = int_tuple("Embedding", "embedding_dim", embedding_dim, 1, 1)[0]
        self.padding_idx = padding_row("Embedding", padding_idx, self.num_embeddings)
        shape = self.num_embeddings, self.embedding_dim
        if _weight is not None:  # from_pretrained: nothing is drawn
            check_shape("Embedding", "_weight", _weight.shape, shape, "num_embeddings x embedding_dim")
            self.weight = Parameter(_weight, requires_grad=not _freeze)
            return
        check_count("Embedding", "weight", shape)
        self.weight = Parameter(zeros(shape, dtype=float_dtype("Embedding", dtype), device=device))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new standard normal numbers; the row of ``padding_idx`` becomes zero."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            with no_grad():
                self.weight[self.padding_idx] = 0.0

    @classmethod
    def from_pretrained(
        cls,
        embeddings: TensorLike,
        freeze: bool = True,
        padding_idx: int | None = None,
        max_norm: None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> Embedding:
        """A layer with the given table, ``rows x features``. With ``freeze`` the table is not trained.

        The row of ``padding_idx`` keeps its values, as in PyTorch, and no random numbers are drawn.
        """
        table: Any = argument("Embedding.from_pretrained", "embeddings", embeddings)
        check(
            table.ndim == 2,
            "Embedding.from_pretrained",
            f"embeddings must be rows x features, got {table.ndim} dimensions",
        )
        rows, features = table.shape
        options = padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse
        return cls(rows, features, *options, _weight=table, _freeze=freeze)

    def forward(self, x: TensorLike) -> Tensor:
        """The rows of the table that the integers ``x`` select."""
        return F.embedding(x, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        """The options."""
        text = "" if self.padding_idx is None else f", {shown(padding_idx=self.padding_idx)}"
        return f"{self.num_embeddings}, {self.embedding_dim}{text}"
