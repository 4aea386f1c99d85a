"""Every result that a test writes is held against its scene by `verify`, when the test is over.

What runs in the test's own process is seen, whichever door it leaves by: the command line, `decloud_scene`, batches, the
fixtures of modules and sessions. Of runs alike, with the same options, one is looked at, for it takes a quarter of a
second; with ``GEODECLOUD_VERIFY=all`` in the environment each of them. A result that has changed since is left to the test that
changed it, and one whose scene has changed cannot be told from a wrong one. A test whose results break a promise on
purpose is marked ``breaks_results``.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import geodecloud.batch.folder
import geodecloud.decloud_file
from geodecloud.decloud_file import Report
from geodecloud.options import FileOptions
from geodecloud.report.verify import Depth, verify_file
from geodecloud.scene.address import is_remote

#: Nothing is made again: it takes as long as a run, and tests/report has tests of it.
_DEPTH = Depth(windows=0, workers=1)


@dataclass(frozen=True)
class Written:
    """A result, as it was when it was written.

    Attributes
    ----------
    state : names, sizes and times of all files of `source`, `out` and `provenance`
    kind : what makes it like another: options, kind of the scene's file, and what was written
    """

    source: str
    out: str
    provenance: str | None
    state: tuple[Any, ...]
    kind: str


#: Of the test that runs and of the fixtures it began, by their paths; and what kinds were looked at.
_written: dict[str, Written] = {}
_seen: set[str] = set()


def watch() -> None:
    """Have each result noted down."""
    noting = _noting(geodecloud.decloud_file.decloud_file)
    geodecloud.decloud_file.decloud_file = noting
    geodecloud.batch.folder.decloud_file = noting


def _noting(decloud: Callable[..., Report]) -> Callable[..., Report]:
    @functools.wraps(decloud)
    def noting(
        src: str | Path,
        dst: str | Path,
        asked: FileOptions,
        layers: Mapping[str, Any],
        *more: Any,
        **also: Any,
    ) -> Report:
        report = decloud(src, dst, asked, layers, *more, **also)
        if not any(map(is_remote, (src, report.out))):
            _note(src, asked, layers, report)
        return report

    return noting


def _note(src: str | Path, asked: FileOptions, layers: Mapping[str, Any], report: Report) -> None:
    """Remember a result; paths may be those of a folder that the test works in."""
    paths = [
        None if p is None else os.path.abspath(p) for p in (src, report.out, report.provenance)
    ]
    given = sorted(name for name, path in layers.items() if path is not None)
    options = {name: _name(value) for name, value in asked.parameters().items()}
    kind = [options, asked.layout, asked.file_format.name, given, Path(src).suffix.lower()]
    found = Written(*paths, _state(*paths), json.dumps(kind, default=str))  # type: ignore[arg-type]
    _written[found.out] = found


def _name(value: Any) -> Any:
    """An option without the folder of the test."""
    if isinstance(value, list | tuple):
        return [_name(one) for one in value]
    return os.path.basename(value) if isinstance(value, str | Path) else value


def _state(*paths: str | None) -> tuple[tuple[str, int, int], ...]:
    """Name, size and time of change of all files of these paths."""
    files: list[str] = []
    for path in filter(None, paths):
        below = [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names]
        files += sorted(below) if os.path.isdir(path) else [path]
    stats = [(file, os.stat(file)) for file in files if os.path.exists(file)]
    return tuple((file, found.st_size, found.st_mtime_ns) for file, found in stats)


def check(item: pytest.Item) -> None:
    """Fail the test if a result that it wrote breaks a promise."""
    results = list(_written.values())
    _written.clear()
    if item.get_closest_marker("breaks_results"):
        return
    for one in results:
        is_new = one.kind not in _seen or os.environ.get("GEODECLOUD_VERIFY") == "all"
        if not is_new or one.state != _state(one.source, one.out, one.provenance):
            continue
        _seen.add(one.kind)
        found = verify_file(one.out, one.source, one.provenance, _DEPTH)
        if not found.ok:
            lines = "\n".join(map(str, found.failed))
            pytest.fail(f"{one.out} does not keep what geodecloud promises:\n{lines}")
