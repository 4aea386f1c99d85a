"""One scene from file to file: open, decide, restore, write, tell."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from rasterio.errors import RasterioError

from geodecloud._version import __version__
from geodecloud.compute.engine import engine
from geodecloud.compute.progress import progress_bar
from geodecloud.errors import SceneIOError
from geodecloud.options import FileOptions
from geodecloud.pipeline import Declouded, decloud
from geodecloud.raster.outputs import Outputs, item_path, plan_outputs
from geodecloud.raster.staging import OutputRaster, write_text
from geodecloud.raster.storage import without_query
from geodecloud.raster.writer import check_target, write_rasters
from geodecloud.restore.composite import Provenance
from geodecloud.restore.decisions import Decisions, decide
from geodecloud.restore.declouder import release_memory
from geodecloud.scene.metadata import VALID, Metadata
from geodecloud.source import Source, open_source

if TYPE_CHECKING:
    from geodecloud.keywords import FileKeywords

log = logging.getLogger(__name__)

Progress = bool | Callable[[int], None]


@dataclass(frozen=True)
class Report:
    """What became of one file: paths, decisions, and pixels by provenance code."""

    out: str
    provenance: str | None
    cloud_map: str | None
    model: str
    why: str
    radiometry: str
    grid: str
    pixels: dict[str, int]
    files: tuple[str, ...] = ()

    def share(self, code: Provenance) -> float:
        """Share of the scene's valid pixels with this code, 0 to 1."""
        valid = sum(self.pixels.values()) - self.pixels["nodata"]
        return self.pixels[code.name.lower()] / valid if valid else 0.0


def decloud_scene(
    src: str | Path,
    dst: str | Path,
    *,
    provenance: str | Path | None = None,
    cloud_map: str | Path | None = None,
    progress: Progress = False,
    **options: Unpack[FileKeywords],
) -> Report:
    """Remove clouds from a raster file or Sentinel-2 product and write a raster file like it.

    Parameters
    ----------
    src, dst : paths; `dst` becomes a COG with all of the source's metadata
    provenance, cloud_map : further rasters to write, on the same grid
    progress : show a bar, on a terminal or in a notebook; or a function to be called with the
        number of pixels just written
    **options : see `geodecloud.options.FileOptions`

    Raises
    ------
    GeodecloudError
        If anything is wrong; then nothing is left at `dst`.
    """
    asked = FileOptions.of(options)
    return decloud_file(src, dst, asked, provenance, cloud_map, progress)


def decloud_file(
    src: str | Path,
    dst: str | Path,
    asked: FileOptions,
    provenance: str | Path | None = None,
    cloud_map: str | Path | None = None,
    progress: Progress = False,
) -> Report:
    """The story of one scene from file to file; see `decloud_scene` for the parameters."""
    source = open_source(src, asked.resolution, asked.s2_offset)
    outputs = _plan_outputs(source, dst, provenance, cloud_map, asked)
    decisions = decide(source.metadata, source.sample(), asked)
    _log_decisions(source, decisions)
    result = decloud(source.open(decisions.chunk_px), asked, source.metadata, decisions)
    pixels = _write(source, outputs, result, asked, progress)
    return _report(source, outputs, decisions, pixels)


def _plan_outputs(
    source: Source,
    dst: str | Path,
    provenance: str | Path | None,
    cloud_map: str | Path | None,
    asked: FileOptions,
) -> Outputs:
    """Where everything goes; nothing that is read, or written, is written over."""
    is_dated = source.facts is not None and source.facts.time is not None
    item = item_path(source.path, is_dated, dst, asked.layout, asked.stac)
    inputs = [*source.files, asked.mask_path, asked.aoi, asked.model_path]
    return plan_outputs(dst, asked.layout, source.band_names, provenance, cloud_map, item, inputs)


def _log_decisions(source: Source, decisions: Decisions) -> None:
    """Say what was decided, before the long work."""
    metadata = source.metadata
    log.info(
        "%s: %s, %d bands of %s", source.path, metadata.grid, metadata.count, metadata.dtypes[0]
    )
    log.info("model %s: %s", decisions.card.name, decisions.why)
    log.info("%s", decisions.codec.reason)
    if decisions.card.kind == "identity" and metadata.radiometry:
        log.info("declared: %s", metadata.radiometry)


def _write(
    source: Source,
    outputs: Outputs,
    result: Declouded,
    asked: FileOptions,
    progress: Progress,
) -> dict[str, int]:
    """Compute and write all files in one pass; the number of pixels of each provenance code."""
    layers = {"provenance": result.provenance.data, "cloud_map": result.cloud_map.data}
    metadata = _tagged(source, result.decisions, asked)
    mask = source.file_mask(result.decisions.chunk_px)
    if asked.layout == "bands" and metadata.has_alpha:  # no band file has an alpha band
        mask = result.image.coords[VALID].data
    rasters = outputs.rasters(result.image.data, layers, metadata, mask)
    counter = CodeCounter()
    with outputs.folder(), ExitStack() as stack:
        if outputs.item is not None:
            check_target(outputs.item, asked.overwrite)
        computer = stack.enter_context(engine(asked.scheduler, asked.workers))
        if progress is True:
            height, width = metadata.grid.shape_yx
            progress = stack.enter_context(progress_bar(height * width))
        try:
            write_rasters(
                rasters,
                asked.file_format,
                computer,
                overwrite=asked.overwrite,
                progress=progress or None,
                also=[(result.provenance.data, counter)],
                computed=release_memory,
            )
        except RasterioError as error:
            detail = error.__cause__ or error
            raise SceneIOError(
                f"{source.path} cannot be read, it may be cut off or damaged: {detail}"
            ) from error
        pixels = {code.name.lower(): int(counter.counts[code]) for code in Provenance}
        if outputs.item is not None:
            _write_item(outputs.item, source, rasters, result.decisions, pixels, asked)
    return pixels


def _write_item(
    item: Path,
    source: Source,
    rasters: list[OutputRaster],
    decisions: Decisions,
    pixels: dict[str, int],
    asked: FileOptions,
) -> None:
    from geodecloud.report.stac import describe_item  # pystac takes a while, and few need it

    assert source.facts is not None
    lineage = f"clouds removed with {decisions.card.name}; {decisions.codec.reason}"
    about = (source.path, source.facts, source.metadata, rasters, pixels, lineage)
    write_text(item, describe_item(item, *about, is_cog=asked.file_format.name == "cog"))


class CodeCounter:
    """Takes chunks of provenance codes and counts them; nothing is kept in memory."""

    def __init__(self) -> None:
        self.counts = np.zeros(len(Provenance), np.int64)

    def __setitem__(self, key: Any, codes: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
        self.counts += np.bincount(codes.ravel(), minlength=len(Provenance))


def _tagged(source: Source, decisions: Decisions, asked: FileOptions) -> Metadata:
    """The scene's metadata with what was done to it."""
    parameters = {
        name: without_query(value) if isinstance(value, str | Path) else value
        for name, value in asked.parameters().items()
    }
    tagged = source.metadata.with_tags(
        GEODECLOUD_VERSION=__version__,
        GEODECLOUD_MODEL=decisions.card.name,
        GEODECLOUD_WEIGHTS_SHA256=decisions.card.sha256,
        GEODECLOUD_PARAMETERS=json.dumps(parameters, default=str, sort_keys=True),
        GEODECLOUD_SOURCE=source.name,
    )
    return tagged if decisions.card.kind == "identity" else tagged.without_statistics()


def _report(
    source: Source, outputs: Outputs, decisions: Decisions, pixels: dict[str, int]
) -> Report:
    layers = (outputs.provenance, outputs.cloud_map)
    provenance, cloud_map = (None if path is None else str(path) for path in layers)
    return Report(
        out=str(outputs.dst),
        provenance=provenance,
        cloud_map=cloud_map,
        model=decisions.card.name,
        why=decisions.why,
        radiometry=decisions.codec.reason,
        grid=str(source.metadata.grid),
        pixels=pixels,
        files=tuple(str(path) for path in outputs.paths),
    )
