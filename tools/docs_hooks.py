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
NAMED = re.compile(r"named\('\w+', (\w+)\)")
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

    def on_module_members(self, *, mod: griffe.Module, **_) -> None:
        """``conv2d = named("conv2d", _conv)`` becomes the function ``_conv`` without its first parameter."""
        for name, member in list(mod.members.items()):
            call = isinstance(member, griffe.Attribute) and NAMED.match(str(member.value))
            if not call:
                continue
            source = mod.members[call[1]]
            function = griffe.Function(
                name,
                parameters=griffe.Parameters(*list(source.parameters)[1:]),
                returns=source.returns,
                docstring=source.docstring,
                lineno=source.lineno,
                endlineno=source.endlineno,
            )
            if source.docstring:
                text = source.docstring
                function.docstring = griffe.Docstring(text.value, lineno=text.lineno, parent=function)
            mod.set_member(name, function)
