"""Many scenes: found, done one after the other, and where it was killed it goes on.

The unit of work is one call of `geodecloud.decloud_scene`. All that is known of a scene lies in the
journal; the summary and the footprints are written from it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import filelock

from geodecloud.batch.clear_maps import keep_clear_map
from geodecloud.batch.dates import count_references
from geodecloud.batch.discovery import find_scenes, suffixes_below
from geodecloud.batch.jobs import (
    SCENE_ERRORS,
    Batch,
    Job,
    is_scene_error,
    options_for,
    plan_job,
    plan_jobs,
    reason_of,
)
from geodecloud.batch.journal import FOLDER, Record
from geodecloud.batch.summary import FolderReport, Outcome, write_footprints, write_summary
from geodecloud.compute.engine import Threads, engine
from geodecloud.decloud_file import Report, decloud_file
from geodecloud.errors import ClusterLostError, OptionError, SceneIOError
from geodecloud.masks.selection import absolute_selection
from geodecloud.options import FileOptions
from geodecloud.raster.archives import ARCHIVES, RASTERS
from geodecloud.raster.outputs import LAYERS
from geodecloud.raster.reader import absolute
from geodecloud.raster.temporaries import remove_leftovers

if TYPE_CHECKING:
    from geodecloud.keywords import FileKeywords

log = logging.getLogger(__name__)


def decloud_folder(
    roots: str | Path | Sequence[str | Path],
    out_dir: str | Path,
    *,
    pattern: str = "*",
    dry_run: bool = False,
    provenance: bool = False,
    cloud_map: bool = False,
    source_date: bool = False,
    confidence: bool = False,
    on_outcome: Callable[[Outcome], None] = lambda outcome: None,
    **options: Unpack[FileKeywords],
) -> FolderReport:
    """Remove the clouds of all scenes and products in folders; go on where a run was cut off.

    Parameters
    ----------
    roots : folders, looked through with all below them; or scenes and products
    out_dir : results go there as ``NAME_decloud.tif``, in folders as the scenes are; also
        ``summary.csv`` and ``footprints.gpkg``
    pattern : of the names of files and products, such as ``S2A_*``
    dry_run : only say what would be done
    provenance, cloud_map, source_date, confidence : write these too, as ``NAME_provenance.tif`` and so on
    on_outcome : called with each outcome as it is known
    **options : see `geodecloud.options.FileOptions`; with ``aoi``, scenes outside it are left out.
        ``references`` is "auto", "none" or how many: the nearest dates of the same ground among the scenes

    Returns
    -------
    FolderReport
        A scene that fails is in it with the reason; it does not stop the others.

    Raises
    ------
    SceneIOError
        If a root does not exist, holds nothing that can be read, or another batch is writing to
        `out_dir`.
    OptionError
        If an option does not exist or makes no sense.
    ClusterLostError
        If the scheduler goes, or all its workers: the next call goes on.
    """
    asked = FileOptions.of(options)
    several = [roots] if isinstance(roots, str | Path) else list(roots)
    wanted = (provenance, cloud_map, source_date, confidence)
    layers = tuple(name for name, on in zip(LAYERS, wanted, strict=True) if on)
    count_references(asked.references)
    if any(Path(root).resolve() == Path(out_dir).resolve() for root in several):
        raise OptionError(f"{out_dir} holds the scenes; give another folder for the results")
    batch = Batch(Path(out_dir), asked, layers)
    scenes = find_scenes(several, pattern, batch.out_dir)
    if not scenes:
        raise SceneIOError(_nothing_found(several, pattern, batch.out_dir))
    if dry_run:
        jobs = plan_jobs(batch, scenes)
        outcomes = [job.outcome or Outcome(job.scene.path, "to do") for job in jobs]
        return FolderReport(str(out_dir), tuple(outcomes))
    with _only_one(batch.out_dir):
        remove_leftovers(batch.out_dir, below=True)
        jobs = plan_jobs(batch, scenes)
        outcomes = _do_all(batch, jobs, on_outcome)
        jobs, outcomes = _do_copies(batch, jobs, outcomes, on_outcome)
        write_summary(batch.out_dir, outcomes)
        write_footprints(batch.out_dir, outcomes, [job.grid for job in jobs])
    return FolderReport(str(out_dir), tuple(outcomes))


def _nothing_found(roots: Sequence[str | Path], pattern: str, out_dir: Path) -> str:
    """Why there is nothing to do."""
    where = ", ".join(map(str, roots))
    fits = "" if pattern == "*" else f" whose name fits {pattern!r}"
    there = suffixes_below(roots, out_dir.resolve())
    counts = ", ".join(f"{count} {suffix}" for suffix, count in there.items())
    message = (
        f"{where} holds no scene or product{fits}. Looked for: {' '.join(RASTERS)}, also in "
        f"{' '.join(ARCHIVES)}, and products of Sentinel-2; there is: {counts or 'nothing'}"
    )
    if results := find_scenes(roots, pattern, out_dir, results=True):
        message += (
            f". {len(results)} were written by geodecloud, such as {results[0].path}: to work on one "
            "of them again, name it alone"
        )
    return message


def _do_all(
    batch: Batch, jobs: Sequence[Job], on_outcome: Callable[[Outcome], None]
) -> list[Outcome]:
    """Do what is to be done: here, or on a cluster a scene per thread where there are enough."""
    outcomes = [job.outcome for job in jobs]
    for outcome in outcomes:
        if outcome is not None:
            on_outcome(outcome)
    to_do = [i for i, outcome in enumerate(outcomes) if outcome is None]
    with engine(batch.options.scheduler, batch.options.workers) as computer:
        spread = 1 < computer.scenes_at_once <= len(to_do)
        work = partial(_do, _for_a_worker(batch) if spread else batch)
        each = computer.each if spread else Threads().each
        for place, result in each(work, [_absolute(jobs[i]) if spread else jobs[i] for i in to_do]):
            job = jobs[to_do[place]]
            if isinstance(result, BaseException):
                if not is_scene_error(result):
                    raise result
                result = _failed(batch, job, reason_of(result))
            outcomes[to_do[place]] = outcome = replace(result, scene=job.scene.path)
            on_outcome(outcome)
        if spread:  # workers that died could not clean up
            remove_leftovers(batch.out_dir, below=True)
    return [outcome for outcome in outcomes if outcome is not None]


def _do_copies(
    batch: Batch, jobs: list[Job], outcomes: list[Outcome], on_outcome: Callable[[Outcome], None]
) -> tuple[list[Job], list[Outcome]]:
    """Do the copies of scenes that failed: one of two downloads may be whole."""
    failed = {outcome.scene for outcome in outcomes if outcome.state == "failed"}
    places = [i for i, job in enumerate(jobs) if job.scene.twin in failed]
    # a record of their own: that of the scene says why it failed
    again = [
        plan_job(batch, replace(jobs[i].scene, twin=None), jobs[i].references, ".copy")
        for i in places
    ]
    jobs, outcomes = list(jobs), list(outcomes)
    for place, job, outcome in zip(places, again, _do_all(batch, again, on_outcome), strict=True):
        jobs[place], outcomes[place] = job, outcome
    return jobs, outcomes


def _for_a_worker(batch: Batch) -> Batch:
    """The batch as a thread of a worker does it, from wherever it runs."""
    asked = batch.options
    here = replace(
        asked,
        scheduler="threads",
        workers=None,
        mask=absolute_selection(asked.mask),
        aoi=None if asked.aoi is None else absolute(asked.aoi),
        model=absolute(asked.model) if isinstance(asked.model, str) else asked.model,
    )
    return replace(batch, out_dir=batch.out_dir.absolute(), options=here)


def _absolute(job: Job) -> Job:
    targets = {name: path.absolute() for name, path in job.targets.items()}
    return replace(
        job,
        scene=replace(job.scene, path=absolute(job.scene.path)),
        targets=targets,
        references=tuple(absolute(path) for path in job.references),
    )


def _do(batch: Batch, job: Job) -> Outcome:
    """Do one scene, with its beginning and its end in the journal."""
    before = batch.journal.read(job.key)
    known = {} if before is None else before.outputs
    asked = options_for(batch, job.scene.path)
    asked = replace(asked, overwrite=asked.overwrite or before is not None)
    layers: dict[str, Any] = {k: path for k, path in job.targets.items() if k != "out"}
    try:
        if not batch.options.overwrite:
            _check_free(batch, job.targets, known)
        # a result without a record would be a stranger's to the run after a kill
        begun = known | batch.journal.names(list(job.targets.values()))
        batch.journal.write(job.key, Record("running", job.made_from, begun))
        job.targets["out"].parent.mkdir(parents=True, exist_ok=True)
        report = _decloud(batch, job, asked, layers)
        outcome = _outcome(batch, job, report)
        figures = {k: v for k, v in asdict(outcome).items() if k not in ("scene", "state")}
        outputs = batch.journal.sign([Path(path) for path in report.files])
        batch.journal.write(job.key, Record("done", job.made_from, outputs, figures))
        if before is not None:
            batch.journal.remove_old(before, outputs)
    except ClusterLostError:  # ends the batch, not each scene after as long a wait
        raise
    except SCENE_ERRORS as error:
        log.debug("%s", job.scene.path, exc_info=True)
        return _failed(batch, job, reason_of(error))
    return outcome


def _decloud(batch: Batch, job: Job, asked: FileOptions, layers: dict[str, Any]) -> Report:
    """Do one scene with its other dates; without them, where one of them cannot be used."""
    out = job.targets["out"]
    if job.references:
        try:
            with_dates = replace(asked, references=job.references)
            found = {
                path: keep_clear_map(batch.out_dir, path, options_for(batch, path))
                for path in job.references
            }
            maps = {path: kept for path, kept in found.items() if kept is not None}
            return decloud_file(job.scene.path, out, with_dates, layers, clear_maps=maps)
        except ClusterLostError:
            raise
        except SCENE_ERRORS as error:
            log.warning("%s is done without other dates: %s", job.scene.path, reason_of(error))
    alone = {name: path for name, path in layers.items() if name != "source_date"}
    asked = replace(asked, references=None)
    return decloud_file(job.scene.path, out, asked, alone, as_known=True)


def _failed(batch: Batch, job: Job, reason: str) -> Outcome:
    record = batch.journal.read(job.key)
    if record is not None:
        failed = Record("failed", job.made_from, record.outputs, reason=reason)
        batch.journal.write(job.key, failed)
    return Outcome(job.scene.path, "failed", reason=reason)


def _check_free(batch: Batch, targets: dict[str, Path], known: Mapping[str, object]) -> None:
    """Refuse to write over what this batch has not written."""
    for path in targets.values():
        name = path.relative_to(batch.out_dir).as_posix()
        ours = any(output == name or output.startswith(f"{name}/") for output in known)
        if path.exists() and not ours:
            raise SceneIOError(
                f"{path} exists and is not of this batch; to replace it: overwrite=True"
            )


def _outcome(batch: Batch, job: Job, report: Report) -> Outcome:
    pixels = report.pixels
    valid = sum(pixels.values()) - pixels["nodata"]
    shares = {
        name: round(pixels[name] / valid, 6) if valid else 0.0
        for name in ("observed", "restored", "synthesised", "left", "other_date")
    }
    out = job.targets["out"].relative_to(batch.out_dir).as_posix()
    told = report.self_check and report.self_check.replaced
    return Outcome(
        job.scene.path,
        "done",
        out,
        "",
        report.model,
        report.grid,
        valid_px=valid,
        expected_error=told.mae if told else None,
        **shares,
    )


@contextmanager
def _only_one(out_dir: Path) -> Iterator[None]:
    """Keep a second batch from the same folder; the system frees it when we are killed."""
    try:
        (out_dir / FOLDER).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SceneIOError(f"{out_dir} cannot be made: {error}") from error
    lock = filelock.FileLock(out_dir / FOLDER / "lock", timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise SceneIOError(f"another batch is writing to {out_dir}; wait for its end") from error
    except OSError as error:  # somebody else's file, or a file system without locks
        raise SceneIOError(f"{lock.lock_file} cannot be locked: {error}") from error
    try:
        yield
    finally:
        lock.release()
