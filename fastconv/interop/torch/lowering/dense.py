"""Products of matrices."""

from __future__ import annotations

from typing import Any

from .table import Lowering


def _addmm(engine: Any, bias: Any, x: Any, w: Any) -> Any:
    """``w`` is ``(in, out)``, usually the view ``weight.T`` of a layer."""
    return engine.linear_fwd(x, engine.permute(w, (1, 0)), bias)


def _matmul(engine: Any, a: Any, b: Any) -> Any:
    return engine.matmul(a, b)


def _is_layer(bias: Any, x: Any, w: Any, **options: Any) -> bool:
    return bias.ndim == 1 and not options


def _plain(a: Any, b: Any, **options: Any) -> bool:
    return not options


OPS = {
    "aten.addmm.default": Lowering(_addmm, _is_layer),
    "aten.mm.default": Lowering(_matmul, _plain),
    "aten.bmm.default": Lowering(_matmul, _plain),
}
