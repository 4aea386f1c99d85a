"""What a batch has done, in small files beside its results, so that it can be killed and go on.

One JSON file per scene, replaced in one step, says what its result was made from. A run that finds
it unchanged, and the result in place, has nothing to do.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from geodecloud.raster.whole_files import write_text

#: Folder of the journal below that of the results.
FOLDER = ".geodecloud"


@dataclass(frozen=True)
class Record:
    """What became of one scene.

    Attributes
    ----------
    state : "running", "done" or "failed"
    made_from : fingerprint of inputs and parameters
    outputs : path below the folder of results -> (bytes, time of the last change in ns); zeros where
        it is being written, or was when the run ended
    report : figures of a scene that is done
    reason : why it failed
    """

    state: str
    made_from: str
    outputs: dict[str, tuple[int, int]] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)
    reason: str = ""


class Journal:
    """The records of one folder of results."""

    def __init__(self, out_dir: Path) -> None:
        self.out_dir, self.folder = out_dir, out_dir / FOLDER

    def read(self, key: str) -> Record | None:
        """The record of a scene; None where there is none, or none that can be read."""
        try:
            said = json.loads(self._path(key).read_text(encoding="utf-8"))
            outputs = {_below(name): (int(a), int(b)) for name, (a, b) in said["outputs"].items()}
            record = Record(**said | {"outputs": outputs})
            _check_types(record)
            return record
        except (
            *(OSError, ValueError, TypeError, KeyError, AttributeError, IndexError),
            *(ArithmeticError, RecursionError),  # numbers without end, brackets within brackets
        ):
            return None

    def write(self, key: str, record: Record) -> None:
        """Replace the record of a scene in one step."""
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        # a batch has looked for leftovers when it began
        write_text(path, json.dumps(asdict(record), indent=1, sort_keys=True), sweep=False)

    def sign(self, outputs: Sequence[Path]) -> dict[str, tuple[int, int]]:
        """What the results look like from outside, to see later whether they are still those."""
        return {path.relative_to(self.out_dir).as_posix(): look(path.stat()) for path in outputs}

    def names(self, paths: Sequence[Path]) -> dict[str, tuple[int, int]]:
        """Results that are about to be written: whatever will be there is ours."""
        return {path.relative_to(self.out_dir).as_posix(): (0, 0) for path in paths}

    def remove_old(self, record: Record, outputs: Mapping[str, tuple[int, int]]) -> None:
        """Remove results of an earlier run that the latest did not write, if nobody touched them."""
        for name in record.outputs.keys() - outputs.keys():
            path = self.out_dir / name
            if path.is_file() and look(path.stat()) == record.outputs[name]:
                path.unlink()
                with suppress(OSError):  # the folder of single bands, if it was the last
                    path.parent.rmdir()

    def is_current(self, record: Record | None, made_from: str) -> bool:
        """Whether the results of a record are in place and what would be made again."""
        if record is None or record.state != "done" or record.made_from != made_from:
            return False
        paths = {name: self.out_dir / name for name in record.outputs}
        return all(
            path.is_file() and look(path.stat()) == record.outputs[name]
            for name, path in paths.items()
        )

    def written(self) -> dict[str, list[tuple[int, int]]]:
        """All results by their path below the folder of results, and what they looked like."""
        looks: dict[str, list[tuple[int, int]]] = {}
        for record in self.records().values():
            for name, seen in record.outputs.items():
                looks.setdefault(name, []).append(seen)
        return looks

    def records(self) -> dict[str, Record]:
        """The records of all scenes that can be read, by their keys, sorted."""
        paths = sorted(self.folder.rglob("*.json"))
        keys = [path.relative_to(self.folder).as_posix().removesuffix(".json") for path in paths]
        return {key: record for key in keys if (record := self.read(key)) is not None}

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.json"


def _below(name: str) -> str:
    """The name of a result; a journal may come with a folder from anywhere, and what it names is removed.

    Raises
    ------
    ValueError
        If it lies elsewhere than below the folder of results.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        raise ValueError(f"{name} is no result of this folder")
    return name


def _check_types(record: Record) -> None:
    """Raise TypeError where a record that was changed holds something else than a batch writes."""
    texts = (record.state, record.made_from, record.reason)
    if not (all(isinstance(text, str) for text in texts) and isinstance(record.report, dict)):
        raise TypeError("a field holds something else")


def look(status: os.stat_result) -> tuple[int, int]:
    """What shows from outside whether a file has changed: bytes, and time of the last change in ns."""
    return status.st_size, status.st_mtime_ns
