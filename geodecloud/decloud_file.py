"""One run on a file: open + `geodecloud.pipeline.decloud` + write."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.errors import RasterioError

from geodecloud._version import __version__
from geodecloud.backends import choose_backend, window_cost
from geodecloud.compute.chunks import cpu_count, engine
from geodecloud.compute.memory import MemoryEstimate, fit, parse_bytes
from geodecloud.compute.progress import progress_bar
from geodecloud.errors import GeodecloudWarning, SceneIOError
from geodecloud.models.catalogue import get_card
from geodecloud.options import NOT_THE_RESULT, Options
from geodecloud.pipeline import Declouded, decloud
from geodecloud.raster.outputs import folder_for, item_path, plan_images, plan_layers, written_files
from geodecloud.raster.reader import (
    chunk_px,
    source_files,
)
from geodecloud.raster.staging import FileFormat, OutputRaster, write_text
from geodecloud.raster.storage import without_query
from geodecloud.raster.writer import check_target, write_rasters
from geodecloud.restore.composite import Provenance
from geodecloud.restore.decisions import Plan, check_reflectance, choose_source, mask_path
from geodecloud.restore.declouder import release_memory
from geodecloud.scene.metadata import VALID, Metadata
from geodecloud.sentinel2.offsets import doubt_offset
from geodecloud.source import Source, open_source
from geodecloud.windows.tiler import BLEND_OVERLAP_PX, BLENDED_PX

log = logging.getLogger(__name__)


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
    resolution: int | None = None,
    s2_offset: str | float = "auto",
    layout: str = "stack",
    stac: bool | None = None,
    provenance: str | Path | None = None,
    cloud_map: str | Path | None = None,
    format: FileFormat | None = None,
    progress: bool | Callable[[int], None] = False,
    **options: Any,
) -> Report:
    """Remove clouds from a raster file or Sentinel-2 product and write a raster file like it.

    Parameters
    ----------
    src, dst : paths; `dst` becomes a COG with all of the source's metadata
    resolution, s2_offset : of a product, see `geodecloud.source.open_source`
    layout : "stack": one file of all bands; "bands": `dst` is a folder, with a file per band
    stac : write a STAC Item beside the result; None: for Sentinel-2 products
    provenance, cloud_map : further rasters to write, on the same grid
    format : file format, creation options, overwriting
    progress : show a bar, on a terminal or in a notebook; or a function to be called with the
        number of pixels just written
    **options : see `geodecloud.options.Options`

    Raises
    ------
    GeodecloudError
        If anything is wrong; then nothing is left at `dst`.
    """
    chosen = Options.of(options)
    source = open_source(src, resolution, s2_offset)
    is_dated = source.facts is not None and source.facts.time is not None
    item = item_path(source.path, is_dated, dst, layout, stac)
    inputs = [*source.files, mask_path(chosen), chosen.aoi, chosen.model]
    _check_paths(inputs, [dst, provenance, cloud_map, item])
    metadata = source.metadata
    chosen, side = _within_memory(chosen, metadata)
    array = source.open(side)
    result = decloud(array, chosen, metadata, keep_chunks=False)
    _check_sample(source, result.plan)
    _tell(source, result.plan)

    reading = {"resolution": resolution, "s2_offset": s2_offset}
    tagged = metadata.with_tags(**_tags(source, result.plan, chosen, reading))
    if result.plan.card.kind != "identity":
        tagged = tagged.without_statistics()
    mask = source.file_mask(side)
    if layout == "bands" and metadata.has_alpha:  # no band file has an alpha band
        mask = array.coords[VALID].data
    products = plan_images(source.band_names, result.image.data, tagged, mask, dst, layout)
    products += plan_layers(metadata, result, provenance, cloud_map)
    _check_paths(inputs, [*(product.path for product in products), item])
    file_format = format or FileFormat()
    with folder_for(dst, layout):
        if item is not None:
            check_target(item, file_format.overwrite)
        pixels = _write(source, products, result, file_format, chosen, progress)
        if item is not None and source.facts is not None:
            from geodecloud.report.stac import (
                describe_item,  # pystac takes a while, and few need it
            )

            lineage = f"clouds removed with {result.plan.card.name}; {result.plan.codec.reason}"
            about = (source.path, source.facts, metadata, products, pixels, lineage)
            write_text(item, describe_item(item, *about, is_cog=file_format.name == "cog"))
    return Report(
        out=str(dst),
        provenance=None if provenance is None else str(provenance),
        cloud_map=None if cloud_map is None else str(cloud_map),
        model=result.plan.card.name,
        why=result.plan.why,
        radiometry=result.plan.codec.reason,
        grid=str(metadata.grid),
        pixels=pixels,
        files=written_files(products, item),
    )


def _write(
    source: Source,
    products: list[OutputRaster],
    result: Declouded,
    file_format: FileFormat,
    options: Options,
    progress: bool | Callable[[int], None],
) -> dict[str, int]:
    """Compute and write all rasters in one pass; the number of pixels of each provenance code."""
    counter = CodeCounter()
    also = [(result.provenance.data, counter)]
    try:
        with ExitStack() as stack:
            computer = stack.enter_context(engine(options.scheduler, options.workers))
            if progress is True:
                height, width = products[0].metadata.grid.shape_yx
                progress = stack.enter_context(progress_bar(height * width))
            write_rasters(
                products, file_format, computer, progress or _ignore, also, release_memory
            )
    except RasterioError as error:
        detail = error.__cause__ or error
        raise SceneIOError(
            f"{source.path} cannot be read, it may be cut off or damaged: {detail}"
        ) from error
    return {code.name.lower(): int(counter.counts[code]) for code in Provenance}


def _ignore(pixels: int) -> None:
    """For those who do not want to know."""


def _tell(source: Source, plan: Plan) -> None:
    """Say what was decided, before the long work."""
    metadata = source.metadata
    log.info(
        "%s: %s, %d bands of %s", source.path, metadata.grid, metadata.count, metadata.dtypes[0]
    )
    log.info("model %s: %s", plan.card.name, plan.why)
    log.info("%s", plan.codec.reason)
    if plan.card.kind == "identity" and metadata.radiometry:
        log.info("declared: %s", metadata.radiometry)


def _check_sample(source: Source, plan: Plan) -> None:
    """Look at some pixels before all of them: do they fit what the metadata says."""
    sample = source.sample()
    check_reflectance(sample, plan)
    for doubt in source.doubts(sample):
        warnings.warn(f"{source.path}: {doubt}", GeodecloudWarning, stacklevel=3)
    if source.facts is None and plan.card.kind != "identity":
        codec, names = plan.codec, [source.metadata.descriptions[i] for i in plan.channels]
        options = ("--offset 0", "--scale 0.0001 --offset -0.1")
        pixels = sample[list(plan.channels)]
        # a remark: no document says that this should be otherwise
        for doubt in doubt_offset(
            pixels, codec.scales, codec.offsets, names, codec.nodata, options
        ):
            log.warning("%s: %s", source.path, doubt)


def _within_memory(options: Options, metadata: Metadata) -> tuple[Options, int]:
    """Workers, window and chunk that fit the limit; the result depends on none of them."""
    side = chunk_px(metadata.grid.shape_yx)
    if options.max_memory is None:
        return options, side
    card = get_card(choose_source(metadata, options)[0])
    backend = choose_backend(card, options.device, options.precision, options.backend)
    window_px, cost = window_cost(backend, options.precision)
    blends = card.halo_px is None
    window_px = options.window_px(BLENDED_PX if blends else window_px)
    wish = MemoryEstimate(options.workers or cpu_count(), side, window_px, cost)
    itemsize = np.dtype(metadata.dtypes[0]).itemsize
    limit = parse_bytes(options.max_memory)
    # the windows of a model of unlimited reach are blended: another size is another result
    halo_px = window_px if blends else BLEND_OVERLAP_PX
    found = fit(wish, limit, metadata.count, itemsize, halo_px, keep_window=blends)
    if found != wish:
        log.info(
            "--max-memory %s: %d workers, windows of %d px, chunks of %d px",
            *(options.max_memory, found.workers, found.window_px, found.chunk_px),
        )
    # where there is no need, "auto" stays: the window a GPU likes is not the one known here
    window = options.window if found.window_px == wish.window_px else found.window_px
    return dataclasses.replace(options, workers=found.workers, window=window), found.chunk_px


class CodeCounter:
    """Takes blocks of provenance codes and counts them; nothing is kept in memory."""

    def __init__(self) -> None:
        self.counts = np.zeros(len(Provenance), np.int64)

    def __setitem__(self, key: Any, codes: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
        self.counts += np.bincount(codes.ravel(), minlength=len(Provenance))


def _check_paths(inputs: list[Any], targets: list[str | Path | None]) -> None:
    """No target may be an input, under whatever name, or another target."""
    taken = [Path(f).resolve() for path in inputs if path is not None for f in source_files(path)]
    for target in targets:
        if target is None:
            continue
        path = Path(target).resolve()
        # os.path, not Path: it takes a name that is too long for one that is not there
        there = [f for f in taken if os.path.exists(f)] if os.path.exists(path) else []
        if path in taken or any(path.samefile(f) for f in there):
            raise SceneIOError(f"{target} is named twice; inputs and outputs must all differ")
        taken.append(path)


def _tags(source: Source, plan: Plan, options: Options, reading: dict[str, Any]) -> dict[str, str]:
    asked = dataclasses.asdict(options) | {k: v for k, v in reading.items() if v is not None}
    parameters = {
        name: without_query(value) if isinstance(value, str | Path) else value
        for name, value in asked.items()
        if name not in NOT_THE_RESULT
    }
    return {
        "GEODECLOUD_VERSION": __version__,
        "GEODECLOUD_MODEL": plan.card.name,
        "GEODECLOUD_WEIGHTS_SHA256": plan.card.sha256,
        "GEODECLOUD_PARAMETERS": json.dumps(parameters, default=str, sort_keys=True),
        "GEODECLOUD_SOURCE": source.name,
    }
