"""BatchNorm and the ReLU behind it as one op, in a training step that is recorded.

A user writes ``F.relu(self.norm(x))``, which is four ops in a step. Where nothing else reads the result of
the norm, nor the gradient between the two, they are two::

    y = batch_norm_train_fwd(x, ...)                 y = batch_norm_train_fwd(x, ..., "relu")
    z = unary_fwd("relu", y)                         z = y
    ...                                              ...
    gy = unary_bwd("relu", gz, z)                    gy = gz
    gx = batch_norm_train_bwd(gy, saved)             gx = batch_norm_train_bwd(gy, saved)

The first recording of a step is watched to find such pairs. The second one uses them, and the bits of all its
other results must be those of the first.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from fastconv.backends.stand_in import StandIn


def arrays_in(structure: Any) -> Iterator[np.ndarray]:
    """The arrays in tuples, lists and objects with an attribute ``array`` (Tensors)."""
    if isinstance(structure, np.ndarray):
        yield structure
    elif isinstance(structure, (tuple, list)):
        for part in structure:
            yield from arrays_in(part)
    elif isinstance(structure, dict):
        yield from arrays_in(list(structure.values()))
    elif isinstance(getattr(structure, "array", None), np.ndarray):
        yield structure.array


ARRAY = object()


class _Call(NamedTuple):
    name: str
    args: tuple[Any, ...]  # an array is ARRAY
    reads: list[tuple[int, int] | None]  # for each array in the arguments the value that it is
    digest: int  # of the result


class Watched:
    """The ops of a step: what they read, and digests of what they return.

    Parameters
    ----------
    pairs : dict
        What is done otherwise, from :meth:`pairs` of an earlier run of the step.
    """

    def __init__(self, pairs: Mapping[int, Any] | None = None) -> None:
        self._changed = pairs or {}
        self._calls: list[_Call] = []
        self._values: dict[int, tuple[int, int]] = {}  # id of an array -> call and place in its result
        self._readers: defaultdict[tuple[int, int] | None, list[int]] = defaultdict(list)

    def engine(self, engine: Any) -> StandIn:
        """``engine``, whose ops are watched."""
        return StandIn(engine, partial(self._run, engine))

    def _run(self, engine: Any, name: str, args: tuple[Any, ...]) -> Any:
        op, number = getattr(engine, name), len(self._calls)
        if number not in self._changed:
            result = op(*args)
        elif (activation := self._changed[number]) is None:
            result = args[1]
        else:
            result = op(*args[:5], activation, *args[6:])
        self._note(name, args, result)
        return result

    def _note(self, name: str, args: tuple[Any, ...], result: Any) -> None:
        number, given = len(self._calls), list(arrays_in(args))
        reads = [self._values.get(id(a)) for a in given]
        for value in reads:
            self._readers[value].append(number)
        digest, own = 0, {id(a) for a in given}
        for place, a in enumerate(arrays_in(result)):
            if id(a) not in own:
                self._values[id(a)] = number, place
            digest = zlib.crc32(np.ascontiguousarray(a).view(np.uint8).reshape(-1), digest)
        plain = tuple(ARRAY if isinstance(a, np.ndarray) else a for a in args)
        self._calls.append(_Call(name, plain, reads, digest))

    def pairs(self, output: Any) -> dict[int, Any]:
        """What to do at which call: the activation of a norm, or None where the first array is the result.

        ``output`` is what the step returns.
        """
        returned = {self._values.get(id(a)) for a in arrays_in(output)}
        found: dict[int, Any] = {}
        for j, call in enumerate(self._calls):
            if call.name != "unary_fwd" or call.args[0] != "relu" or call.reads[0] is None:
                continue
            i, place = call.reads[0]
            norm = self._calls[i]
            if norm.name != "batch_norm_train_fwd" or place:
                continue
            if norm.args[3] is not None or norm.args[5] is not None:  # a residual, an activation
                continue
            backs = [k for k in self._readers[j, 0] if self._is_back(k)]
            ends = [n for k in backs for n in self._readers[k, 0]]
            alone = self._readers[i, 0] == [j] and (i, 0) not in returned
            if not alone or len(backs) != 1 or len(ends) != 1 or (backs[0], 0) in returned:
                continue
            last = self._calls[ends[0]]
            if last.name != "batch_norm_train_bwd" or not any(v and v[0] == i for v in last.reads[1:]):
                continue
            found[i], found[j], found[backs[0]] = "relu", None, None
        return found

    def _is_back(self, k: int) -> bool:
        return self._calls[k].name == "unary_bwd" and self._calls[k].args[0] == "relu"

    def same(self, other: Watched) -> bool:
        """Whether all results of ``other`` have these bits, but those that its pairs leave out or change."""
        pairs = other._changed
        if len(self._calls) != len(other._calls):
            return False
        return all(
            a.name == b.name and (a.digest == b.digest or n in pairs and a.name != "unary_fwd")
            for n, (a, b) in enumerate(zip(self._calls, other._calls))
        )
