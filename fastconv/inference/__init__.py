"""A trained network made ready for use: ``optimize_for_inference``.

Modules of the copy get a ``forward`` of their own that computes what their class computes, in fewer passes
over memory: a ``Sequential`` fuses the layers that it calls. No layer is changed or replaced, so it does
not matter who else calls it: a module may be used twice, shared by two parents, or called by a user's
``forward``.

    optimize.py      the public function: assigns the forwards
    recorder.py      of the net: its kernels, recorded
    chains.py        of a Sequential, of a residual block, of a layer on its own
    in_sequence.py   of modules that a user's forward calls one after the other
    rules.py         which layers are fused          fused.py   the fused layers
    forward.py       the base of all these forwards, and whether a subclass computes what its base computes
"""

from .optimize import optimize_for_inference

__all__ = ["optimize_for_inference"]
