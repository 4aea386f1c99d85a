"""How far off the pixels are that the network put in: the table of its card, looked up where it replaced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from geodecloud.compute.chunks import Indexed, map_chunks_with_halo
from geodecloud.models.card import ModelCard
from geodecloud.models.expected_error import ErrorTable
from geodecloud.restore.composite import Provenance
from geodecloud.restore.ground_around import GroundAround
from geodecloud.windows.tiler import Window

Array = NDArray[np.float32]
Codes = NDArray[np.uint8]


@dataclass(frozen=True)
class ErrorOfChunk:
    """Looks up the expected error of the pixels of one chunk.

    Attributes
    ----------
    table : of the card
    opaque : opacity above which the ground counts as not visible
    """

    table: ErrorTable
    opaque: float

    def __call__(
        self,
        provenance: Codes,
        opacity: Array,
        of_dates: Array | None,
        around: NDArray[Any] | None,
        *,
        core: Window,
        padded: Window,
    ) -> tuple[Array]:
        """Expected error (H, W) float32, in reflectance; NaN where nothing was replaced.

        Parameters
        ----------
        provenance, opacity : (H, W), of the result
        of_dates : (H, W) float32, of pixels that other dates fill, NaN elsewhere; None: no date does
        around : 0-d array that holds the scene's `GroundAround`; None: nobody looked for it
        """
        error = np.full(provenance.shape, np.nan, np.float32) if of_dates is None else of_dates
        replaced = (provenance == Provenance.RESTORED) | (provenance == Provenance.SYNTHESISED)
        if not replaced.any():
            return (error,)
        ground: GroundAround | None = None if around is None else around.item()
        seen = see_ground(provenance, opacity, ground, self.opaque, core)
        error = error.copy()
        error[replaced] = self.table.at(*(plane[replaced] for plane in seen))
        return (error,)


def see_ground(
    provenance: Codes,
    opacity: Array,
    around: GroundAround | None,
    opaque: float,
    window: Window,
) -> tuple[Array, Array]:
    """What the expected error depends on: opacity, and how far the ground around is not known.

    Parameters
    ----------
    provenance, opacity, around, opaque : see `ErrorOfChunk`
    window : of the scene, that provenance and opacity lie over

    Returns
    -------
    opacity, unknown : (H, W) float32 in [0, 1]. The opacity is 1 where something else than the network
        says that the ground was not visible; all is unknown where nobody looked for it
    """
    told = (provenance == Provenance.SYNTHESISED) & ~(opacity > opaque)
    seen = np.where(told, np.float32(1), opacity).astype(np.float32)
    if around is None:
        return seen, np.ones_like(seen)
    return seen, around.unknown(window)


def expect_errors(
    card: ModelCard,
    opacity: da.Array,
    provenance: da.Array,
    around: Indexed | None,
    of_dates: da.Array | None,
) -> da.Array | None:
    """The expected error of all replaced pixels, lazily; None: neither card nor dates tell it.

    It is a task of its own for each chunk: nobody pays for it who does not ask for it.

    Parameters
    ----------
    card : of the network
    opacity, provenance : ([date,] y, x), of the result
    around : see `geodecloud.restore.first_pass.look_around`
    of_dates : (y, x), of pixels that other dates fill, NaN elsewhere
    """
    if card.expected_error is None:
        return of_dates
    index = "tyx" if provenance.ndim == 3 else "yx"
    planes = [None if p is None else (p, index) for p in (provenance, opacity, of_dates)]
    chunk = ErrorOfChunk(card.expected_error, card.opaque_threshold)
    (error,) = map_chunks_with_halo(chunk, [*planes, around], 0, [(None, np.float32)])
    return error
