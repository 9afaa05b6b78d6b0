"""Every Python block of docs/*.md runs, page by page in order, and prints what the page says it prints."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

from fastconv.backends import settings

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\s*^```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)
PAGES = {p.stem: BLOCK.findall(p.read_text("utf-8")) for p in sorted(DOCS.glob("*.md"))}
PAGES = {name: blocks for name, blocks in PAGES.items() if blocks}


def run(name, blocks):
    names = {"__name__": f"docs/{name}.md"}
    for i, (source, expected) in enumerate(blocks):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(source, f"docs/{name}.md, block {i}", "exec"), names)
        if expected:
            assert out.getvalue() == expected


@pytest.mark.parametrize("name", PAGES)
def test_page(name, tmp_path, monkeypatch):
    """Up to where a page turns to PyTorch."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(settings, "chosen_threads", settings.chosen_threads)
    blocks = PAGES[name]
    first = next((i for i, (source, _) in enumerate(blocks) if "import torch" in source), len(blocks))
    run(name, blocks[:first])


@pytest.mark.parametrize(
    "name", [n for n, blocks in PAGES.items() if any("import torch" in s for s, _ in blocks)]
)
def test_page_with_pytorch(name, tmp_path, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    run(name, PAGES[name])


def test_pages_are_found():
    assert "files" in PAGES
    assert BLOCK.findall("```python\na\n```\n\n```text\nb\n```\n```python\nc\n```\n") == [
        ("a\n", "b\n"),
        ("c\n", ""),
    ]
