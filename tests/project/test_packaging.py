"""The installed package is found from every folder."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys

import pytest


def test_a_folder_of_the_same_name_does_not_hide_the_package(tmp_path):
    """A clone is a folder called fastconv: from the folder above it, Python must not take it for a namespace
    package."""
    try:
        importlib.metadata.distribution("fastconv")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("fastconv is not installed, only on the path")
    (tmp_path / "fastconv").mkdir()
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    code = "import fastconv as fc; print(fc.__file__, fc.zeros(2).tolist())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("[0.0, 0.0]\n") and str(tmp_path) not in done.stdout
