"""Training: :func:`fit`, :func:`graphed`, :func:`evaluate`, :func:`confusion_matrix`, :class:`History`."""

from .graphed import graphed
from .history import FIELDS, POINTS, History
from .loop import fit
from .metrics import confusion_matrix, evaluate

__all__ = ["FIELDS", "POINTS", "History", "confusion_matrix", "evaluate", "fit", "graphed"]
