"""Type checkers see what a user's script does with the installed package."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "support" / "snippets" / "typed.py"

# One mistake a line, each of which a checker must find.
WRONG = """
F.conv2d("image", x)
F.conv2d(x, x, strides=2)
x.no_such_method()
y: str = x + 1
z: fc.Tensor = F.max_pool2d(x, 2, return_indices=True)
nn.NoSuchLayer()
nn.Linear(3)
optim.SGD(nn.Linear(1, 1).parameters(), learning_rate=0.1)
train.fit(nn.Linear(1, 1))
fc.zeros("many")
len(x.shape) + "text"
"""


def mypy(folder, name):
    pytest.importorskip("mypy")
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(folder / "cache"), name]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_a_correct_script_has_no_error_in_strict_mode(tmp_path):
    shutil.copy(SCRIPT, tmp_path / "typed.py")
    done = mypy(tmp_path, "typed.py")
    assert done.returncode == 0, done.stdout + done.stderr


def test_mistakes_are_found(tmp_path):
    head = (
        "import fastconv as fc\nfrom fastconv import nn, optim, train\n"
        "from fastconv.nn import functional as F\n\n"
        "x = fc.zeros(2)\n"
    )
    lines = WRONG.strip().splitlines()
    (tmp_path / "wrong.py").write_text(head + "\n".join(lines) + "\n")
    done = mypy(tmp_path, "wrong.py")
    found = {
        int(line.split(":")[1]) - head.count("\n") - 1
        for line in done.stdout.splitlines()
        if ": error:" in line
    }
    assert [line for i, line in enumerate(lines) if i not in found] == []


def test_the_script_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(compile(SCRIPT.read_text("utf-8"), str(SCRIPT), "exec"), {"__name__": "typed"})
    assert capsys.readouterr().out.count("\n") == 3
