"""What the kernels of all passes do with tiles: sort them by kind, list the addresses of their pixels.

A transform reads and writes pixels through a table of addresses. Pixels outside the image have the address of
a page of zeros, if they are read, or of the *sink*, memory that nobody reads, if they are written::

    tile at the image's        x x 0        table of 9 addresses:     x00 x01 zero
    right edge                 x x 0                                  x10 x11 zero
                               x x 0                                  x20 x21 zero

Products of a point go over all tiles that have it, so tiles of a kind get neighbouring places in memory
(:func:`sort_tiles`; ``transforms.py`` has the kinds).
"""

from __future__ import annotations

from fastconv.backends.cpu.codegen import emitter
from fastconv.backends.cpu.codegen.emitter import address
from fastconv.backends.cpu.codegen.jit import body, split_range

AHEAD = 4  # tiles between the one that is transformed and the one whose pixels are prefetched


@body(inline=True)
def pairs(g):
    """Of a record the input pixels of a tile, its output pixels, and the step, each down and across."""
    return (
        (g.input_side[0], g.input_side[1]),
        (g.output_side[0], g.output_side[1]),
        (g.step[0], g.step[1]),
    )


@body
def pixel_table(table, at, side, base, position, image_size, strides, outside):
    """Write to ``table``, from ``at`` on, the addresses of the pixels of a tile (``side``: down, across) at
    ``position`` of an image at address ``base``; those of pixels outside the image are ``outside``."""
    high, wide = side
    (row, column), (height, width), (row_bytes, column_bytes) = position, image_size, strides
    for i in range(high):
        for j in range(wide):
            inside = 0 <= row + i < height and 0 <= column + j < width
            place = base + (row + i) * row_bytes + (column + j) * column_bytes
            table[at + i * wide + j] = place if inside else outside


@body(inline=True)
def image_table(table, at, side, t, grid, step, origin, images, offset, outside):
    """The :func:`pixel_table` of tile ``t`` of a batch of images, with ``grid`` tiles in each, ``step``
    pixels apart (both down and across). What is in the table lies ``offset`` bytes behind ``images``."""
    down, across = grid
    _, _, height, width, channels = images.shape
    size = images.itemsize
    r = t % (down * across)
    base = address(images) + offset + t // (down * across) * height * width * channels * size
    position = r // across * step[0] + origin[0], r % across * step[1] + origin[1]
    strides = width * channels * size, channels * size
    pixel_table(table, at, side, base, position, (height, width), strides, outside)


@body(inline=True)
def prefetch_tile(t, grid, step, origin, images):
    """Prefetch the pixels of a later tile ``t`` that the tiles before it do not read."""
    down, across = grid
    _, _, height, width, channels = images.shape
    r = t % (down * across)
    row, column = r // across * step[0] + origin[0], r % across * step[1] + origin[1]
    line = channels * images.itemsize
    at = address(images) + ((t // (down * across) * height + row) * width + column) * line
    for i in range(step[0]):
        emitter.prefetch(at + i * width * line, step[1] * line)


@body(inline=True)
def kind_of(t, grid):
    """The kind of tile ``t`` (see ``transforms.py``)."""
    down, across = grid
    r = t % (down * across)
    last = int(r % across == across - 1)
    return 2 + last if r // across == down - 1 else 1 - last


@body
def sort_tiles(first, end, grid, kinds, places, starts):
    """Sort tiles ``first .. end`` by kind: those of kind k get the places ``starts[k] .. starts[k + 1]``."""
    starts[:] = 0
    for t in range(end - first):
        kinds[t] = kind_of(first + t, grid)
        starts[kinds[t] + 2] += 1
    for k in range(2, 5):
        starts[k + 1] += starts[k]
    for t in range(end - first):  # where a kind starts becomes where it ends
        places[t] = starts[kinds[t] + 1]
        starts[kinds[t] + 1] += 1


@body(inline=True)
def unit_of_work(unit, s, block, in_plane, planes):
    """What a unit of a pass over volumes computes (``s``: the VOLUMES record): of which image, the first tile
    of a plane and how many, the first plane and the one after the last."""
    units = s.blocks * s.segments
    image, rest = unit // units, unit % units
    s0 = rest // s.segments * block
    first_plane, end_plane = split_range(rest % s.segments, s.segments, planes)
    return image, s0, min(block, in_plane - s0), first_plane, end_plane


def tables_size(area: int, tiles: int) -> int:
    """Elements that :func:`split_tables` takes."""
    return area + 6 + 2 * tiles


@body(inline=True)
def split_tables(row, area, tiles):
    """The tables that lie one behind the other in ``row``: ``area`` addresses of pixels, where the kinds
    of tiles start, the kinds and places of ``tiles`` (see :func:`sort_tiles`), and what is left of
    ``row``."""
    kinds = area + 6
    return (
        row[:area],
        row[area:kinds],
        row[kinds : kinds + tiles],
        row[kinds + tiles : kinds + 2 * tiles],
        row[kinds + 2 * tiles :],
    )
