"""The story: a scene goes in, the same scene without clouds comes out.

`decloud` is the one path. `remove_clouds` is its image alone, and the accessor calls it;
`geodecloud.decloud_file.decloud_scene` is open + `decloud` + write, and the command line calls that.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np

from geodecloud.backends import choose_backend, window_cost
from geodecloud.compute.chunks import Indexed, engine, map_blocks_with_halo
from geodecloud.errors import OptionError
from geodecloud.masks.areas import open_aoi
from geodecloud.masks.sources import open_clouds, open_data_area
from geodecloud.models.catalogue import find_weights
from geodecloud.models.tensors import read_tensors
from geodecloud.models.veil import SAMPLE_PX, Veil, find_veil
from geodecloud.options import Options
from geodecloud.raster.reader import (
    absolute,
    chunk_px,
)
from geodecloud.restore.chunk import MASK_REACH_PX, ChunkRestorer
from geodecloud.restore.decisions import Plan, check_reflectance, plan_scene
from geodecloud.restore.declouder import ModelHandle
from geodecloud.scene.cube import Cube, Scene, SceneT
from geodecloud.scene.metadata import Metadata
from geodecloud.windows.tiler import BLEND_OVERLAP_PX, ChunkLayout, Ends, Window, plan_chunks

if TYPE_CHECKING:
    import xarray as xr

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Declouded:
    """The result on the scene's grid, lazy where the scene was lazy.

    Attributes
    ----------
    image : what the scene was, DataArray or Dataset, with its dims, dtype, coords and attrs
    cloud_map : (y, x), or (time, y, x), float32, opacity of cloud and shadow in [0, 1]; NaN where there is no
        data or nothing was computed
    provenance : like `cloud_map`, uint8, codes of `geodecloud.restore.composite.Provenance`
    plan : what was decided
    """

    image: Any
    cloud_map: xr.DataArray
    provenance: xr.DataArray
    plan: Plan


def remove_clouds(scene: SceneT, **options: Any) -> SceneT:
    """Remove clouds from a DataArray or Dataset: lazy in, lazy out.

    Parameters
    ----------
    scene : DataArray with the dims y and x, a band dim and perhaps a time dim, in any order; or
        Dataset with one such variable per band (other variables come back as they are). DN or
        reflectance, following rioxarray's conventions. Where it has a bool coordinate
        ``geodecloud_valid`` (y, x) or (time, y, x), False is treated as nodata.
    **options : see `geodecloud.options.Options`

    Returns
    -------
    DataArray or Dataset
        The same dims, coords, attrs, encoding, dtype and chunks; only cloud pixels differ.
        A model that lifts veils looks at some pixels of all chunks at once; all others wait.

    Raises
    ------
    GeodecloudError
        If no model fits the bands, or an option makes no sense.
    """
    return decloud(scene, Options.of(options)).image  # type: ignore[no-any-return,unused-ignore]


def decloud(
    scene: Scene,
    options: Options,
    metadata: Metadata | None = None,
    keep_chunks: bool = True,
) -> Declouded:
    """Remove clouds and say where: image, cloud map and provenance, see `Declouded`.

    Parameters
    ----------
    metadata : what the scene's file says about it, where the caller looks at a sample of its
        pixels (`check_reflectance`); None takes what the scene carries
    keep_chunks : compute a lazy scene in its own chunks: they are the caller's choice. A file has
        none, and what suits the backend is taken
    """
    cube = Cube.of(scene, options.bands or ())
    sampled = metadata is not None
    metadata = metadata or cube.metadata
    plan = plan_scene(metadata, options)
    data = cube.array.data
    lazy = isinstance(data, da.Array)
    if not lazy:
        check_reflectance(_thinned(data), plan)
        sampled = True
    side = chunk_px(metadata.grid.shape_yx)
    pixels = data if lazy else da.from_array(data, chunks=(*(1,) * (data.ndim - 3), -1, side, side))
    valid, allowed = _areas(cube, pixels.chunks[-2:], metadata, options)
    clouds = open_clouds(cube, (pixels, cube.index), metadata, options)
    cut = None if lazy and keep_chunks else _plan_chunks(metadata, plan, options)
    # under a mask few windows are whole, and strips along the edge are not worth their graphs
    ends = ((), ()) if cut is None or plan.mask_kind == "given" else cut.ends
    block = _block_declouder(metadata, plan, options, ends, may_have_gaps=valid is not None)
    # of a lazy scene no pixel may be read yet: each block looks for itself
    block = replace(block, check=not sampled and plan.card.kind != "identity")
    if plan.card.lifts_veil and metadata.dtypes[0] == "uint8":
        block = replace(block, veil=_look_for_veil(pixels, valid, plan, options))
    results: Any = map_blocks_with_halo(
        block,
        [(pixels, cube.index), valid, clouds, allowed],
        block.halo_px,
        outputs=[(metadata.count, pixels.dtype), (None, np.float32), (None, np.uint8)],
        chunks_yx=None if cut is None else (cut.rows, cut.cols),
    )
    if not lazy:
        # what is in memory here is computed here, unless a cluster is asked for by name
        with engine(options.scheduler or "threads", options.workers) as computer:
            results = computer.compute(results)
    image, cloud_map, provenance = results
    return Declouded(
        image=cube.image(image),
        cloud_map=cube.plane(cloud_map, "cloud_map"),
        provenance=cube.plane(provenance, "provenance"),
        plan=plan,
    )


def _plan_chunks(metadata: Metadata, plan: Plan, options: Options) -> ChunkLayout | None:
    """The chunks to compute; None: those of the scene are as good as any."""
    backend = choose_backend(plan.card, options.device, options.precision, options.backend)
    window_px, cost = window_cost(backend, options.precision)
    reach_px = _reach_px(plan, options)
    if not cost.shared or reach_px is None:
        return None
    shape_yx = metadata.grid.shape_yx
    return plan_chunks(shape_yx, options.window_px(window_px), reach_px, MASK_REACH_PX)


def _reach_px(plan: Plan, options: Options) -> int | None:
    return plan.card.halo_px if options.halo == "auto" else int(options.halo)


def _block_declouder(
    metadata: Metadata, plan: Plan, options: Options, ends: Ends, may_have_gaps: bool
) -> ChunkRestorer:
    """Hand every decision to the function that each block runs."""
    declouder = ModelHandle(
        plan.card,
        absolute(plan.source) if plan.source.endswith(".safetensors") else plan.source,
        options.device,
        options.precision,
        options.backend,
        options.batch_size,
        options.workers,
    )
    if options.scheduler in (None, "threads"):
        declouder.load()  # a device that is not there is known before the first block
    height, width = metadata.grid.shape_yx
    floating = np.issubdtype(np.dtype(metadata.dtypes[0]), np.floating)
    return ChunkRestorer(
        declouder=declouder,
        codec=plan.codec,
        channels=plan.channels,
        slots=plan.slots,
        mask_kind=plan.mask_kind,
        strict=options.strict,
        extent=Window(0, 0, width, height),
        window_px=None if options.window == "auto" else int(options.window),
        reach_px=_reach_px(plan, options),
        # the card's reach, not the halo asked for: the result must not depend on the halo
        fill_px=(plan.card.halo_px or 0 if plan.card.halo_px is not None else BLEND_OVERLAP_PX)
        if may_have_gaps or metadata.nodata is not None or floating
        else 0,
        alpha=metadata.alpha,
        ends=ends,
    )


def _look_for_veil(
    pixels: da.Array, valid: Indexed | None, plan: Plan, options: Options
) -> Veil | None:
    """Look at pixels from all over a picture, once and at once, before its blocks are planned.

    Raises
    ------
    OptionError
        If there are several dates: each would have a veil of its own.
    """
    if pixels.ndim > 3 and len(pixels) > 1:
        raise OptionError(
            f"model {plan.card.name} looks for a veil over one picture, and this is a stack of "
            f"{len(pixels)} dates; give them one by one, such as scene.isel(time=0)"
        )
    step = max(1, max(pixels.shape[-2:]) // SAMPLE_PX)
    thin = [pixels[..., ::step, ::step]]
    thin += [] if valid is None else [valid[0][..., ::step, ::step]]
    with engine(options.scheduler or "threads", options.workers) as computer:
        seen, *area = computer.compute(thin)
    dn = seen.reshape(seen.shape[-3:])[list(plan.channels)]
    usable = np.ones(dn.shape[1:], bool)
    if area:
        usable = area[0].reshape(dn.shape[1:]).copy()
    if plan.codec.nodata is not None:
        usable &= ~np.any(dn == plan.codec.nodata, axis=0)
    _, tensors = read_tensors(find_weights(plan.source))
    values = plan.codec.tone.values(plan.codec.decode(dn))
    veil = find_veil(tensors, values[:, usable].astype(np.float32))
    if veil is None:
        log.info("no veil lies over the whole picture")
    else:
        log.info("a veil of opacity %.2f lies over the whole picture, and is lifted", veil.opacity)
    return veil


def _areas(
    cube: Cube, chunks_yx: Any, metadata: Metadata, options: Options
) -> list[Indexed | None]:
    """The scene's validity and the area of interest; None where there is none."""
    aoi = options.aoi
    allowed = None if aoi is None else (open_aoi(aoi, metadata.grid, chunks_yx), "yx")
    return [open_data_area(cube), allowed]


def _thinned(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """At most about 256 x 256 pixels (band, y, x), spread over the first scene."""
    step = max(1, max(pixels.shape[-2:]) // 256)
    first = pixels if pixels.ndim == 3 else pixels[0]
    return first[:, ::step, ::step]
