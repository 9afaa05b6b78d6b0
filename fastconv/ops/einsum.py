"""Einstein summation: products of several tensors, summed over the indices that the result does not have.

An equation gives each dimension a letter. The operands are multiplied from the left to the right. Each pair
is one product of batches of matrices. "Needed later" means that a later operand or the result has the letter:

    letters of both, needed later         batch
    letters of both, not needed later     summed over
    letters of one, needed later          rows (left operand), columns (right operand)

Letters of one operand that are not needed later are summed over before the product. Dimensions of extent 1
broadcast, as in PyTorch. Each dimension of an ellipsis counts as a letter of its own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import prod
from typing import Any

from fastconv.checks import check, shape_str
from fastconv.variable import Variable

from .matmul import MatMul
from .reduce import reduce
from .shape import permute, reshape
from .views import diagonal, expand

NAME = "einsum"
Letters = tuple[Any, ...]  # the dimensions of an operand: letters, or ints for the dimensions of an ellipsis


def einsum(equation: str, operands: Sequence[Variable]) -> Any:
    """The sum that ``equation`` describes."""
    inputs, output = _parsed(equation, operands)
    terms = [_without_repeats(x, letters) for x, letters in zip(operands, inputs)]
    extents: dict[Any, int] = {}
    for i, (x, letters) in enumerate(terms):
        for letter, n in zip(letters, x.shape):
            known = extents.setdefault(letter, n)
            check(
                known == n or 1 in (known, n),
                NAME,
                f"{_word(letter)} has extent {n} in operand {i} ({shape_str(operands[i].shape)}), "
                f"and {known} in an earlier one",
            )
            extents[letter] = max(known, n) if 0 not in (known, n) else 0
    first, *others = terms
    for i, other in enumerate(others):
        later = {*output, *(letter for _, letters in others[i + 1 :] for letter in letters)}
        first = _product(first, other, later)
    x, letters = _summed(*first, {*output})
    y = permute(x, ([letters.index(letter) for letter in output],))
    wanted = tuple(extents[letter] for letter in output)
    return y if y.shape == wanted else expand(NAME, y, (wanted,))


def _word(letter: Any) -> str:
    return f"index {letter!r}" if isinstance(letter, str) else "a dimension of the ellipsis"


def _parsed(equation: str, operands: Sequence[Variable]) -> tuple[list[Letters], Letters]:
    """The letters of each operand and of the result."""
    text = equation.replace(" ", "")
    left, arrow, right = text.partition("->")
    parts = left.split(",")
    for part in (*parts, right):
        check(
            re.fullmatch(r"[A-Za-z]*(\.\.\.)?[A-Za-z]*", part) is not None,
            NAME,
            f"expected letters, '...', commas and '->', got {part!r} in the equation {equation!r}",
        )
    check(
        len(parts) == len(operands),
        NAME,
        f"the equation {equation!r} has {len(parts)} operands, and {len(operands)} were given",
    )
    rests = []
    for i, (part, x) in enumerate(zip(parts, operands)):
        count = len(part.replace("...", ""))
        rest = x.ndim - count
        check(
            rest == 0 or (rest > 0 and "..." in part),
            NAME,
            f"{part!r} names {count} dimensions, and operand {i} has {x.ndim} ({shape_str(x.shape)})"
            + ("; '...' stands for the others" if rest > 0 else ""),
        )
        rests.append(rest if "..." in part else 0)
    most = max(rests)

    def letters(part: str, rest: int) -> Letters:
        before, dots, after = part.partition("...")
        return (*before, *(range(most - rest, most) if dots else ()), *after)

    inputs = [letters(part, rest) for part, rest in zip(parts, rests)]
    if arrow:
        output = letters(right, most)
        check(len({*output}) == len(output), NAME, f"an index occurs twice in the result {right!r}")
        given = {letter for found in inputs for letter in found}
        missing = [x for x in output if x not in given]
        check(
            not missing or not isinstance(missing[0], str),
            NAME,
            f"the result {right!r} has an index that no operand has: {missing[:1]}",
        )
        return inputs, output
    names = sorted("".join(part.replace("...", "") for part in parts))
    return inputs, (*range(most), *(n for n in dict.fromkeys(names) if names.count(n) == 1))


def _without_repeats(x: Any, letters: Letters) -> tuple[Any, Letters]:
    """``x`` with each letter once: its diagonal replaces two dimensions that have the same letter."""
    while len({*letters}) < len(letters):
        twice = next(letter for letter in letters if letters.count(letter) > 1)
        a, b = (i for i, letter in enumerate(letters) if letter == twice and letters[:i].count(twice) < 2)
        check(
            x.shape[a] == x.shape[b],
            NAME,
            f"index {twice!r} occurs twice in an operand, with the extents {x.shape[a]} and {x.shape[b]}",
        )
        x = diagonal(x, 0, a, b)
        letters = (*(letter for i, letter in enumerate(letters) if i not in (a, b)), twice)
    return x, letters


def _summed(x: Any, letters: Letters, kept: set[Any]) -> tuple[Any, Letters]:
    """``x`` summed over the letters that are not ``kept``."""
    axes = [i for i, letter in enumerate(letters) if letter not in kept]
    if not axes:
        return x, letters
    return reduce("sum", x, axes, False), tuple(letter for letter in letters if letter in kept)


def _product(a: tuple[Any, Letters], b: tuple[Any, Letters], later: set[Any]) -> tuple[Any, Letters]:
    """The product of two operands, summed over the letters that are not needed ``later``."""
    x, ours = _summed(*a, {*b[1], *later})
    y, theirs = _summed(*b, {*ours, *later})
    shared = [letter for letter in ours if letter in theirs]
    batch = [letter for letter in shared if letter in later]
    inner = [letter for letter in shared if letter not in later]
    # If a letter has extent 1 in one operand, it broadcasts: the sum is the sum over the other operand.
    for letter in [*inner]:
        m, n = x.shape[ours.index(letter)], y.shape[theirs.index(letter)]
        if m != n:
            if m == 1:
                y, theirs = _summed(y, theirs, {*theirs} - {letter})
                x, ours = _summed(x, ours, {*ours} - {letter})
            else:
                x, ours = _summed(x, ours, {*ours} - {letter})
                y, theirs = _summed(y, theirs, {*theirs} - {letter})
            inner.remove(letter)
    rows = [letter for letter in ours if letter not in shared]
    columns = [letter for letter in theirs if letter not in shared]
    x = permute(x, ([ours.index(letter) for letter in (*batch, *rows, *inner)],))
    y = permute(y, ([theirs.index(letter) for letter in (*batch, *inner, *columns)],))
    result = (*batch, *rows, *columns)
    if not inner:  # nothing is summed: a pointwise product
        x = reshape(x, ((*x.shape, *(1,) * len(columns)),))
        y = reshape(y, ((*y.shape[: len(batch)], *(1,) * len(rows), *y.shape[len(batch) :]),))
        return x * y, result
    lead_x, lead_y = x.shape[: len(batch)], y.shape[: len(batch)]
    row_shape = x.shape[len(batch) : len(batch) + len(rows)]
    column_shape = y.shape[len(batch) + len(inner) :]
    depth = prod(x.shape[len(batch) + len(rows) :])
    product = MatMul.apply(
        reshape(x, ((*lead_x, prod(row_shape), depth),)), reshape(y, ((*lead_y, depth, prod(column_shape)),))
    )
    return reshape(product, ((*product.shape[: len(batch)], *row_shape, *column_shape),)), result
