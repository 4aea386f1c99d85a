"""Whether something can be written to a place: what is there already, its folder, the room on its disk."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from pathlib import Path

from geodecloud.errors import SceneIOError
from geodecloud.raster.storage import check_address, exists
from geodecloud.scene.address import is_remote

#: Names of files that belong to a raster: its own name and one of these.
SIDECARS = (".msk", ".ovr", ".aux.xml")
#: What a file system holds besides files; renaming a file onto a device would take it from everyone.
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
)


def check_target(path: str | Path, overwrite: bool, raw_bytes: int = 0) -> None:
    """Refuse early what would fail late.

    Raises
    ------
    SceneIOError
        If the target exists without leave to overwrite, or is no file, its folder is missing or not
        writable, or its disk is too full for the scene.
    """
    if is_remote(path):
        check_address(str(path))
        there, folder = exists(str(path)), Path(tempfile.gettempdir())
    else:
        there = check_file(path)
        folder = Path(os.path.realpath(path)).parent  # a link is written through
    if there and not overwrite:
        raise SceneIOError(f"{path} exists; give overwrite=True to replace it")
    try:
        tempfile.TemporaryFile(dir=folder).close()  # os.access does not know network shares
    except OSError as error:
        raise SceneIOError(f"{folder} cannot be written to: {error}") from error
    free = shutil.disk_usage(folder).free
    if free < 2 * raw_bytes:
        raise SceneIOError(
            f"{folder} has {free / 1e9:.1f} GB free; writing {path} needs up to "
            f"{2 * raw_bytes / 1e9:.1f} GB on the way"
        )


def check_file(path: str | Path) -> bool:
    """Whether there is a file at a local path, which may be replaced; False: nothing is there.

    Raises
    ------
    SceneIOError
        If something else is there: a folder, device, pipe or socket; if the name stands for the standard
        output; or if the folder is missing.
    """
    path = Path(path)
    if str(path) == "-":
        raise SceneIOError(
            "- stands for the standard output, and what is written here are files; name one, such as "
            "clear.tif"
        )
    there = _check_is_file(path)
    real = Path(os.path.realpath(path))
    if not os.path.isdir(real.parent):
        if os.path.islink(path):
            raise SceneIOError(
                f"{path} is a link to {real}, and the folder {real.parent} does not exist; make it first"
            )
        raise SceneIOError(f"the folder {path.parent} of {path.name} does not exist; make it first")
    for end in SIDECARS:
        _check_is_file(real.with_name(real.name + end), optional=True)
    return there


def _check_is_file(path: Path, optional: bool = False) -> bool:
    """Whether a regular file is there; a name too long is an error unless the file is `optional`."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return False
    except OSError as error:  # such as a name that is too long
        if optional:
            return False
        raise SceneIOError(f"{path} cannot be written: {error.strerror}. Choose another") from error
    if stat.S_ISREG(mode):
        return True
    kind = next((kind for is_kind, kind in _KINDS if is_kind(mode)), "no regular file")
    example = f", such as {path / 'clear.tif'}" if stat.S_ISDIR(mode) else "; it is not replaced"
    raise SceneIOError(f"{path} is {kind}; name the file to write{example}")


def make_folder(path: str | Path) -> Path:
    """The folder at a path, made with those above it where it is missing.

    Raises
    ------
    SceneIOError
        If something else is there, such as a file, a device or a link to nowhere; or it cannot be made.
    """
    path = Path(path)
    if os.path.isdir(path):
        return path
    if os.path.islink(path) and not os.path.exists(path):
        raise SceneIOError(
            f"{path} is a link to {os.path.realpath(path)}, which does not exist; make that folder first"
        )
    if os.path.exists(path):
        raise SceneIOError(f"{path} is no folder, and one is needed here; name another")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SceneIOError(f"the folder {path} cannot be made: {error.strerror}") from error
    return path
