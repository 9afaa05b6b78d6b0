"""A trained network made ready for use: ``optimize_for_inference``.

The copy gets a ``forward`` of its own. For each shape of its inputs it captures the net as a program, runs
the passes of ``graph`` on it, and lets the engine record the result. No module of the copy is changed, so a
module may be used twice, shared by two parents, or called on its own.

    optimize.py   the public function
    recorder.py   the forward: programs by shapes, weights and settings
    merged.py     the same program as modules, one for each merged layer, as ``profile`` times it
"""

from .optimize import optimize_for_inference

__all__ = ["optimize_for_inference"]
