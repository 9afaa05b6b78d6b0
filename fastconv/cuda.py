"""What there is to compute on besides the processor."""

from __future__ import annotations

from importlib.util import find_spec


def is_available() -> bool:
    """Whether tensors can be put on a GPU here: never without the ``cuda`` backend, which this version does not have."""
    return find_spec("fastconv.backends.cuda") is not None
