"""Training: :func:`fit`, :func:`evaluate`, :func:`confusion_matrix`, and the :class:`History` of a run."""

from .history import FIELDS, POINTS, History
from .loop import fit
from .metrics import confusion_matrix, evaluate

__all__ = ["FIELDS", "POINTS", "History", "confusion_matrix", "evaluate", "fit"]
