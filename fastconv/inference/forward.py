"""What a module computes: what its class says, or the ``forward`` that it was given."""

from __future__ import annotations

from .. import nn


class Forward:
    """What a module calls in place of its class' ``forward``, and computes the same. Copies and pickles leave
    out what was worked out from the module.

    Attributes
    ----------
    module : Module
    own : callable or None
        The attribute ``forward`` that the module had before.
    """

    def __init__(self, module: nn.Module, own=None):
        self.module, self.own = module, own

    def __getstate__(self):
        return {"module": self.module, "own": self.own}

    def __setstate__(self, state):
        self.__init__(**state)

    def plain(self, *args, **kwargs):
        return (
            type(self.module).forward(self.module, *args, **kwargs)
            if self.own is None
            else self.own(*args, **kwargs)
        )


def given(module):
    """The attribute ``forward`` that ``module`` has from its user."""
    own = vars(module).get("forward")
    while isinstance(own, Forward):
        own = own.own
    return own


def computes_as(module, *kinds) -> bool:
    """Whether ``module`` computes what one of ``kinds`` does: a subclass that overrides any of its parts may
    not."""
    for kind in kinds:
        if isinstance(module, kind):
            return given(module) is None and (type(module) is kind or _unchanged(module, kind))
    return False


def _unchanged(module, kind) -> bool:
    """Whether all that may take part in computing is that of ``kind``: not what constructs and prints."""
    names = {n for n in (*dir(kind), *vars(module)) if not n.startswith("__")} - {
        "reset_parameters",
        "extra_repr",
    }
    names |= {"__call__", "__getattr__", "__getattribute__", "__iter__", "__len__"}
    return all(getattr(type(module), n, None) is getattr(kind, n, None) for n in names)
