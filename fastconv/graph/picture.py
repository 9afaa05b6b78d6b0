"""Pictures of programs: a box for each call, drawn as SVG, or as text for Graphviz."""

from __future__ import annotations

import os
from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

from ..checks import check, shape_str
from ..io.atomic import replacing
from ..typing import PathLike
from .layered import Layout, layout
from .values import Call, Value, values_in
from .wording import call_words

#: Kind of a box -> its colour.
COLOURS = {
    "end": "#e5e7eb",
    "weights": "#bfdbfe",
    "norm": "#ddd6fe",
    "pool": "#bbf7d0",
    "pointwise": "#fde68a",
    "other": "#ffffff",
}
#: The height of a line of text, the mean width of a letter, and the space around the text, in pixels.
LINE, LETTER, MARGIN = 16, 7.0, 9


class Box(NamedTuple):
    """A box: its kind, and its lines of text, of which the first is the title."""

    kind: str
    lines: tuple[str, ...]

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in pixels."""
        letters = max(1.1 * len(self.lines[0]), *map(len, self.lines))  # the title is bold
        return LETTER * letters + 2 * MARGIN, LINE * len(self.lines) + 2 * MARGIN - 4


class Picture:
    """The calls of a program as boxes, and lines from each result to the calls that read it.

    What is computed of constants alone has no box. Notebooks show the picture.

    Attributes
    ----------
    boxes : list of Box
    edges : list of (int, int)
        Numbers of boxes, from the one that computes to the one that reads.
    """

    def __init__(self, inputs: Sequence[Value], calls: Sequence[Call], output: Any) -> None:
        self.boxes: list[Box] = []
        self.edges: list[tuple[int, int]] = []
        self._made: dict[Value, int] = {}  # value -> the box that computes it
        for i, v in enumerate(inputs):
            title = "input" if len(inputs) == 1 else f"input {i}"
            self._box("end", (title, _shape(v)), [], [v])
        for call in calls:
            if not any(v in self._made for v in call.inputs):
                continue
            title, details = call_words(call)
            results = list(values_in(call.result))
            lines = (title, details, _weights(call), *map(_shape, results[:1]))
            self._box(_kind(call), tuple(filter(None, lines)), call.inputs, results)
        for v in dict.fromkeys(values_in(output)):
            self._box("end", ("output", _shape(v)), [v], [])

    def _box(self, kind: str, lines: tuple[str, ...], reads: Sequence[Value], makes: Sequence[Value]) -> None:
        number = len(self.boxes)
        self.boxes.append(Box(kind, lines))
        self.edges += [
            (source, number) for source in dict.fromkeys(map(self._made.get, reads)) if source is not None
        ]
        self._made.update(dict.fromkeys(makes, number))

    def dot(self) -> str:
        """The picture as text in the language of Graphviz, whose ``dot`` draws it."""
        lines = ["digraph program {", '  node [shape=box, style="rounded,filled", fontname="sans-serif"];']
        for i, box in enumerate(self.boxes):
            label = "\\n".join(line.replace("\\", "\\\\").replace('"', '\\"') for line in box.lines)
            lines.append(f'  n{i} [label="{label}", fillcolor="{COLOURS[box.kind]}"];')
        lines += [f"  n{a} -> n{b};" for a, b in self.edges]
        return "\n".join([*lines, "}"])

    def svg(self) -> str:
        """The picture as SVG."""
        return _svg(self.boxes, layout([box.size for box in self.boxes], self.edges))

    def _repr_svg_(self) -> str:
        return self.svg()

    def __repr__(self) -> str:
        return f"Picture({len(self.boxes)} boxes; save('net.svg') writes it)"

    def save(self, path: PathLike) -> None:
        """Write the picture as a file, whose ending is ``.svg`` or ``.dot``.

        Raises
        ------
        ValueError
            The name has another ending.
        """
        name = os.fsdecode(path)
        writers = {".svg": self.svg, ".dot": self.dot}
        ending = os.path.splitext(name)[1]
        check(ending in writers, "Picture.save", f"expected a name that ends in .svg or .dot, got {name}")
        with replacing("Picture.save", name) as f:
            f.write(writers[ending]().encode())


def _shape(v: Value) -> str:
    dtype = "" if v.dtype == "float32" else f" {v.dtype}"
    return f"{shape_str(v.shape)}{dtype}"


def _weights(call: Call) -> str:
    """The constants with two or more dimensions that a call reads."""
    found = [v for v in call.inputs if v.constant is not None and v.ndim > 1]
    return ", ".join(f"weight {shape_str(v.shape)}" for v in found[:2])


def _kind(call: Call) -> str:
    if call.op in ("conv_fwd", "conv_bwd_data", "linear_fwd", "matmul", "fused_chain_fwd"):
        return "weights"
    if "norm" in call.op:
        return "norm"
    if "pool" in call.op:
        return "pool"
    return "pointwise" if call.op in ("unary_fwd", "binary_fwd", "ternary_fwd", "softmax_fwd") else "other"


def _svg(boxes: Sequence[Box], places: Layout) -> str:
    """Boxes and lines as SVG. The first line of a box is bold."""
    w, h = round(places.width), round(places.height)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{w}" height="{h}" viewBox="0 0 {w} {h}" '
        'font-family="sans-serif" font-size="12">',
        '<defs><marker id="head" markerWidth="7" markerHeight="6" refX="6" refY="3" orient="auto">'
        '<path d="M0 0L7 3L0 6z" fill="#6b7280"/></marker></defs>',
        f'<rect width="{w}" height="{h}" fill="#ffffff"/>',
    ]
    for points in places.lines:
        parts.append(f'<path d="{_curve(points)}" fill="none" stroke="#6b7280" marker-end="url(#head)"/>')
    for box, (x, y) in zip(boxes, places.boxes):
        width, height = box.size
        left, top = x - width / 2, y - height / 2
        parts.append(
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" rx="5" '
            f'fill="{COLOURS[box.kind]}" stroke="#6b7280"/>'
        )
        for i, line in enumerate(box.lines):
            bold = ' font-weight="bold"' if i == 0 else ""
            at = top + MARGIN + LINE * i + 9
            parts.append(
                f'<text x="{x:.1f}" y="{at:.1f}" text-anchor="middle" fill="#111827"{bold}>'
                f"{escape(line)}</text>"
            )
    return "\n".join([*parts, "</svg>"])


def _curve(points: Sequence[tuple[float, float]]) -> str:
    """A line through the points that is vertical at each of them."""
    (x, y), *rest = points
    path = [f"M{x:.1f} {y:.1f}"]
    for u, v in rest:
        middle = (y + v) / 2
        straight = abs(u - x) < 0.5
        path.append(
            f"L{u:.1f} {v:.1f}" if straight else f"C{x:.1f} {middle:.1f} {u:.1f} {middle:.1f} {u:.1f} {v:.1f}"
        )
        x, y = u, v
    return "".join(path)
