"""What mkdocs is told beside mkdocs.yml: links out of docs/, and the marks that docstrings carry.

A page says ``[README](../README.md)``, which works on a site of repositories. In the built pages there is
nothing outside of docs/, so such a link becomes its text and the path. A path that does not exist is an
error.
"""

from __future__ import annotations

import re
from pathlib import Path

import griffe

ROOT = Path(__file__).resolve().parent.parent
OUTSIDE = re.compile(r"\[([^\]]+)\]\((\.\./[^)#\s]+)(?:#[^)]*)?\)")
ROLE = re.compile(r":(?:func|class|meth|data|mod|attr|exc):`~?([^`]+)`")


def on_page_markdown(markdown: str, page, **_) -> str:
    """Called by mkdocs with the text of each page."""

    def plain(match: re.Match) -> str:
        text, path = match.groups()
        target = (ROOT / "docs" / page.file.src_uri).parent.joinpath(path).resolve()
        if not target.exists():
            raise FileNotFoundError(f"docs/{page.file.src_uri}: there is no {path}")
        name = target.relative_to(ROOT).as_posix()
        return f"`{name}`" if text.strip("`") in (name, target.name) else f"{text} (`{name}`)"

    return OUTSIDE.sub(plain, markdown)


class Plain(griffe.Extension):
    """Sphinx's roles become code, and the mark ``::`` of a drawing goes: its lines are indented anyway."""

    def on_object(self, *, obj: griffe.Object, **_) -> None:
        if obj.docstring:
            text = ROLE.sub(r"`\1`", obj.docstring.value)
            obj.docstring.value = re.sub(r"(?m)^::$|(?<=:):$", "", text)
