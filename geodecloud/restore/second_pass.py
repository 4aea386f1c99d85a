"""Two passes over a scene as one graph: the network everywhere, then other dates in its holes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import dask.array as da
import numpy as np

from geodecloud.compute.chunks import Indexed, map_chunks_with_halo
from geodecloud.errors import OptionError
from geodecloud.options import Options
from geodecloud.restore.chunk import ChunkRestorer
from geodecloud.restore.decisions import Decisions
from geodecloud.restore.filler import ChunkFiller, ChunkPredictor, ChunkSeer
from geodecloud.restore.first_pass import clear_pixels
from geodecloud.restore.fit import fit_other_dates
from geodecloud.restore.network import NetworkPredictor
from geodecloud.restore.other_dates import Reference, open_other_dates
from geodecloud.restore.references import BandIndex, Sun
from geodecloud.scene.bands import canonical_name
from geodecloud.scene.metadata import Metadata

log = logging.getLogger(__name__)

#: Chunks of a larger side are halved before holes are filled.
_LARGE_PX = 1024


def fill_from_dates(
    references: Sequence[Reference],
    restorer: ChunkRestorer,
    arrays: list[Indexed | None],
    looked: da.Array,
    metadata: Metadata,
    decisions: Decisions,
    chunks_yx: Any,
    options: Options,
) -> Any:
    """Two passes: the network everywhere, then the ground of other dates in its holes.

    Parameters
    ----------
    looked : what the first pass saw, see `geodecloud.restore.first_pass.look`
    """
    predictor = restorer.predictor
    first = arrays[0]
    if not isinstance(predictor, NetworkPredictor) or first is None or first[1] != "cyx":
        raise OptionError("references fill one scene at a time, with a model that has a network")
    pixels = first[0]
    bands = [canonical_name(metadata.names[i]) or str(i + 1) for i in decisions.channels]
    dates = open_other_dates(
        references, metadata.grid, chunks_yx or pixels.chunks[-2:], bands, options
    )
    log.info("holes are filled from %s", ", ".join(dates.names))
    seer = ChunkSeer(restorer)
    outputs = [(len(decisions.channels), np.int16), (None, np.uint16)]
    restored, opacity = map_chunks_with_halo(seer, arrays, seer.halo_px, outputs, chunks_yx)
    fit = fit_other_dates(restorer, pixels, clear_pixels(looked), dates)
    filler = ChunkFiller(
        replace(restorer, check=False),
        BandIndex(
            bands.index("B02"), *(bands.index(b) if b in bands else None for b in ("B04", "B08"))
        )
        if "B02" in bands
        else None,
        None if decisions.sun_azimuth_deg is None else Sun(decisions.sun_azimuth_deg),
        dates.days,
        options.synthesis,
    )
    predicted, subset = map_chunks_with_halo(
        ChunkPredictor(),
        [*((v, "byx") for v in dates.values), *((u, "yx") for u in dates.usable), (fit, "")],
        ChunkPredictor.halo_px,
        [(len(decisions.channels), np.int16), (None, np.int16)],
    )  # in the blocks that the dates are read in: none waits for another
    seen: list[Indexed | None] = [
        (restored, "cyx"),
        (opacity, "yx"),
        (predicted, "cyx"),
        (subset, "yx"),
        (fit, ""),
    ]
    return map_chunks_with_halo(
        filler,
        [*arrays[:4], *seen],
        filler.halo_px,
        [
            (metadata.count, pixels.dtype),
            (None, np.float32),
            (None, np.uint8),
            (None, np.uint16),
            (None, np.float32),
        ],
        chunks_yx and tuple(_halved(sizes) for sizes in chunks_yx),
    )


def _halved(sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Chunks half as long: made for the network, they are large, and what the fill makes on its way is many times a chunk."""
    return tuple(part for size in sizes for part in _halves(size))


def _halves(size: int) -> tuple[int, ...]:
    return (size // 2, size - size // 2) if size > _LARGE_PX else (size,)
