"""Files that engines keep from one run to the next: compiled kernels, what was measured."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def folder(*parts: str) -> Path | None:
    """A folder below ``FASTCONV_CACHE_DIR``, the user's cache or a temporary one; None if none is writable."""
    roots = [os.environ.get("FASTCONV_CACHE_DIR")]
    home = os.environ.get("LOCALAPPDATA") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    roots += [Path(home) / "fastconv", Path(tempfile.gettempdir()) / f"fastconv-{os.environ.get('USER', 'user')}"]
    places = (Path(root, *parts) for root in roots if root)
    return next((place for place in places if _writable(place)), None)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that other processes see all of it or nothing."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    with os.fdopen(handle, "wb") as f:
        f.write(data)
    os.replace(temporary, path)
