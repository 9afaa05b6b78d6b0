"""Every Python block of docs/*.md runs and prints what the page says; every path that a page names exists."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest
from support.selection import full

import fastconv as fc
from fastconv.backends import settings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\s*^```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)
PAGES = {p.stem: BLOCK.findall(p.read_text("utf-8")) for p in sorted(DOCS.glob("*.md"))}
PAGES = {name: blocks for name, blocks in PAGES.items() if blocks}
LONG = ("training",)  # they train for many seconds
NEEDS = {"interop": "onnx.checker"}  # an extra that a page is about


def run(name, blocks):
    names = {"__name__": f"docs/{name}.md"}
    for i, (source, expected) in enumerate(blocks):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(source, f"docs/{name}.md, block {i}", "exec"), names)
        if expected:
            assert out.getvalue() == expected


@pytest.mark.parametrize("name", [n for n in PAGES if n not in LONG] + full(*LONG))
def test_page(name, tmp_path, monkeypatch):
    """Up to where a page turns to PyTorch."""
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
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
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    monkeypatch.chdir(tmp_path)
    run(name, PAGES[name])


def test_pages_are_found():
    assert "files" in PAGES
    assert BLOCK.findall("```python\na\n```\n\n```text\nb\n```\n```python\nc\n```\n") == [
        ("a\n", "b\n"),
        ("c\n", ""),
    ]


# ------------------------------------------------------------------------------------------------- paths
#: Pages whose paths are checked. docs/api/ is made from docstrings.
WRITTEN = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "bench" / "README.md",
    *sorted(DOCS.glob("*.md")),
]
#: ``name.py``, ``cpu/conv/direct.py``, ``tests/{core,cpu}/``: names of files that have one of these endings,
#: and names of folders, which end with a slash.
PATH = re.compile(
    r"(?<![\w/.<~$:{-])(?:\./|(?:\.\./)+)?"
    r"((?:[\w.-]+/|\{[\w,./-]+\}/)*(?:[\w.-]+|\{[\w,.-]+\})\.(?:py|md|ipynb|toml|ya?ml|cff)|"
    r"(?:[\w.-]+/|\{[\w,./-]+\}/)+)(?![\w/<*{-])"
)
#: Where a path may begin: pages about an engine shorten ``fastconv/backends/cpu/conv/direct.py``.
BASES = (
    "",
    "fastconv",
    "fastconv/backends",
    "fastconv/backends/cpu",
    "fastconv/backends/cuda",
    "tests",
    "docs",
)
#: Folders that a program makes.
MADE = {"runs", ".venv", "build"}


def expand(path):
    """``a/{b,c}.py`` as ``a/b.py``, ``a/c.py``."""
    found = re.search(r"\{([^{}]*)\}", path)
    if not found:
        return [path]
    rest = [path[: found.start()] + part + path[found.end() :] for part in found[1].split(",")]
    return [p for r in rest for p in expand(r)]


def paths(text):
    """The paths that a page names; web addresses are none."""
    text = re.sub(r"\w+://\S+", "", text)
    return {p for found in PATH.findall(text) for p in expand(found)}


def exists(path, page, names):
    """A name alone, of a file or folder, may be anywhere; a path starts at the page or one of ``BASES``."""
    if path.split("/")[0] in MADE or path.rstrip("/") in names:
        return True
    return any((base / path).exists() for base in (page.parent, *(ROOT / b for b in BASES)))


@pytest.mark.parametrize("page", WRITTEN, ids=[p.relative_to(ROOT).as_posix() for p in WRITTEN])
def test_paths_exist(page):
    folders = ("fastconv", "bench", "docs", "examples", "tests", "tools")
    names = {p.name for folder in folders for p in (ROOT / folder).rglob("*")}
    missing = {p for p in paths(page.read_text("utf-8")) if not exists(p, page, names)}
    assert missing == set()


def test_paths_are_found():
    text = (
        "`cpu/conv/x.py`, (../bench/README.md), tests/{core,cpu}/, a.py:3 and/or 3/4 http://a.b/c.py <x>/y.py"
    )
    assert paths(text) == {"cpu/conv/x.py", "bench/README.md", "tests/core/", "tests/cpu/", "a.py"}
    assert exists("cpu/codegen/jit.py", DOCS / "kernels.md", set())
    assert not exists("cpu/jit.py", DOCS / "kernels.md", {"jit.py"})


def test_every_page_is_in_the_menu():
    """mkdocs.yml lists each page once; mkdocs itself checks this only where it is installed."""
    menu = re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE)
    assert sorted(menu) == sorted(p.relative_to(DOCS).as_posix() for p in DOCS.rglob("*.md"))


def test_citation_names_this_version():
    found = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text("utf-8"), re.MULTILINE)
    assert found and found[1] == fc.__version__
