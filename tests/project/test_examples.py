"""The examples run, draw, and compute what they say."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="the examples draw")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def example(monkeypatch, backend):
    """Imports an example as running it as a script would."""
    monkeypatch.syspath_prepend(ROOT / "examples")
    return importlib.import_module


def is_picture(path):
    """A PNG that is not one flat colour."""
    from matplotlib.image import imread

    return imread(path)[..., :3].std() > 0.01


@pytest.mark.parametrize(
    ("name", "drawn"),
    [
        ("edge_detection", ["photograph.png", "vertical_edges.png"]),
        ("learn_a_kernel", ["learn_a_kernel.png"]),
        ("translation_invariance", ["translation_invariance.png"]),
    ],
)
def test_pictures(example, name, drawn, tmp_path, capsys):
    example(name).main(["--out", str(tmp_path / "new" / "folder")])
    paths = sorted((tmp_path / "new" / "folder").iterdir())
    assert [p.name for p in paths] == drawn
    assert all(map(is_picture, paths))
    printed = capsys.readouterr().out
    assert all(f"drawn: {p}\n" in printed for p in paths)


def test_vertical_edges(example):
    module = example("edge_detection")
    image = module.bar(6, 8, 2, 6)
    np.testing.assert_array_equal(module.correlate(image, [[1, -1]]), [[0, 1, 0, 0, 0, -1, 0]] * 6)
    assert not module.correlate(image.T, [[1, -1]]).any()
    border = module.correlate(module.bar(50, 50, 30, 50), [[1, 0, -1]])
    assert border.shape == (50, 48) and border.sum() == 100
    np.testing.assert_array_equal(border[:, 28:30], 1)


def test_photograph(example):
    module = example("edge_detection")
    photo = module.read()
    height, width, channels = photo.shape
    assert channels == 3 and min(height, width) > 400 and 0 <= photo.min() < photo.max() <= 1
    flat = np.full_like(photo, 0.25)
    np.testing.assert_allclose(module.edges(flat), 0, atol=1e-7)  # not all zero: Winograd rounds
    np.testing.assert_allclose(module.blur(flat), 0.25, rtol=1e-5)

    gray = photo.astype(np.float64).sum(2)
    around = sum(gray[i : i + height - 2, j : j + width - 2] for i in range(3) for j in range(3))
    np.testing.assert_allclose(module.edges(photo), (9 * gray[1:-1, 1:-1] - around) / 8, rtol=0, atol=1e-5)

    blurred = module.blur(photo, 5)
    assert blurred.shape == photo.shape
    for i, j in [(0, 0), (100, 200), (height - 1, width - 1)]:
        rows, columns = (
            np.arange(i - 2, i + 3).clip(0, height - 1),
            np.arange(j - 2, j + 3).clip(0, width - 1),
        )
        np.testing.assert_allclose(blurred[i, j], photo[np.ix_(rows, columns)].mean((0, 1)), rtol=1e-5)


def test_learn_a_kernel(example, capsys):
    module = example("learn_a_kernel")
    kernel, losses = module.learn(*module.data())
    np.testing.assert_allclose(kernel.numpy().ravel(), [1.0003, -0.9699], rtol=0, atol=5e-5)
    assert losses[-1] < 0.01 * losses[0]
    assert (
        capsys.readouterr().out.splitlines()[-1]
        == f"epoch 10, loss {losses[-1]:.3f}"
        == "epoch 10, loss 0.028"
    )


def test_translation_invariance(example):
    module = example("translation_invariance")
    first, pooled_first, _ = module.respond(module.shifted(0))
    for by in range(11):
        response, pooled, whole = module.respond(module.shifted(by))
        assert whole == 5.0  # the shape's five pixels
        assert module.strongest(response) == (4, 4 + by)
        assert module.strongest(pooled) == (1, 1 + by // 4)
        assert pooled[1, 1 + by // 4] == pooled_first[1, 1] == 5.0
        np.testing.assert_array_equal(response[:, by + 2 :], first[:, 2 : 16 - by])


def test_readme(tmp_path, monkeypatch, capsys):
    """The README's example, as it stands there, on the default backend."""
    block = re.search(
        r"<!-- api-example -->\n```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL
    )
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(block[1], "README.md", "exec"), names)
    out = capsys.readouterr().out
    assert float(re.search(r"^test accuracy (\S+)$", out, re.MULTILINE)[1]) > 0.7
    assert "100x16x14x14 * 32x16x3x3 -> 100x32x14x14" in out
    weights = names["fc"].load("net.npz")
    np.testing.assert_array_equal(weights["0.weight"].numpy(), names["net"][0].weight.numpy())
