"""The checkpoint files of :func:`fit`."""

from __future__ import annotations

import glob
import os
import warnings
from pathlib import Path
from typing import Any, cast

from .. import io
from ..checks import check
from ..typing import PathLike

#: The keys of every checkpoint; files of older versions have no "asked", the settings of the run.
KEYS = {"net", "optimizer", "scheduler", "loader", "random", "at", "batches", "history"}


class Checkpoint:
    """The file at ``path``; the checkpoint before it is kept as ``<name>.previous.<extension>``."""

    def __init__(self, path: PathLike):
        # A link stays a link: the file that it names is replaced.
        self.path = Path(os.path.realpath(path) if os.path.islink(path) else path)
        # Whether the file at ``path`` is of this run; None before anything was read or written.
        self._sound: bool | None = None

    def write(self, state: dict[str, Any]) -> None:
        """Save ``state``. If the process is killed at any moment, one whole file is left."""
        new, previous = map(self._beside, ("new", "previous"))
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # temporary files of a process that was killed while it saved
            for left in self.path.parent.glob(f".{glob.escape(new.name)}.*.tmp"):
                left.unlink()
            io.save(state, new)
            if self._sound:
                os.replace(self.path, previous)
            elif self._sound is None:  # the files there belong to another run
                previous.unlink(missing_ok=True)
            os.replace(new, self.path)
        except OSError as e:
            raise OSError(
                e.errno,
                f"fit: the checkpoint could not be saved ({e.strerror}); those saved before are as they were",
                str(self.path),
            ) from e
        self._sound = True

    def read(self) -> tuple[dict[str, Any], Path] | None:
        """The newest state that can be read, and its file; None if there is none."""
        files = [f for f in (self.path, self._beside("previous")) if f.exists()]
        if not files:
            return None
        path = files[0]
        try:
            saved: Any = io.load(path)
        except ValueError as e:
            if len(files) == 1:
                raise
            path = files[1]
            saved = io.load(path)
            warnings.warn(
                f"fit: continuing from the checkpoint before the last, {path}, as {e}", stacklevel=4
            )
        check(
            isinstance(saved, dict) and KEYS <= set(cast("dict[str, Any]", saved)),
            "fit",
            f"{path} is not a checkpoint of fit; give another checkpoint=, or resume=False to overwrite it",
        )
        self._sound = path == self.path
        return cast("dict[str, Any]", saved), path

    def _beside(self, word: str) -> Path:
        return self.path.with_name(f"{self.path.stem}.{word}{self.path.suffix}")
