"""examples/tour.ipynb runs from top to bottom and shows what its text says."""

from __future__ import annotations

import base64
import re
from io import BytesIO
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def outputs(notebook):
    """All printed text, and the pictures as PNG bytes."""
    found = [o for cell in notebook.cells if cell.cell_type == "code" for o in cell.outputs]
    text = "".join(o.text for o in found if o.output_type == "stream" and o.name == "stdout")
    return text, [base64.b64decode(o.data["image/png"]) for o in found if "image/png" in o.get("data", {})]


def check(notebook):
    from matplotlib.image import imread

    text, pictures = outputs(notebook)
    assert text.count("[[19. 25.]\n [37. 43.]]") == 2  # by hand and by the library
    kernel = re.findall(r"-?\d+\.\d*", re.search(r"learned:\n(.*?)\]\]", text, re.DOTALL)[1])
    assert [float(x) for x in kernel] == pytest.approx([1, 0, -1, 2, 0, -2, 1, 0, -1], abs=0.05)
    fields = re.findall(r"counted (\d+), gradient not zero in (\d+) rows", text)
    assert fields == [("11", "11"), ("25", "25"), ("53", "53"), ("109", "109")]
    assert float(re.search(r"^test accuracy (\S+)", text, re.MULTILINE)[1]) > 0.78
    assert float(re.search(r"after one pass (\S+)", text)[1]) > 0.4
    assert "overhead" in text
    assert len(pictures) == 14 and all(imread(BytesIO(p))[..., :3].std() > 0.05 for p in pictures)


@pytest.fixture
def notebook():
    nbformat = pytest.importorskip("nbformat")
    return nbformat.read(EXAMPLES / "tour.ipynb", as_version=4)


def test_as_stored(notebook):
    pytest.importorskip("matplotlib")
    assert (EXAMPLES / "tour.ipynb").stat().st_size < 400_000
    check(notebook)


@pytest.mark.full
def test_runs(notebook, tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient")
    for name in ("ipykernel", "matplotlib"):
        pytest.importorskip(name)
    import fastconv

    monkeypatch.setenv("PYTHONPATH", str(Path(fastconv.__file__).parent.parent))  # the package under test
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": tmp_path}}).execute()
    check(notebook)
