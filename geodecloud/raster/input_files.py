"""Whether the files a result is made from stayed the same while they were read."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from geodecloud.errors import SceneIOError

Look = tuple[int, int, int]


class InputFiles:
    """Local files as they look now: pixels are read when they are needed, over minutes or hours.

    Parameters
    ----------
    paths : files; what is no local file is skipped
    """

    def __init__(self, paths: Iterable[str | Path]) -> None:
        self.paths = [str(path) for path in paths]
        # GDAL and QGIS put statistics into side files, which are read once and at the beginning
        own = (path for path in self.paths if not path.endswith(".aux.xml"))
        self._looks = {path: look for path in own if (look := _look(path))}

    def check_unchanged(self) -> None:
        """Refuse a result that may be made from two states of a file.

        Raises
        ------
        SceneIOError
            If one was written to, replaced or removed meanwhile.
        """
        for path, before in self._looks.items():
            now = _look(path)
            if now != before:
                what = "was removed" if now is None else "changed"
                raise SceneIOError(
                    f"{path} {what} while it was read, so the result might be of two states of it, and "
                    "nothing was kept; run again when nobody writes to it"
                )


def fingerprint(inputs: Sequence[str | Path], parameters: Mapping[str, Any]) -> str:
    """SHA-256 of what a result depends on: files by path, size and time; metadata by content.

    Raises
    ------
    SceneIOError
        If an input has gone.
    """
    digest = hashlib.sha256(json.dumps(parameters, sort_keys=True, default=str).encode())
    for path in sorted(str(i) for i in inputs):
        try:
            status = os.stat(path)
            digest.update(b"\0" + os.fsencode(path))  # names of old file systems may be no text
            digest.update(f"\0{status.st_size}\0{status.st_mtime_ns}".encode())
            if path.lower().endswith((".xml", ".json")):
                digest.update(Path(path).read_bytes())
        except OSError as error:
            raise SceneIOError(f"{path} cannot be read: {error}") from error
    return digest.hexdigest()


def _look(path: str) -> Look | None:
    """Size, time of the last change and number of a file; None: there is none."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns, status.st_ino
