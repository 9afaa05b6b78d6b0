"""``fastconv bench``: run ``bench/compare.py`` of the clone that this package lies in.

The benchmarks are not part of the installed package: they compare with other libraries and need their shape
files and results beside them.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

#: The folder that holds the package: a clone of the repository, or ``site-packages``.
ROOT = Path(__file__).resolve().parents[2]


def script(root: Path) -> Path | None:
    """``bench/compare.py`` in ``root``, or None if ``root`` is no clone of fastconv.

    A folder ``bench`` in ``site-packages`` belongs to another package, and must not be run.
    """
    try:
        project = (root / "pyproject.toml").read_text("utf-8")
    except OSError:
        return None
    found = root / "bench" / "compare.py"
    return found if re.search(r'^name = "fastconv"$', project, re.MULTILINE) and found.is_file() else None


def run(options: list[str]) -> int:
    """Run the benchmarks with ``options``; 2, and one line on stderr, if there is no clone."""
    found = script(ROOT)
    if found is None:
        print(
            "fastconv: error: bench: the benchmarks are not part of the installed package; they need a clone "
            "of the repository, installed from there with pip install -e . (bench/README.md in it says how "
            "to go on)",
            file=sys.stderr,
        )
        return 2
    return subprocess.call([sys.executable, str(found), *options])
