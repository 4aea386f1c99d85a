"""What is being written, in a hidden folder beside its place, until it is whole.

The folder of ``out.tif`` is ``.out.tif.0a1b2c3d.part``. A file in it, `LOCK`, is locked by the process
that writes there, for as long as it lives: the system takes the lock back however a process ends, also
when it is killed or its host goes down. A lock that can be had therefore belongs to a run that is gone,
and the next run in that place removes its folder. One that cannot is left alone, whichever host holds
it: locks reach across the hosts of a shared file system (NFS, Lustre, GPFS). Where a file system knows
no locks, nothing is removed, and a remark names what may have been left.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import secrets
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

log = logging.getLogger(__name__)

#: Names of the hidden folders.
NAME = re.compile(r"\..+\.[0-9a-f]{8}\.part")
#: File in each of them: locked as long as its owner lives. It says who that is, for people to read.
LOCK = "owner.lock"
#: File in those that the next run may go on with; its first line is JSON and names the "target".
FINISHED = "finished.jsonl"
#: How long such a folder waits for that run while others write beside it.
_WAIT_S = 7 * 24 * 3600
#: What systems say of a lock that somebody else has; anything else: there are no locks.
_HELD = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)


class PartFolder:
    """A hidden folder beside a target, owned by this process until `remove`, or until it dies.

    Parameters
    ----------
    target : local path of what will be published

    Attributes
    ----------
    path : the folder; it exists between `make` and `remove`
    """

    def __init__(self, target: Path) -> None:
        self.target, self.path = target, _beside(target)
        # others read there, too; beside a target its folder says who may
        self._mode = 0o700 if target.parent == Path(tempfile.gettempdir()) else 0o777
        self._lock: int | None = None

    def make(self) -> Path:
        """Make the folder, and own it.

        Between the two, another run may take it for one whose owner has died just there, and remove it;
        then another one is made.
        """
        while self._lock is None:
            self.path = _beside(self.target)
            self.path.mkdir(self._mode)
            with suppress(FileNotFoundError):
                self._lock, _ = _lock(self.path / LOCK, os.O_CREAT | os.O_EXCL)
        _sign(self._lock)
        return self.path

    def take_over(self, is_same: Callable[[Path], bool]) -> bool:
        """Own the folder that a run which is gone has left for this target; of several runs one gets it.

        Parameters
        ----------
        is_same : whether what is in a folder is what we would make
        """
        for path in _folders_of(self.target):
            # before the lock, too: one that is just being made has to get its own
            if not is_same(path):
                continue
            lock, is_sure = None, False
            with suppress(OSError):
                lock, is_sure = _lock(path / LOCK)
            if lock is None:
                continue
            if is_sure and is_same(path):
                self.path, self._lock = path, lock
                os.ftruncate(lock, 0)
                _sign(lock)
                return True
            os.close(lock)
        return False

    def leave(self) -> None:
        """Give the folder up as a run that is killed would: the next one may take it over."""
        if self._lock is not None:
            lock, self._lock = self._lock, None
            os.close(lock)

    def remove(self) -> None:
        """Remove the folder and all that is in it; nothing happens where there is none."""
        try:
            self._remove()
        except BaseException:  # Ctrl-C in the middle of it
            self._remove()
            raise

    def _remove(self) -> None:
        _empty(self.path)
        lock, self._lock = self._lock, None
        _drop(self.path, lock)


@contextmanager
def part_folder(target: Path, sweep: bool = True) -> Iterator[Path]:
    """A hidden folder beside a target, which goes again with all that is in it.

    Parameters
    ----------
    sweep : look for what killed runs have left there; who writes many files in a folder does so once
    """
    if sweep:
        remove_leftovers(target.parent)
    folder = PartFolder(target)
    try:
        yield folder.make()
    finally:
        folder.remove()


def remove_leftovers(folder: Path, below: bool = False, target: Path | None = None) -> list[Path]:
    """Remove the hidden folders of runs that are gone; what any run is writing stays.

    Parameters
    ----------
    below : look into all folders below, too
    target : what will be written there; of other targets, what a run could go on with waits for it

    Returns
    -------
    list of Path
        What was removed.
    """
    found: list[Path] = []
    for where, names, _ in os.walk(folder):
        parts = [Path(where, name) for name in sorted(names) if NAME.fullmatch(name)]
        found += [part for part in parts if _remove_if_left(part, target)]
        # in place: os.walk looks into what stays in the list
        names[:] = [name for name in names if below and not NAME.fullmatch(name)]
    return found


def _beside(target: Path) -> Path:
    return target.with_name(f"{_begin(target)}{secrets.token_hex(4)}.part")


def _begin(target: Path) -> str:
    # 50 letters are at most 200 bytes, and file systems allow a name 255
    return f".{target.name[:50]}."


def _folders_of(target: Path) -> list[Path]:
    """Hidden folders that may be of a target: longer names may begin alike."""
    begin = _begin(target)
    names = [name for name in os.listdir(target.parent) if name.startswith(begin)]
    return [target.with_name(name) for name in sorted(names) if NAME.fullmatch(name)]


def _sign(lock: int) -> None:
    """Say who has the lock, for people to read."""
    os.write(lock, f"process {os.getpid()} on {socket.gethostname()}\n".encode())


def _waits(folder: Path, target: Path | None) -> bool:
    """Whether a folder is kept for a run of another target, which may go on with what is in it."""
    try:
        with (folder / FINISHED).open("rb") as file:
            name = json.loads(file.readline())["target"]
            age_s = time.time() - os.fstat(file.fileno()).st_mtime
    except (OSError, ValueError, TypeError, KeyError):
        return False
    return age_s < _WAIT_S and (target is None or name != target.name)


def _remove_if_left(folder: Path, target: Path | None) -> bool:
    """Remove one hidden folder whose owner is gone; False: it stays."""
    if folder.is_symlink():
        return False
    try:
        owner = (folder / LOCK).read_text(encoding="utf-8", errors="replace").strip()
        lock, is_sure = _lock(folder / LOCK)
    except FileNotFoundError:  # killed before it had a lock, or after: then there is nothing in it
        with suppress(OSError):
            folder.rmdir()
        return not folder.exists()
    except OSError:  # somebody else's, who does not let us
        return False
    if lock is None:
        return False
    if not is_sure:
        os.close(lock)
        log.info(
            "%s: no locks here tell whether %s still writes it; if not, remove it", folder, owner
        )
        return False
    if _waits(folder, target):
        os.close(lock)
        log.debug("%s, left by %s, waits for its next run", folder, owner)
        return False
    _empty(folder)
    _drop(folder, lock)
    log.info("removed %s, left by %s", folder, owner or "a run that was killed")
    return True


def _empty(folder: Path) -> None:
    """Remove what is in a folder we own but its lock: a kill half-way leaves that to be found."""
    with suppress(OSError):
        for entry in list(os.scandir(folder)):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            elif entry.name != LOCK:
                os.unlink(entry.path)


def _drop(folder: Path, lock: int | None) -> None:
    """Remove a folder with nothing in it but the lock.

    The file goes before the lock is given back: whoever has just made the folder, and waits to lock it, would own
    what is being removed. The folder goes after: on NFS a file that is open leaves another name in it. Windows removes
    no open file.
    """
    closes_first = sys.platform == "win32"
    if closes_first and lock is not None:
        os.close(lock)
    with suppress(OSError):
        os.unlink(folder / LOCK)
    if not closes_first and lock is not None:
        os.close(lock)
    with suppress(OSError):
        folder.rmdir()


def _lock(path: Path, flags: int = 0) -> tuple[int | None, bool]:
    """Open and lock a file.

    Returns
    -------
    number : of the open file; None: somebody else has the lock, or has removed the file meanwhile
    is_sure : whether there was a lock; False: the file system knows none
    """
    number, is_sure = os.open(path, os.O_RDWR | flags, 0o666), True
    try:
        _take(number)
    except OSError as error:
        if error.errno in _HELD:
            os.close(number)
            return None, True
        is_sure = False
    try:
        if os.path.samestat(os.fstat(number), os.stat(path)):
            return number, is_sure
    except FileNotFoundError:
        pass
    os.close(number)
    return None, True


if sys.platform == "win32":
    import msvcrt

    def _take(number: int) -> None:
        """Lock an open file, or raise OSError; far behind its text, which others may read."""
        os.lseek(number, 2**20, os.SEEK_SET)
        msvcrt.locking(number, msvcrt.LK_NBLCK, 1)
        os.lseek(number, 0, os.SEEK_SET)

else:
    import fcntl

    def _take(number: int) -> None:
        """Lock an open file, or raise OSError."""
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
