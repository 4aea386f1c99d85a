"""What is to be done in a batch: a job per scene, told from the scenes and the journal without a pixel."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from geodecloud._version import __version__
from geodecloud.batch.dates import DatedScene, choose_references, count_references
from geodecloud.batch.discovery import FoundScene
from geodecloud.batch.journal import Journal
from geodecloud.batch.summary import Outcome
from geodecloud.errors import GeodecloudError
from geodecloud.masks.areas import touches_aoi
from geodecloud.masks.selection import mask_path
from geodecloud.models.catalogue import get_card, shipped_cards
from geodecloud.options import FileOptions
from geodecloud.raster.gdal import GDAL_ERRORS
from geodecloud.raster.input_files import fingerprint
from geodecloud.scene.grid import Grid
from geodecloud.sentinel2.files import find_products
from geodecloud.source import Source, open_source

#: What a scene, its files or too little memory do; the next scene may well go through. Anything else
#: is a fault of ours, and stops the batch.
SCENE_ERRORS = (GeodecloudError, OSError, *GDAL_ERRORS, MemoryError)


@dataclass(frozen=True)
class Job:
    """One scene to be done: the call, and what its result is made from."""

    scene: FoundScene
    key: str
    targets: dict[str, Path]
    grid: Grid | None = None
    made_from: str = ""
    references: tuple[str, ...] = ()
    outcome: Outcome | None = None


@dataclass(frozen=True)
class Batch:
    """What all scenes of a batch have in common.

    Attributes
    ----------
    out_dir : folder of the results
    options : how clouds are removed, and how files are read and written
    layers : "provenance", "cloud_map": rasters to write besides the image
    """

    out_dir: Path
    options: FileOptions
    layers: tuple[str, ...]

    @property
    def journal(self) -> Journal:
        """The records of its scenes."""
        return Journal(self.out_dir)


def plan_jobs(batch: Batch, scenes: Sequence[FoundScene]) -> list[Job]:
    """Look at the scenes of a batch without their pixels: what is to be done, and what is not."""
    scenes = list(_without_clashes(scenes))
    sources = _Sources(batch)
    others = _other_dates(batch, scenes, sources)
    return [plan_job(batch, scene, others.get(scene.path, ()), sources=sources) for scene in scenes]


class _Sources:
    """The sources of a batch, each looked at once while it is planned, also as another one's date."""

    def __init__(self, batch: Batch) -> None:
        self._batch, self._opened = batch, dict[str, Source]()

    def open(self, path: str) -> Source:
        """The source at a path; raises as `open_source`."""
        if path not in self._opened:
            asked = options_for(self._batch, path)
            self._opened[path] = open_source(path, asked.resolution, asked.s2_offset)
        return self._opened[path]


def _other_dates(
    batch: Batch, scenes: Sequence[FoundScene], sources: _Sources
) -> Mapping[str, tuple[str, ...]]:
    """The other dates that fill each scene, by their paths."""
    count = count_references(batch.options.references)
    if not count or len(scenes) < 2:
        return {}
    dated: list[DatedScene] = []
    for scene in scenes:
        if scene.twin is not None or scene.problem is not None:
            continue
        with suppress(*SCENE_ERRORS):  # it will be told when its own turn comes
            dated += filter(None, [DatedScene.of(scene.path, sources.open(scene.path))])
    return choose_references(dated, count)


def _without_clashes(scenes: Sequence[FoundScene]) -> Iterator[FoundScene]:
    """The scenes; of two with one name in one folder, the second has a problem."""
    taken: dict[Path, str] = {}
    for scene in scenes:
        if scene.problem is not None:  # it takes nobody's name
            yield scene
            continue
        target = scene.place / scene.name
        other = taken.setdefault(target, scene.path) if scene.twin is None else scene.path
        if other != scene.path:
            problem = f"its result would have the name of that of {other}; rename one of them"
            scene = replace(scene, problem=problem)
        yield scene


def plan_job(
    batch: Batch,
    scene: FoundScene,
    references: tuple[str, ...] = (),
    key_end: str = "",
    sources: _Sources | None = None,
) -> Job:
    """Look at a scene without its pixels: is there anything to do.

    Parameters
    ----------
    references : other dates that fill its holes
    sources : what has been looked at already
    """
    sources = sources or _Sources(batch)
    key = (scene.place / scene.name).as_posix() + key_end
    ends = {"out": "decloud", **{layer: layer for layer in batch.layers}}
    folder = batch.out_dir / scene.place
    targets = {name: folder / f"{scene.name}_{end}.tif" for name, end in ends.items()}
    if batch.options.layout == "bands":
        targets["out"] = targets["out"].with_suffix("")
    job = Job(scene, key, targets, references=references)
    if scene.twin is not None:
        reason = f"the same as {scene.twin}"
        return replace(job, outcome=Outcome(scene.path, "copy", reason=reason))
    if scene.problem is not None:
        return replace(job, outcome=Outcome(scene.path, "failed", reason=scene.problem))
    try:
        source = sources.open(scene.path)
        job = replace(job, grid=source.grid)
        aoi = batch.options.aoi
        if aoi is not None and not touches_aoi(aoi, source.grid):
            return replace(job, outcome=Outcome(scene.path, "outside", reason=f"outside {aoi}"))
        files = [*source.files, *(f for path in references for f in sources.open(path).files)]
        made_from = _made_from(batch, files)
        record = batch.journal.read(key)
        if batch.journal.is_current(record, made_from) and record is not None:
            job = replace(job, outcome=Outcome.of_record(scene.path, record.report))
    except SCENE_ERRORS as error:
        return replace(job, outcome=Outcome(scene.path, "failed", reason=reason_of(error)))
    return replace(job, made_from=made_from)


def options_for(batch: Batch, path: str) -> FileOptions:
    """The options of the batch, less those that a plain raster beside products does not take."""
    for_files = replace(batch.options, resolution=None, s2_offset="auto")
    return batch.options if for_files == batch.options or find_products(path) else for_files


def _made_from(batch: Batch, files: Sequence[str]) -> str:
    """Fingerprint of all that a result depends on."""
    options = batch.options
    own = [mask_path(options.mask), options.aoi]
    auto = options.model == "auto"
    cards = shipped_cards().values() if auto else [get_card(options.model)]
    parameters = {
        "version": __version__,
        "options": options.parameters(),
        "writing": [options.layout, options.stac, options.self_check],
        "format": [options.file_format.name, dict(options.file_format.creation_options)],
        "layers": batch.layers,
        "models": sorted(card.to_json() for card in cards),
    }
    return fingerprint([*files, *(path for path in own if path is not None)], parameters)


def is_scene_error(error: BaseException) -> bool:
    """Whether a scene is at fault, or a worker that died with it, and not this package."""
    if isinstance(error, SCENE_ERRORS):
        return True
    distributed = sys.modules.get("distributed")  # not imported: then nothing of it was raised
    return distributed is not None and isinstance(error, distributed.KilledWorker)


def reason_of(error: BaseException) -> str:
    """One sentence; with its kind where it is not one of ours."""
    text = str(error) or "no reason given"
    return text if isinstance(error, GeodecloudError) else f"{type(error).__name__}: {text}"
