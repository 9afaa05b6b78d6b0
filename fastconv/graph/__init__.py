"""Programs: what a network computes, as a list of calls of the engine contract.

::

    tracing.py     the program of a network           capture.py   runs a function once and notes its calls
    values.py      values and calls                   program.py   the list of calls; it runs on any engine
    passes/        programs that compute the same with less, one rule per file
    constants.py   what is computed of constants      memory.py    how much memory results need
    files.py       programs as files                  encoding.py  arguments of calls as JSON
    rules/         what calls accept and return       picture.py   programs as SVG
    layered.py     the places of boxes                wording.py   the text in them
    module.py      a program as a Module
"""

from .capture import CannotCapture, capture
from .constants import Constants
from .memory import Memory
from .module import GraphModule
from .passes import FOR_ENGINE, optimize
from .picture import Picture
from .program import Call, Program, Value, load
from .tracing import trace

__all__ = [
    "FOR_ENGINE",
    "Call",
    "CannotCapture",
    "Constants",
    "GraphModule",
    "Memory",
    "Picture",
    "Program",
    "Value",
    "capture",
    "load",
    "optimize",
    "trace",
]
