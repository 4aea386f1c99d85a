"""Whether a result keeps its promises: the same scene, and nothing but cloud has changed.

A result is held against the scene it was made of, both on disk, a strip at a time. What is expected comes from the
scene and from the tags of the result, never from what a run kept in memory.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from geodecloud.errors import GeodecloudWarning, SceneError, SceneIOError
from geodecloud.options import FileOptions
from geodecloud.raster.gdal import gdal_settings
from geodecloud.report.findings import Finding, Verification, failed, not_checked
from geodecloud.report.made_by import MadeBy
from geodecloud.report.pair import read_result_tags
from geodecloud.report.result import Result
from geodecloud.report.side_by_side import (
    Depth as Depth,
)  # who asks for a verification asks for it here
from geodecloud.report.side_by_side import SideBySide
from geodecloud.report.strips import UnreadableError
from geodecloud.scene.address import is_remote
from geodecloud.source import open_source


def verify_file(
    out: str | Path,
    source: str | Path,
    provenance: str | Path | None = None,
    depth: Depth | None = None,
) -> Verification:
    """Hold a result against the scene it was made of.

    Parameters
    ----------
    out : the result: a raster, or a folder with one per band
    source : the scene or product it was made of
    provenance : its provenance raster; None: ``NAME_provenance.tif`` beside ``NAME_decloud.tif``, if it is
        there
    depth : how closely; None: as `Depth` says

    Raises
    ------
    SceneIOError, SceneError
        If there is no such result or provenance raster, or the scene cannot be read.
    """
    for path in (out, *([] if provenance is None else [provenance])):
        if not is_remote(path) and not os.path.exists(path):
            raise SceneIOError(f"{path} does not exist")
    codes = provenance or _provenance_beside(out)
    # what a run tells its user of the scene was told then
    with gdal_settings(), warnings.catch_warnings():
        warnings.simplefilter("ignore", GeodecloudWarning)
        findings = tuple(_verify(out, source, codes, depth or Depth()))
    return Verification(str(out), str(source), findings)


def _provenance_beside(out: str | Path) -> Path | None:
    """The provenance raster, where it is named as in a batch."""
    name = Path(out).name.removesuffix(".tif")
    beside = Path(out).with_name(f"{name.removesuffix('_decloud')}_provenance.tif")
    return beside if name.endswith("_decloud") and beside.is_file() else None


def _verify(
    out: str | Path, path: str | Path, provenance: str | Path | None, depth: Depth
) -> Iterator[Finding]:
    """The story: what the result says of itself, its metadata, its layout, its pixels."""
    try:
        tags = read_result_tags(out)
    except (SceneError, SceneIOError) as error:
        yield failed("file", str(error))
        return
    made_by = MadeBy.of(tags, [Path(p).absolute().parent for p in (out, path)])
    asked = made_by.options or FileOptions()
    source = open_source(path, asked.resolution, asked.s2_offset)
    metadata = source.metadata
    with _about_the_result() as broken:
        result = Result.of(out, metadata, source.band_names, made_by)
        yield from result.check_metadata()
        yield from made_by.check(source.name)
        yield from result.check_layout()
        if result.is_comparable:
            yield from SideBySide.of(result, source, made_by, provenance, depth).check()
        else:
            yield not_checked("pixels", "they are of another size or type than the scene's")
    yield from broken


@contextmanager
def _about_the_result() -> Iterator[list[Finding]]:
    """Turns a result that cannot be read into a finding."""
    broken: list[Finding] = []
    try:
        yield broken
    except UnreadableError as error:
        broken.append(failed("file", str(error), row=error.row))
