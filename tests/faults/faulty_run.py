"""The command line in a process of its own, with one fault at a chosen event.

Events are what Python does to files below a folder (told by its audit hooks), each block read and
written, and each batch of the network. Their number in a run does not depend on how fast the machine
is, so that a fault drawn from a seed comes at the same place each time.
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rasterio.errors import RasterioIOError


@dataclass(frozen=True)
class Fault:
    """What goes wrong.

    Attributes
    ----------
    kind : name of a signal, or one of `_ACTIONS`
    at : number of the event it comes at; 0: never
    path : what it is done to
    delay_s : how long after the event a signal comes, from another thread: in the middle of GDAL or torch
    events : which events count; empty: all
    limit_bytes : the longest file that may be written
    user : run as this user, where root would be let do everything; 0: as we are
    chunk_px : side of the chunks, each of which is written down as finished at once; 0: as always
    """

    kind: str = "none"
    at: int = 0
    path: str = ""
    delay_s: float = 0.0
    events: str = ""
    limit_bytes: int = 0
    user: int = 0
    chunk_px: int = 0


@dataclass(frozen=True)
class End:
    """How a run ended: its exit code (below 0: killed by a signal), what it said, and its events."""

    code: int
    told: str
    events: int


def run(words: Sequence[object], watched: Path, fault: Fault | None = None) -> End:
    """Run a command line; events are counted below `watched`."""
    context = multiprocessing.get_context("forkserver")
    # imported once: a run takes a tenth of a second, and not two
    context.set_forkserver_preload(["faulty_run", "geodecloud.decloud_file", *_LATE])
    log = watched.parent / f"{watched.name}.log"
    log.write_text("")
    log.chmod(0o666)
    events = context.Value("l", 0)
    arguments = ([str(word) for word in words], str(watched), fault or Fault(), str(log), events)
    process = context.Process(target=_run, args=arguments)
    process.start()
    process.join()
    assert process.exitcode is not None
    return End(process.exitcode, log.read_text(encoding="utf-8"), events.value)


#: What the command line imports when it comes to it.
_LATE = [
    "geodecloud.cli.commands",
    "geodecloud.batch.folder",
    "geodecloud.models.weights",
    "geodecloud.backends.torch_device",
    "rioxarray",
    "geopandas",
    "pyogrio",
]


@dataclass
class _Hook:
    """Counts events, and lets the fault come at its own."""

    watched: str
    fault: Fault
    counter: Any
    lock: Any = field(default_factory=threading.RLock)
    busy: bool = False

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        """What Python is about to do."""
        if event in _FILE_EVENTS and arguments and self.watched in str(arguments[0]):
            self.happens(event)

    def happens(self, event: str) -> None:
        """One event; nothing that the fault itself does is one."""
        with self.lock:
            if self.busy or self.fault.events not in ("", event):
                return
            self.counter.value += 1
            if self.counter.value != self.fault.at:
                return
            self.busy = True
            try:
                _come(self.fault)
            finally:
                self.busy = False

    def wrapped(self, event: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function whose calls are events."""

        def call(*arguments: Any, **keywords: Any) -> Any:
            self.happens(event)
            return function(*arguments, **keywords)

        return call


_FILE_EVENTS = {
    *("open", "os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir", "os.scandir"),
    *("shutil.rmtree", "fcntl.flock", "os.truncate", "os.listdir"),
}


def _run(words: list[str], watched: str, fault: Fault, log: str, counter: Any) -> None:
    number = os.open(log, os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(number, stream)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    signal.signal(signal.SIGINT, signal.default_int_handler)
    import torch

    import geodecloud
    from geodecloud.backends.declouder import Declouder
    from geodecloud.cli.commands import main
    from geodecloud.raster.raw import RasterTarget
    from geodecloud.raster.reader import _Pixels
    from geodecloud.raster.staging import Staging

    torch.set_num_threads(1)
    geodecloud.config.set(backend="torch")
    hook = _Hook(watched, fault, counter)
    for owner, name, event in (
        (_Pixels, "__getitem__", "read"),
        (Declouder, "predict", "predict"),
        (Staging, "_copy", "copy"),
    ):
        setattr(owner, name, hook.wrapped(event, getattr(owner, name)))
    RasterTarget.__setitem__ = _writing(hook, RasterTarget.__setitem__)  # type: ignore[method-assign]
    if fault.chunk_px:
        _save_each_block(fault.chunk_px)
    if fault.user:
        os.seteuid(fault.user)
    if fault.limit_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault.limit_bytes, fault.limit_bytes))
    sys.addaudithook(hook.audit)
    code = 1
    try:
        main(words)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001  # what Python itself would do with it, and then the exit
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # nothing of the test's own processes can be interrupted


def _save_each_block(side: int) -> None:
    """Let a small scene have several chunks, and what is finished of it be saved without waiting a minute."""
    from geodecloud.raster import raw
    from geodecloud.restore import decisions

    raw.SAVE_S = 0.0
    decisions.chunk_px = lambda shape_yx: side
    decisions._choose_layout = lambda *_: None


def _writing(hook: _Hook, function: Callable[..., Any]) -> Callable[..., Any]:
    """`RasterTarget.__setitem__` whose calls are events, where GDAL's own errors would come from."""
    from geodecloud.raster.raw import writing

    def call(target: Any, *arguments: Any) -> None:
        with writing(target.path):
            hook.happens("write")
        function(target, *arguments)

    return call


def _come(fault: Fault) -> None:
    """Let the fault come."""
    if fault.kind.startswith("SIG"):
        sign = signal.Signals[fault.kind]
        if not fault.delay_s:
            os.kill(os.getpid(), sign)
            return
        timer = threading.Timer(fault.delay_s, os.kill, (os.getpid(), sign))
        timer.daemon = True
        timer.start()
        return
    _ACTIONS[fault.kind](fault.path)


def _raise(error: BaseException) -> None:
    raise error


def _truncate(path: str) -> None:
    os.truncate(path, os.path.getsize(path) // 2)


def _replace(path: str) -> None:
    """Put another file in its place, as downloaders and synchronisers do."""
    shutil.copyfile(f"{path}.other", f"{path}.new")
    os.replace(f"{path}.new", path)


def _rewrite(path: str) -> None:
    """Write another content of the same length into the same file."""
    time.sleep(0.01)  # file systems count time in ticks
    with open(f"{path}.other", "rb") as other, open(path, "r+b") as file:
        file.write(other.read())


def _fill(path: str) -> None:
    """Leave no room on the disk of a folder."""
    with open(os.path.join(path, "ballast"), "wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise


_ACTIONS: dict[str, Callable[[str], None]] = {
    "remove": shutil.rmtree,
    "read-only": lambda path: os.chmod(path, 0o555),
    "unlink": os.unlink,
    "truncate": _truncate,
    "replace": _replace,
    "rewrite": _rewrite,
    "fill": _fill,
    "cannot be read": lambda path: _raise(RasterioIOError("Read failed. See previous exception")),
    "no space": lambda path: _raise(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))),
    "no memory": lambda path: _raise(MemoryError("Unable to allocate 3.00 GiB")),
    "our fault": lambda path: _raise(RuntimeError("a fault of ours")),
}
