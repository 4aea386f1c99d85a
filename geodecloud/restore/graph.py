"""All that happens to the pixels of a scene, as one lazy graph: made once of its decisions, computed chunk by chunk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import dask.array as da
import numpy as np

from geodecloud.backends.declouder import ModelHandle
from geodecloud.compute.chunks import Indexed, map_chunks_with_halo
from geodecloud.masks.sources import Masks
from geodecloud.models.catalogue import get_card
from geodecloud.options import Options
from geodecloud.raster.reader import absolute
from geodecloud.restore.chunk import ChunkRestorer, Predictor
from geodecloud.restore.context import look_for_veil
from geodecloud.restore.decisions import Decisions
from geodecloud.restore.expected_error import Witness, expect_errors, see_mirrored
from geodecloud.restore.first_pass import FirstPass, coarse, look_around
from geodecloud.restore.network import MOST_FILL_PX, NetworkPredictor
from geodecloud.restore.other_dates import Reference
from geodecloud.restore.second_pass import fill_from_dates
from geodecloud.restore.veil_lifter import VeilLifter
from geodecloud.scene.gaps import Gaps
from geodecloud.scene.metadata import Metadata
from geodecloud.windows.tiler import Window


@dataclass(frozen=True)
class Restored:
    """A scene without clouds, and what is said of it; lazy, see `geodecloud.pipeline.Declouded`.

    Attributes
    ----------
    image : ([date,] C, H, W), the scene's dtype
    layers : ([date,] H, W) by name: "cloud_map", "provenance", "source_date", "confidence"; not each scene has all
    around : what the first pass saw, see `geodecloud.restore.first_pass.look_around`
    mirrored : what the confidence compares with, see `geodecloud.restore.expected_error.see_mirrored`; None: nothing
    """

    image: da.Array
    layers: dict[str, da.Array]
    around: Indexed | None
    mirrored: da.Array | None = None


def restore_scene(
    pixels: Indexed,
    masks: Masks,
    metadata: Metadata,
    decisions: Decisions,
    options: Options,
    references: Sequence[Reference],
) -> Restored:
    """Restore a scene, lazily; only a veil is looked for at once.

    Parameters
    ----------
    pixels : DN ([date,] C, H, W)
    references : other dates that fill holes
    """
    restorer = _chunk_restorer(pixels[0], masks.valid, metadata, decisions, options)
    arrays: list[Indexed | None] = [pixels, *masks]
    first_pass = _first_pass(restorer, metadata, decisions, options)
    around = None if first_pass is None else look_around(first_pass, arrays)
    arrays.append(around)
    layout = decisions.layout
    chunks_yx = None if layout is None else (layout.rows, layout.cols)
    if references:
        results = fill_from_dates(
            references, restorer, arrays, metadata, decisions, chunks_yx, options
        )
    else:
        outputs = [(metadata.count, pixels[0].dtype), (None, np.float32), (None, np.uint8)]
        results = map_chunks_with_halo(restorer, arrays, restorer.halo_px, outputs, chunks_yx)
    image, *planes = results
    mirrored = None
    layers = dict(zip(("cloud_map", "provenance", "source_date"), planes, strict=False))
    if isinstance(restorer.predictor, NetworkPredictor):
        table = decisions.card.expected_error
        if table is not None and table.spread is not None:
            other = around if first_pass is None else look_around(first_pass.mirrored, arrays)
            mirrored = see_mirrored(restorer, [*arrays[:4], other], image, planes[1], chunks_yx)
        witness = Witness.of(decisions, restorer.opaque_threshold)
        error = expect_errors(decisions.card, witness, results, mirrored, around)
        layers |= {} if error is None else {"confidence": error}
    return Restored(image, layers, around, mirrored)


def _chunk_restorer(
    pixels: da.Array,
    valid: Indexed | None,
    metadata: Metadata,
    decisions: Decisions,
    options: Options,
) -> ChunkRestorer:
    """Hand every decision to the function that each chunk runs."""
    predictor: Predictor = _network(metadata, decisions, options, may_have_gaps=valid is not None)
    if decisions.card.lifts_veil and metadata.dtypes[0] == "uint8":
        veil = look_for_veil(pixels, valid, decisions, options)
        predictor = predictor if veil is None else VeilLifter(veil, decisions.codec.tone)
    height, width = metadata.grid.shape_yx
    return ChunkRestorer(
        predictor=predictor,
        codec=decisions.codec,
        gaps=decisions.gaps,
        channels=decisions.channels,
        alpha=metadata.alpha,
        mask=decisions.mask_kind,
        strict=options.strict,
        extent=Window(0, 0, width, height),
        check=not decisions.checked,
    )


def _first_pass(
    restorer: ChunkRestorer, metadata: Metadata, decisions: Decisions, options: Options
) -> FirstPass | None:
    """What finds the clear parts of the whole scene before its chunks; None: nothing does."""
    own, name = restorer.predictor, decisions.first_pass
    if name is None or not isinstance(own, NetworkPredictor):
        return None
    if name == "mask":
        return FirstPass(restorer, None)
    in_coarse_pixels = {"extent": coarse(restorer.extent), "ends": ((), ())}
    if name == decisions.card.name:
        picks = tuple(range(len(decisions.channels)))
        return FirstPass(restorer, replace(own, **in_coarse_pixels), picks)  # type: ignore[arg-type]
    card = get_card(name)
    slots = [decisions.card.channel_names[slot] for slot in decisions.slots]
    picks = tuple(slots.index(band) for band in card.channel_names)
    other = replace(
        decisions,
        card=card,
        model=name,
        slots=tuple(range(len(picks))),
        window_px=None,
        halo_px=card.halo_px or 0,
        align_px=card.align_px,
        layout=None,
    )
    finder = _network(metadata, other, options, may_have_gaps=own.fill_px > 0)
    return FirstPass(restorer, replace(finder, **in_coarse_pixels), picks)  # type: ignore[arg-type]


def _network(
    metadata: Metadata, decisions: Decisions, options: Options, may_have_gaps: bool
) -> NetworkPredictor:
    model = decisions.model
    handle = ModelHandle(
        decisions.card,
        absolute(model) if isinstance(model, str) and model.endswith(".safetensors") else model,
        decisions.device,
        decisions.precision,
        decisions.backend,
        options.batch_size,
        options.workers or decisions.cores,
    )
    if decisions.cores is not None:
        handle.load()  # a device that is not there is known before the first chunk
    floating = np.issubdtype(np.dtype(metadata.dtypes[0]), np.floating)
    has_gaps = may_have_gaps or decisions.codec.nodata is not None or floating
    has_gaps |= decisions.gaps != Gaps()
    layout = decisions.layout
    return NetworkPredictor(
        model=handle,
        slots=decisions.slots,
        window_px=decisions.window_px,
        reach_px=decisions.halo_px,
        # the card's reach, not the halo asked for: the result must not depend on the halo
        fill_px=min(decisions.card.halo_px or 0, MOST_FILL_PX) if has_gaps else 0,
        extent=Window(0, 0, *metadata.grid.shape_yx[::-1]),
        align_px=decisions.align_px,
        # under a mask few windows are whole, and strips along the edge are not worth their graphs
        ends=((), ()) if layout is None or decisions.mask_kind == "given" else layout.ends,
    )
