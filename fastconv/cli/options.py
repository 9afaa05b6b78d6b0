"""What the commands use to declare their options: help with defaults, checked numbers, names of models."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from difflib import get_close_matches
from math import inf
from typing import Any, TypeVar

from .. import models

Number = TypeVar("Number", int, float)


class Help(argparse.ArgumentDefaultsHelpFormatter):
    """Adds the default to an option's help, unless there is none or the help names it already."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help or ""
        own = action.default is None or action.default is False or "default" in text
        return action.help if own else super()._get_help_string(action)


def command(
    where: Any, name: str, run: Callable[[argparse.Namespace], int], text: str
) -> argparse.ArgumentParser:
    """Add a command to a group of commands: ``run`` gets the parsed options and returns the exit status."""
    parser: argparse.ArgumentParser = where.add_parser(
        name, help=text, description=text, formatter_class=Help
    )
    parser.add_argument("--traceback", action="store_true", help="show where an error came from")
    parser.set_defaults(run=run)
    return parser


def _value(
    kind: Callable[[str], Number], expected: str, ok: Callable[[Number], bool]
) -> Callable[[str], Number]:
    """The type of an option: ``kind`` of its text if ``ok``, else an error that names ``expected``."""

    def parse(text: str) -> Number:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not ok(value):
            raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
        return value

    return parse


AT_LEAST_0 = _value(int, "a whole number of at least 0", lambda n: n >= 0)
AT_LEAST_1 = _value(int, "a whole number of at least 1", lambda n: n >= 1)
NOT_NEGATIVE = _value(float, "a number of at least 0", lambda x: 0 <= x < inf)
POSITIVE = _value(float, "a number above 0", lambda x: 0 < x < inf)
BELOW_1 = _value(float, "a number of at least 0 and below 1", lambda x: 0 <= x < 1)

#: The functions of :mod:`fastconv.models`.
MODELS = models.list_models()


def model(name: str) -> str:
    """The type of an option that names a model; ``lenet`` is ``lenet5``, as ``fastconv train`` calls it."""
    if name == "lenet":
        return "lenet5"
    if name not in MODELS:
        near = get_close_matches(name, MODELS, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise argparse.ArgumentTypeError(
            f"there is no model {name!r}; {hint}Known are lenet, {', '.join(MODELS)}"
        )
    return name
