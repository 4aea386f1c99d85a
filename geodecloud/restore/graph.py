"""All that happens to the pixels of a scene, as one lazy graph: made once of its decisions, computed chunk by chunk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import dask.array as da
import numpy as np

from geodecloud.compute.chunks import Indexed, map_chunks_with_halo
from geodecloud.compute.shelf import Shelf
from geodecloud.masks.sources import Masks
from geodecloud.options import Options
from geodecloud.restore.build import chunk_restorer, look_first, sky_of
from geodecloud.restore.decisions import Decisions
from geodecloud.restore.expected_error import Witness, expect_errors, see_mirrored
from geodecloud.restore.first_pass import look_around
from geodecloud.restore.network import NetworkPredictor
from geodecloud.restore.other_dates import Reference
from geodecloud.restore.second_pass import fill_from_dates
from geodecloud.scene.metadata import Metadata


@dataclass(frozen=True)
class Restored:
    """A scene without clouds, and what is said of it; lazy, see `geodecloud.pipeline.Declouded`.

    Attributes
    ----------
    image : ([date,] C, H, W), the scene's dtype
    layers : ([date,] H, W) by name: "cloud_map", "provenance", "source_date", "confidence"; not each scene has all
    around : what the first pass saw, see `geodecloud.restore.first_pass.look_around`
    mirrored : what the confidence compares with, see `geodecloud.restore.expected_error.see_mirrored`; None: nothing
    shelf : where the first pass is kept over a kill, once it has a folder
    """

    image: da.Array
    layers: dict[str, da.Array]
    around: Indexed | None
    mirrored: da.Array | None = None
    shelf: Shelf = field(default_factory=Shelf)


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
    restorer = chunk_restorer(pixels[0], masks.valid, metadata, decisions, options)
    arrays: list[Indexed | None] = [pixels, *masks]
    seen = around = sky = None
    if decisions.first_pass is not None:
        sky = sky_of(metadata, decisions)
    if references or decisions.first_pass is not None:
        seen = look_first(restorer, arrays, metadata, decisions, options)
    if decisions.first_pass is not None and seen is not None:
        around = look_around(seen, decisions.usual_ground, sky)
    arrays.append(around)
    layout = decisions.layout
    chunks_yx = None if layout is None else (layout.rows, layout.cols)
    if references:
        assert seen is not None
        results = fill_from_dates(
            references, restorer, arrays, seen, metadata, decisions, chunks_yx, options
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
            about = metadata, decisions, options
            other = around and look_around(
                look_first(restorer, arrays[:4], *about, mirrored=True), decisions.usual_ground, sky
            )
            mirrored = see_mirrored(restorer, [*arrays[:4], other], image, planes[1], chunks_yx)
        witness = Witness.of(decisions, restorer.opaque_threshold)
        error = expect_errors(decisions.card, witness, results, mirrored, around)
        layers |= {} if error is None else {"confidence": error}
    return Restored(image, layers, around, mirrored, restorer.shelf)
