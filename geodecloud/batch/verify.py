"""The results of a batch, each held against the scene it was made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geodecloud.batch.discovery import FoundScene, find_scenes
from geodecloud.batch.jobs import SCENE_ERRORS, reason_of
from geodecloud.batch.journal import FOLDER, Journal, Record
from geodecloud.errors import OptionError, SceneIOError
from geodecloud.report.findings import Finding, Verification, failed, not_checked
from geodecloud.report.verify import Depth, verify_file

#: End of the key of a copy's record, see `geodecloud.batch.folder`.
_COPY = ".copy"


@dataclass(frozen=True)
class FolderVerification:
    """Findings about the results of a batch.

    Attributes
    ----------
    out_dir : folder of the results
    results : one for each that was looked at
    recorded : how many the batch has recorded
    """

    out_dir: str
    results: tuple[Verification, ...]
    recorded: int

    @property
    def ok(self) -> bool:
        """Whether no promise is broken, as far as it could be checked."""
        return all(result.ok for result in self.results)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        results = [result.as_dict() for result in self.results]
        return {
            "out_dir": self.out_dir,
            "ok": self.ok,
            "recorded": self.recorded,
            "results": results,
        }


def is_batch(out_dir: str | Path) -> bool:
    """Whether a folder holds the results of a batch, by its journal."""
    return (Path(out_dir) / FOLDER).is_dir()


def verify_folder(
    out_dir: str | Path,
    sources: str | Path | Sequence[str | Path],
    sample: int | None = None,
    depth: Depth | None = None,
    on_result: Callable[[Verification], None] = lambda result: None,
) -> FolderVerification:
    """Hold the results of a batch against their scenes.

    Parameters
    ----------
    out_dir : folder of the results, with the journal of the batch
    sources : folders of the scenes, as the batch was given them
    sample : how many results to look at, drawn by the seed of `depth`; None: all
    depth : how closely each is looked at
    on_result : called with each as it is known

    Raises
    ------
    SceneIOError
        If there is no journal, or a folder of scenes does not exist.
    OptionError
        If the sample is not at least 1.
    """
    out_dir, depth = Path(out_dir), depth or Depth()
    if sample is not None and sample < 1:
        raise OptionError(f"sample is at least 1, not {sample}")
    records = Journal(out_dir).records() if is_batch(out_dir) else {}
    if not records:
        raise SceneIOError(
            f"{out_dir} holds no journal of a batch ({FOLDER}); to check one result, name its file"
        )
    roots = [sources] if isinstance(sources, str | Path) else list(sources)
    scenes = _by_key(find_scenes(roots, skip=out_dir))
    results = []
    for key in _drawn(list(records), sample, depth.seed):
        result = _verify(out_dir, key, records[key], scenes.get(key), depth)
        on_result(result)
        results.append(result)
    return FolderVerification(str(out_dir), tuple(results), len(records))


def _by_key(scenes: Sequence[FoundScene]) -> dict[str, FoundScene]:
    """Scenes by the keys of their records; a copy of another one has a key of its own."""
    keys: dict[str, FoundScene] = {}
    for scene in scenes:
        end = "" if scene.twin is None else _COPY
        keys.setdefault((scene.place / scene.name).as_posix() + end, scene)
    return keys


def _drawn(keys: Sequence[str], sample: int | None, seed: int) -> Iterator[str]:
    count = len(keys) if sample is None else min(sample, len(keys))
    drawn = np.random.default_rng(seed).permutation(len(keys))[:count]
    return (keys[i] for i in sorted(drawn))


def _verify(
    out_dir: Path, key: str, record: Record, scene: FoundScene | None, depth: Depth
) -> Verification:
    """One result of the journal."""
    out = str(out_dir / str(record.report.get("out", key)))
    path = "" if scene is None else scene.path

    def only(finding: Finding) -> Verification:
        return Verification(out, path, (finding,))

    if record.state != "done":
        why = record.reason or "it was being written when the batch ended"
        return only(not_checked("journal", f"there is no result: {record.state}; {why}"))
    if scene is None:
        return only(failed("journal", f"the scene {key} is not among those of the source"))
    gone = [name for name in record.outputs if not (out_dir / name).is_file()]
    if gone:
        return only(failed("journal", f"recorded and not there: {', '.join(gone)}"))
    layers = [name for name in record.outputs if name.endswith("_provenance.tif")]
    try:
        return verify_file(out, path, out_dir / layers[0] if layers else None, depth)
    except SCENE_ERRORS as error:
        return only(failed("file", reason_of(error)))
