"""Programs: what a network computes, as a list of calls of the engine contract.

::

    capture.py     runs a function once and notes what it asks of the engine
    program.py     the list: values, calls, constants; it runs on any engine and prints as a table
    constants.py   what is computed of constants
    passes/        programs that compute the same with less, one rule per file
"""

from .capture import CannotCapture, capture
from .constants import Constants
from .passes import optimize
from .program import Call, Program, Value

__all__ = ["Call", "CannotCapture", "Constants", "Program", "Value", "capture", "optimize"]
