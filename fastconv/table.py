"""Tables that objects show of themselves: text in a terminal, HTML in a notebook."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any, NamedTuple


class Table(NamedTuple):
    """Rows under a head, with lines of text before and after.

    Attributes
    ----------
    head : sequence of str
    rows : iterable of sequences of str
    align : str
        ``"l"`` or ``"r"`` for each column.
    before, after : str
        May have several lines; an empty string adds none.

    >>> print(Table(("layer", "shape"), [("conv", "8x3x3")], "lr").text())
    layer  shape
    ------------
    conv   8x3x3
    """

    head: Sequence[str]
    rows: Iterable[Sequence[str]]
    align: str
    before: str = ""
    after: str = ""

    def text(self) -> str:
        """The table with a line under the head."""
        rows = [self.head, *self.rows]
        widths = [max(map(len, column)) for column in zip(*rows)]
        lines = [
            "  ".join(
                c.ljust(w) if a == "l" else c.rjust(w) for c, w, a in zip(row, widths, self.align)
            ).rstrip()
            for row in rows
        ]
        lines.insert(1, "-" * (sum(widths) + 2 * len(widths) - 2))
        return "\n".join(filter(None, (self.before, *lines, self.after)))

    def html(self) -> str:
        """The table for a notebook."""

        def row(tag: str, cells: Iterable[str]) -> str:
            sides = ["left" if a == "l" else "right" for a in self.align]
            tagged = [
                f'<{tag} style="text-align:{side}">{escape(cell)}</{tag}>' for cell, side in zip(cells, sides)
            ]
            return "<tr>" + "".join(tagged) + "</tr>"

        def around(text: str) -> str:
            return "<div>" + escape(text).replace("\n", "<br>") + "</div>" if text else ""

        head, body = row("th", self.head), "\n".join(row("td", cells) for cells in self.rows)
        table = f"<table>\n<thead>{head}</thead>\n<tbody>\n{body}\n</tbody>\n</table>"
        return around(self.before) + table + around(self.after)


class Shown:
    """Base of objects that show themselves as a table."""

    def table(self) -> Table:
        """The table that is shown."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return self.table().text()

    def __str__(self) -> str:
        return self.table().text()

    def _repr_html_(self) -> str:
        return self.table().html()


def number(value: Any) -> str:
    """A number as a cell, floats with four digits; None and NaN give an empty cell."""
    if value is None or value != value:
        return ""
    return f"{value:,.0f}" if isinstance(value, int) or 1e4 <= abs(value) < 1e15 else f"{value:.4g}"


def options(values: dict[str, Any]) -> str:
    """``name=value`` for each entry.

    >>> options({"lr": 0.1, "momentum": 0.9})
    'lr=0.1, momentum=0.9'
    """
    return ", ".join(f"{k}={v!r}" for k, v in values.items())
