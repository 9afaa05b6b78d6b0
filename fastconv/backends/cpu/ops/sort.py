"""Sorting and selecting along an axis: one row per thread at a time.

    threads: equal shares of the rows
      each element becomes an unsigned key of the same order (NaN last, -0 as 0; inverted to sort descending)
      sort       keys and places: a radix sort with digits of 8 bits, from the lowest; short rows by insertion
      kthvalue   the k-th key: from the highest digit on, count the digits, keep the keys whose digit has it
      topk       the k-th key, then all elements before it, which are sorted; few: one pass that keeps the
                 k best in order, and looks into a block only if one of its keys is better than the worst

A radix sort passes over the row once per digit, and leaves out digits that all keys share. It is stable. A
selection looks at every key once, and at few of them again.

Knuth: The Art of Computer Programming, volume 3, section 5.2.5.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from ..codegen.jit import body, kernel, split_range
from ..runtime import layout, memory
from ..runtime.scratch import per_thread
from . import borrowed as reference

SMALL = 1 << 9  # elements up to which NumPy is faster than a launch
FEW = 16  # elements up to which the best are kept in order
BLOCK = 64  # keys that are compared with the worst of these together
SHORT = 48  # elements up to which insertion is faster than a radix sort
FLOAT, SIGNED, UNSIGNED = 0, 1, 2


class Keys(NamedTuple):
    """How bits become keys: their ``kind``, the sign bit, the bits of infinity, what inverts the order."""

    kind: int
    sign: np.unsignedinteger
    infinity: np.unsignedinteger
    flip: np.unsignedinteger


# ------------------------------------------------------------------------------------------------- rows
@body
def _make_keys(bits, how, keys):
    sign, flip = how.sign, how.flip
    if how.kind == FLOAT:
        for i in range(bits.size):
            b = bits[i]
            magnitude = b & ~sign
            key = ~b if b & sign else b | sign
            key = sign if magnitude == 0 else key
            key = ~(b & ~b) if magnitude > how.infinity else key
            keys[i] = key ^ flip
    else:
        shift = sign if how.kind == SIGNED else sign ^ sign
        for i in range(bits.size):
            keys[i] = bits[i] ^ shift ^ flip


@body
def _insertion_sort(keys, places):
    for i in range(1, keys.size):
        key, place, j = keys[i], places[i], i
        while j > 0 and keys[j - 1] > key:
            keys[j], places[j] = keys[j - 1], places[j - 1]
            j -= 1
        keys[j], places[j] = key, place


@body
def _sort_keys(keys, places, other_keys, other_places, counts):
    """Sort both by the keys, and return the array that has the sorted places."""
    if keys.size <= SHORT:
        _insertion_sort(keys, places)
        return places
    counts[:] = 0
    for i in range(keys.size):
        key = np.uint64(keys[i])
        for d in range(keys.itemsize):
            counts[d, (key >> np.uint64(8 * d)) & np.uint64(255)] += 1
    for d in range(keys.itemsize):
        count, shift = counts[d], np.uint64(8 * d)
        if count[(np.uint64(keys[0]) >> shift) & np.uint64(255)] == keys.size:
            continue  # all keys share this digit
        before = 0
        for b in range(256):
            size = count[b]
            count[b] = before
            before += size
        for i in range(keys.size):
            key = keys[i]
            digit = (np.uint64(key) >> shift) & np.uint64(255)
            to = count[digit]
            count[digit] = to + 1
            other_keys[to], other_places[to] = key, places[i]
        keys, other_keys = other_keys, keys
        places, other_places = other_places, places
    return places


@body
def _select(keys, k, candidates, count):
    """The ``k``-th smallest key, ``k`` from 1, and which of the keys that equal it is meant, from 1."""
    source, size, found = keys, keys.size, np.uint64(0)
    for d in range(keys.itemsize - 1, -1, -1):
        shift = np.uint64(8 * d)
        count[:] = 0
        for i in range(size):
            count[(np.uint64(source[i]) >> shift) & np.uint64(255)] += 1
        digit = 0
        while count[digit] < k:
            k -= count[digit]
            digit += 1
        found |= np.uint64(digit) << shift
        kept = 0
        for i in range(size):
            key = source[i]
            candidates[kept] = key
            kept += (np.uint64(key) >> shift) & np.uint64(255) == np.uint64(digit)
        source, size = candidates, kept
    return found, k


@body
def _best(keys, best, places):
    """The smallest keys in order, as many as ``best`` has, and their places; the first of equal ones."""
    k = best.size
    for start in range(0, keys.size, BLOCK):
        block, better = keys[start : start + BLOCK], 0
        if start >= k:
            worst = best[k - 1]
            for i in range(block.size):
                better += block[i] < worst
            if better == 0:
                continue
        for i in range(start, start + block.size):
            key = keys[i]
            if i >= k and key >= best[k - 1]:
                continue
            j = min(i, k - 1)
            while j > 0 and best[j - 1] > key:
                best[j], places[j] = best[j - 1], places[j - 1]
                j -= 1
            best[j], places[j] = key, i


# ------------------------------------------------------------------------------------------------- kernels
@kernel
def _sort_rows(thread, threads, x, bits, how, keys, places, counts, values, index):
    n = x.shape[1]
    first, end = split_range(thread, threads, x.shape[0])
    a, b, p, q = keys[thread, 0], keys[thread, 1], places[thread, 0], places[thread, 1]
    for r in range(first, end):
        _make_keys(bits[r], how, a)
        for i in range(n):
            p[i] = i
        order = _sort_keys(a, p, b, q, counts[thread])
        for i in range(n):
            values[r, i], index[r, i] = x[r, order[i]], order[i]


@kernel
def _topk_rows(thread, threads, x, bits, how, keys, places, counts, values, index):
    n, k = x.shape[1], values.shape[1]
    first, end = split_range(thread, threads, x.shape[0])
    a, b, p, q = keys[thread, 0], keys[thread, 1], places[thread, 0, :k], places[thread, 1, :k]
    for r in range(first, end):
        _make_keys(bits[r], how, a)
        order = p
        if k <= FEW:
            _best(a, b[:k], p)
        else:
            last, equal = _select(a, k, b, counts[thread, 0])
            j = 0
            for i in range(n):  # a[j] was read before, because j <= i
                key = a[i]
                if np.uint64(key) < last or (np.uint64(key) == last and equal > 0):
                    equal -= np.uint64(key) == last
                    a[j], p[j] = key, i
                    j += 1
            order = _sort_keys(a[:k], p, b[:k], q, counts[thread])
        for i in range(k):
            values[r, i], index[r, i] = x[r, order[i]], order[i]


@kernel
def _kth_rows(thread, threads, x, bits, how, k, keys, counts, values, index):
    first, end = split_range(thread, threads, x.shape[0])
    a, b = keys[thread, 0], keys[thread, 1]
    for r in range(first, end):
        _make_keys(bits[r], how, a)
        key, equal = _select(a, k[r], b, counts[thread, 0])
        i = -1
        while equal > 0:
            i += 1
            equal -= np.uint64(a[i]) == key
        values[r], index[r] = x[r, i], i


# ------------------------------------------------------------------------------------------------- the ops
@functools.cache
def _keys(dtype: np.dtype, descending: bool) -> tuple[Keys, np.dtype]:
    """How elements of ``dtype`` become keys, and the type whose bits these are made of."""
    if dtype.kind == "f":
        wide, infinity = dtype, {4: 0x7F800000, 8: 0x7FF0000000000000}[dtype.itemsize]
        kind = FLOAT
    else:
        wide, infinity = np.result_type(dtype, np.int32), 0
        wide = np.dtype(np.uint64) if wide.kind == "f" else wide  # uint64
        kind = UNSIGNED if wide.kind == "u" else SIGNED
    word = {4: np.uint32, 8: np.uint64}[wide.itemsize]
    ones = np.iinfo(word).max
    return Keys(kind, word(ones // 2 + 1), word(infinity), word(ones if descending else 0)), wide


def _rows(x, axis):
    """``x`` as rows along ``axis``, and the shape of their array."""
    moved = np.moveaxis(x, axis, -1)
    dense = layout.dense(moved)
    return dense.reshape(-1, moved.shape[-1]), moved.shape


def _bits(rows, how, wide):
    return rows.astype(wide, copy=False).view(how.sign.dtype)


def _scratch(n, how, places):
    """Two arrays of keys and two of places per thread, and the counts of digits."""
    keys, where, counts = per_thread((2 * n, how.sign.dtype), (2 * places, np.int64), (8 * 256, np.int64))
    return (
        keys[:, : 2 * n].reshape(len(keys), 2, n),
        where[:, : 2 * places].reshape(len(where), 2, places),
        counts[:, : 8 * 256].reshape(len(counts), 8, 256),
    )


def _sorted(run, x, k, axis, descending):
    rows, shape = _rows(x, axis)
    how, wide = _keys(x.dtype, descending)
    values, index = (memory.empty((*shape[:-1], k), t) for t in (x.dtype, np.int64))
    out = values.view(np.uint8) if values.dtype == bool else values
    rows = rows.view(np.uint8) if rows.dtype == bool else rows
    run(
        rows,
        _bits(rows, how, wide),
        how,
        *_scratch(rows.shape[1], how, k),
        out.reshape(-1, k),
        index.reshape(-1, k),
    )
    return np.moveaxis(values, -1, axis), np.moveaxis(index, -1, axis)


def sort(x, axis, descending):
    if x.size < SMALL or x.dtype.char == "e":
        return reference.sort(x, axis, descending)
    return _sorted(_sort_rows, x, x.shape[axis], axis, descending)


def topk(x, k, axis, largest):
    if x.size < SMALL or x.dtype.char == "e" or k == 0:
        return reference.topk(x, k, axis, largest)
    if 4 * k > x.shape[axis]:
        values, index = sort(x, axis, largest)
        first = (slice(None),) * axis + (slice(k),)
        return values[first].copy(), index[first].copy()
    return _sorted(_topk_rows, x, k, axis, largest)


def kthvalue(x, k, axis):
    if x.size < SMALL or x.dtype.char == "e":
        return reference.kthvalue(x, k, axis)
    rows, shape = _rows(x, axis)
    how, wide = _keys(x.dtype, False)
    values, index = (memory.empty((*shape[:-1], 1), t) for t in (x.dtype, np.int64))
    out = values.view(np.uint8) if values.dtype == bool else values
    rows = rows.view(np.uint8) if rows.dtype == bool else rows
    keys, _, counts = _scratch(rows.shape[1], how, 1)
    ks = np.ascontiguousarray(np.moveaxis(k, axis, -1)).reshape(-1)
    _kth_rows(rows, _bits(rows, how, wide), how, ks, keys, counts, out.reshape(-1), index.reshape(-1))
    return np.moveaxis(values, -1, axis), np.moveaxis(index, -1, axis)
