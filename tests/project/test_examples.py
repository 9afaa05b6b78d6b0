"""The examples run, draw, and compute what they say."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def example(monkeypatch, backend):
    """Imports an example as running it as a script would."""
    pytest.importorskip("matplotlib", reason="the examples draw")
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


def ladder(path, *options, **environment):
    """What the command of a ladder prints; it ends with an error if a step differs from the oracle."""
    command = [sys.executable, str(ROOT / "examples" / "kernels" / path), *options]
    env = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.full
def test_ladder():
    """All steps are right; the table has shares of the peak on one thread and, from step 4 on, on all."""
    out = ladder("ladder.py", "--images", "2", "--size", "12", "--seconds", "0")
    table = out.partition("error\n")[2].partition("\n\n")[0].splitlines()
    cells = [[cell.split() for cell in line.split("|")] for line in table]
    assert [name[0] for name, *_ in cells] == ["1", "2", "3", "4", "5", "5", "6", "the"]
    for i, (_, one, all_, (error,)) in enumerate(cells):
        assert 0 < float(error) < (2e-5 if i < 4 else 2e-4)
        assert (all_ == ["-"] * 3) == (i < 3)
        for milliseconds, rate, share in [one] if i < 3 else [one, all_]:
            assert float(milliseconds) > 0 and float(rate) > 0 and share.endswith("%")


def test_ladder_refuses_a_size():
    with pytest.raises(AssertionError, match="multiple of 4"):
        ladder("ladder.py", "--size", "10")


def test_ladder_finds_a_fault(monkeypatch):
    """A step that is wrong in one number stops the table."""
    monkeypatch.syspath_prepend(ROOT / "examples" / "kernels")
    module, step = importlib.import_module("ladder"), importlib.import_module("step2_channels")

    def wrong(x, w, y):
        y[:] = module.problem.oracle(
            x[:, 1:-1, 1:-1].transpose(0, 3, 1, 2), w.transpose(3, 2, 0, 1)
        ).transpose(0, 2, 3, 1)
        y[0, 0, 0, 0] += 1e-3

    monkeypatch.setattr(step, "conv", wrong)
    monkeypatch.setattr(
        module, "steps", lambda *p, steps=module.steps: (line for line in steps(*p) if line[0][0] == "2")
    )
    with pytest.raises(SystemExit, match="2 vectors of channels: differs from the oracle by 1.0e-03"):
        module.main(["--images", "1", "--size", "4", "--threads", "1", "--seconds", "0"])


def test_cuda_ladder():
    """Under the simulator: right, and not timed."""
    out = ladder("cuda/ladder.py", NUMBA_ENABLE_CUDASIM="1")
    assert "not timed" in out
    assert [line[0] for line in out.splitlines()[2:]] == ["1", "2", "3"]
    assert out.count("error") == 3 and "ms" not in out


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


@pytest.mark.full
def test_speed_up_pytorch(monkeypatch, capsys):
    """Both ways start with the same loss; the ratio is printed."""
    torch = pytest.importorskip("torch")
    if "fastconv" not in torch.compiler.list_backends():
        pytest.skip("fastconv is not installed, or was installed before it had a backend of torch.compile")
    monkeypatch.syspath_prepend(ROOT / "examples")
    module = importlib.import_module("speed_up_pytorch")
    module.main(["--steps", "1", "--batch", "2", "--size", "16", "--width", "4"])
    printed = capsys.readouterr().out
    losses = re.findall(r"first loss ([\d.]+)", printed)
    assert len(losses) == 2 and abs(float(losses[0]) - float(losses[1])) < 1e-3
    assert re.search(r"^[\d.]+ times as fast$", printed, re.MULTILINE)


def test_run_onnx(monkeypatch, capsys, tmp_path):
    """A network that it has written gets classes and a time; a picture can be the input."""
    pytest.importorskip("onnx")
    Image = pytest.importorskip("PIL.Image")
    monkeypatch.syspath_prepend(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module("run_onnx")
    module.main(["--make", "squeezenet1_1", "--rounds", "1"])
    Image.new("RGB", (60, 40), (200, 100, 0)).save("picture.png")
    module.main(["squeezenet1_1.onnx", "--image", "picture.png", "--rounds", "1"])
    printed = capsys.readouterr().out
    assert len(re.findall(r"^class +\d+: +\d", printed, re.MULTILINE)) == 10
    assert len(re.findall(r"^fastconv +[\d.]+ ms$", printed, re.MULTILINE)) == 2
    with pytest.raises(SystemExit):
        module.main([])
