"""Training: :func:`fit`, :func:`evaluate`, :func:`confusion_matrix`, and the :class:`History` of a run."""

from .loop import FIELDS, POINTS, History, confusion_matrix, evaluate, fit

__all__ = ["FIELDS", "POINTS", "History", "confusion_matrix", "evaluate", "fit"]
