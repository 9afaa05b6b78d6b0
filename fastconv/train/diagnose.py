"""Where values that are not finite come from, in words."""

from __future__ import annotations

import numpy as np

from ..autograd import no_grad
from ..inspect.observe import Observer
from ..tensor import Tensor


def finite(t) -> bool:
    return bool(np.isfinite(t.numpy()).all())


def bad_parameter(net) -> str | None:
    """The parameter nearest to the loss that is not finite: an update reaches it before those below."""
    bad = [name for name, p in net.named_parameters() if not finite(p)]
    return f"the update made {bad[-1]} so" if bad else None


def origin(net, x) -> str:
    """Where values that are not finite first appear when ``net`` sees ``x``, in words."""
    if not finite(x):
        return "the batch from the loader is not finite"
    if bad := bad_parameter(net):
        return f"in the step before, {bad}"
    with _FirstBad(net) as seen, no_grad():
        net(x)
    return seen.found or "the output of the net is finite, that of the loss is not"


class _FirstBad(Observer):
    """Finds the first module that returns what is not finite."""

    found: str | None = None

    def row(self, name, module):
        return f"the output of {name or 'the net'} ({type(module).__name__}) is the first that is not finite"

    def returned(self, row, module, out):
        if self.found is None and isinstance(out, Tensor) and not finite(out):
            self.found = row
