"""Files that are written whole or not at all, whatever happens half-way."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from geodecloud.errors import SceneIOError
from geodecloud.raster.targets import check_file
from geodecloud.raster.temporaries import part_folder


@contextmanager
def replacing(path: Path, sweep: bool = True) -> Iterator[Path]:
    """A path to write a file to, which takes the place of `path` at the end.

    Parameters
    ----------
    sweep : see `geodecloud.raster.temporaries.part_folder`

    Raises
    ------
    SceneIOError
        If it cannot be written, something else than a file is there, or its folder is missing.
    """
    check_file(path)
    place = Path(os.path.realpath(path))  # a link is written through, not replaced
    try:
        with part_folder(place, sweep) as folder:
            part = folder / place.name
            yield part
            sync(part)
            os.replace(part, place)
    except SceneIOError:
        raise
    except OSError as error:
        raise SceneIOError(f"{path} cannot be written: {error}") from error


def write_text(path: Path, text: str, sweep: bool = True) -> None:
    """Write a small file as UTF-8.

    Parameters
    ----------
    sweep : see `geodecloud.raster.temporaries.part_folder`

    Raises
    ------
    SceneIOError
        If it cannot be written, something else than a file is there, or its folder is missing.
    """
    with replacing(path, sweep) as part:
        part.write_text(text, encoding="utf-8", newline="")


def sync(path: Path) -> None:
    """Wait until a file is on the disk: a crash after a rename could leave an empty one."""
    with path.open("rb+") as written:
        os.fsync(written.fileno())
