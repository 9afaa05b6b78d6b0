"""Files that are replaced as a whole."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Generator
from pathlib import Path
from typing import BinaryIO

from ..checks import check


@contextlib.contextmanager
def replacing(function: str, name: str) -> Generator[BinaryIO]:
    """A new file, which gets the name ``name`` when the ``with`` block ends without an error.

    After an error, an older file of this name is unchanged. A link stays a link, and the file that it points
    to is replaced. The permissions of an existing file are kept. ``function`` is the name for messages.
    """
    target = Path(os.path.realpath(name))
    mode = target.stat().st_mode if target.exists() else None
    check(
        mode is None or stat.S_ISREG(mode) or stat.S_ISDIR(mode),
        function,
        f"{name} is a device or a pipe and cannot be replaced by a file; open it and give the open file",
    )
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as f:
            yield f
            f.flush()
            os.fsync(f.fileno())
        if mode is not None:
            os.chmod(temporary, stat.S_IMODE(mode))
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
