"""Where values that are not finite first appeared, in words."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..inspect.observe import Observer
from ..nn import Module
from ..tape import no_grad
from ..tensor import Tensor


def finite(t: Tensor) -> bool:
    """Whether ``t`` holds neither NaN nor infinity."""
    return bool(np.isfinite(t.numpy()).all())


def bad_parameter(net: Module) -> str | None:
    """The last parameter that is not finite, in words; None if all are.

    The last one is nearest to the loss, so the backward pass reached it first.
    """
    bad = [name for name, p in net.named_parameters() if not finite(p)]
    return f"the update made {bad[-1]} so" if bad else None


def origin(net: Module, x: Tensor) -> str:
    """Where values that are not finite first appear when ``net`` sees ``x``, in words."""
    if not finite(x):
        return "the batch from the loader is not finite"
    if bad := bad_parameter(net):
        return f"in the step before, {bad}"
    with _FirstBad(net) as seen, no_grad():
        net(x)
    return seen.found or "the output of the net is finite, that of the loss is not"


class _FirstBad(Observer):
    """Finds the first module that returns values that are not finite."""

    found: str | None = None

    def row(self, name: str, module: Module) -> str:
        return f"the output of {name or 'the net'} ({type(module).__name__}) is the first that is not finite"

    def returned(self, row: Any, module: Module, out: Any) -> None:
        if self.found is None and isinstance(out, Tensor) and not finite(out):
            self.found = row
