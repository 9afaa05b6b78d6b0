"""docs/pytorch.md is generated from the package, and lists which names are available."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("pytorch_page", ROOT / "tools" / "pytorch_page.py")
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)


def test_the_page_is_made_from_the_code():
    pytest.importorskip("torch")
    assert tool.PAGE.read_text("utf-8") == tool.page(), "run: python tools/pytorch_page.py"


@pytest.mark.parametrize("title", [t for t, (place, *_) in tool.PLACES.items() if place])
def test_every_listed_name_is_pytorchs(title):
    pytest.importorskip("torch")
    place, _, names = tool.PLACES[title]
    there = tool.pytorchs(place)
    own = {"register_module"} if not hasattr(there, "register_module") else set()
    assert [n for n in names.split() if not hasattr(there, n) and n not in own] == []


@pytest.mark.parametrize("title", tool.PLACES)
def test_the_page_says_which_names_are_there(title):
    section = tool.PAGE.read_text("utf-8").split(f"## {title}\n")[1].split("\n## ")[0]
    has, has_not = tool.listed(*tool.PLACES[title])
    assert f"Available: {', '.join(f'`{n}`' for n in has)}." in section
    assert [n for n in has_not if f"`{n}`" not in section.split("Not available: ")[1]] == []
