"""The installed package: found from every folder, and what its commands do without a clone."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import fastconv as fc

ROOT = Path(fc.__file__).parents[1]


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


@pytest.fixture(scope="module", params=["copy", "wheel"])
def installed(request, tmp_path_factory):
    """A folder like ``site-packages``: the package as in a wheel, and nothing else of the clone."""
    site = tmp_path_factory.mktemp(request.param)
    if request.param == "copy":  # what pyproject.toml puts into the wheel
        shutil.copytree(ROOT / "fastconv", site / "fastconv", ignore=shutil.ignore_patterns("__pycache__"))
        return site
    if importlib.util.find_spec("hatchling") is None or not (ROOT / "pyproject.toml").exists():
        pytest.skip("a wheel cannot be built: hatchling is not installed")
    build = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    subprocess.run([sys.executable, *build, str(site / "wheel"), str(ROOT)], check=True)
    (wheel,) = (site / "wheel").glob("fastconv-*.whl")
    zipfile.ZipFile(wheel).extractall(site)
    return site


def command(site, *words):
    environment = {**os.environ, "PYTHONPATH": str(site), "FASTCONV_BACKEND": "numpy"}
    run = [sys.executable, "-m", "fastconv", *words]
    return subprocess.run(run, cwd=site, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("words", [["bench"], ["bench", "net", "--quick"], ["bench", "--help"]])
def test_bench_of_an_installed_package_says_that_it_needs_a_clone(installed, words):
    """Another package's ``bench/compare.py`` in ``site-packages`` is not run instead."""
    (installed / "bench").mkdir(exist_ok=True)
    (installed / "bench" / "compare.py").write_text("open('ran', 'w').close()")
    done = command(installed, *words)
    assert done.returncode == 2 and done.stdout == "" and not (installed / "ran").exists()
    assert done.stderr.count("\n") == 1 and "Traceback" not in done.stderr
    assert "not part of the installed package" in done.stderr and "clone of the repository" in done.stderr


def test_an_installed_package_trains(installed, tmp_path):
    """The images and everything else that a training needs is in the package."""
    options = ["--epochs", "0", "--no-download", "--quiet", "--out", str(tmp_path / "run")]
    done = command(installed, "train", "lenet", *options)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert (tmp_path / "run" / "lenet.npz").exists()
    assert command(installed, "summary", "lenet").stdout.startswith("Sequential, input 1x1x28x28")
