"""The files of one folder or ZIP archive, by name, as one finds them."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from geodecloud.errors import SceneError, SceneIOError
from geodecloud.raster.archives import check_names

#: Metadata of a real product is below 2 MB; more than this is no metadata, or an attack.
_MOST_BYTES = 64 * 2**20
_MOST_FILES = 20_000


class Folder:
    """A product in a folder. Names are relative, with slashes."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @cached_property
    def names(self) -> list[str]:
        """All files, sorted."""
        return sorted(
            path.relative_to(self.root).as_posix() for path in walk_files(self.root, _MOST_FILES)
        )

    def gdal_path(self, name: str) -> str:
        """What GDAL opens, from any working directory: workers of a cluster have their own."""
        return str(self.root.absolute() / name)

    def read(self, name: str) -> bytes:
        """Content of a small file."""
        path = self.root / name
        _check_size(self.gdal_path(name), path.stat().st_size)
        return path.read_bytes()

    def files(self, names: list[str]) -> list[str]:
        """Paths on disk of these files."""
        return [str(self.root / name) for name in names]


class ZipFolder:
    """A product in a ZIP archive, read in place."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @cached_property
    def names(self) -> list[str]:
        """All files, sorted.

        Raises
        ------
        SceneIOError
            If it is no archive, or a damaged one.
        SceneError
            If a name points out of the archive: whoever made it meant harm.
        """
        try:
            with zipfile.ZipFile(self.root) as archive:
                names = [info.filename for info in archive.infolist() if not info.is_dir()]
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise SceneIOError(f"{self.root} cannot be read as a ZIP archive: {error}") from error
        check_names(self.root, names)
        return sorted(names)

    def gdal_path(self, name: str) -> str:
        """What GDAL opens; braces end the archive's name, whatever its suffix."""
        return f"/vsizip/{{{self.root.absolute()}}}/{name}"

    def read(self, name: str) -> bytes:
        """Content of a small file."""
        try:
            with zipfile.ZipFile(self.root) as archive, archive.open(name) as file:
                content = file.read(_MOST_BYTES + 1)  # what the header says may not be true
        except (
            zipfile.BadZipFile,
            zlib.error,
            OSError,
            EOFError,
            RuntimeError,
            ValueError,
        ) as error:
            # RuntimeError: it is encrypted, or packed in a way Python cannot undo
            raise SceneIOError(f"{self.root}: {name} cannot be read: {error}") from error
        _check_size(f"{self.root}: {name}", len(content))
        return content

    def files(self, names: list[str]) -> list[str]:
        """Paths on disk of these files: the archive."""
        return [str(self.root)]


def walk_files(root: Path, most: int | None = None) -> Iterator[Path]:
    """All files below a folder, through links too, each folder once however it is linked.

    Raises
    ------
    SceneError
        If there are more than `most`.
    """
    seen: set[tuple[int, int]] = set()
    count = 0
    for folder, folders, files in os.walk(root, followlinks=True):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders.sort()
        for name in sorted(files):
            count += 1
            if most is not None and count > most:
                raise SceneError(f"{root} holds more than {most} files; it is not one product")
            yield Path(folder) / name


def _check_size(what: str, size: int) -> None:
    if size > _MOST_BYTES:
        raise SceneError(
            f"{what} is larger than {_MOST_BYTES >> 20} MiB; metadata of a product is not"
        )
