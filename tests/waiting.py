"""Waiting for what another process writes, while it renames and removes its temporaries."""

from __future__ import annotations

import glob
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def written(folder: Path, pattern: str) -> list[str]:
    """What lies there now. ``Path.glob`` raises where a folder goes as it is listed."""
    return glob.glob(f"{glob.escape(str(folder))}/{pattern}", recursive=True)


def journalled(out: Path) -> int:
    """How many scenes a batch that goes on has written down."""
    return len(written(out, ".geodecloud/**/*.json"))


def wait_while(process: subprocess.Popen[Any], waits: Callable[[], bool]) -> None:
    """Until there is something to see, or the process has ended."""
    while process.poll() is None and waits():
        time.sleep(0.002)
