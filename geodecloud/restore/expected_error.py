"""How far off the pixels are that the network put in: the table of its card, looked up where it replaced.

One thing that a table may ask for takes a run of the network more: how far the result is from that of the mirrored scene.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from geodecloud.compute.chunks import Indexed, map_chunks_with_halo
from geodecloud.models.card import ModelCard
from geodecloud.models.expected_error import ErrorTable, Evidence
from geodecloud.restore.chunk import ChunkRestorer
from geodecloud.restore.composite import Bool, Provenance
from geodecloud.restore.decisions import Decisions
from geodecloud.restore.ground_around import GroundAround
from geodecloud.scene.bands import known_wavelength_nm
from geodecloud.scene.reflectance import Codec
from geodecloud.windows.tiler import Window

Array = NDArray[np.float32]
Codes = NDArray[np.uint8]


@dataclass(frozen=True)
class Witness:
    """Finds what the expected error of the pixels depends on that the network put in.

    Attributes
    ----------
    codec : DN <-> reflectance of the restored bands
    channels : 0-based bands of the scene that are restored
    shortest : which of them has the shortest wavelength
    opaque : opacity above which the ground counts as not visible
    """

    codec: Codec
    channels: tuple[int, ...]
    shortest: int
    opaque: float

    @classmethod
    def of(cls, decisions: Decisions, opaque: float) -> Witness:
        """The witness of a scene about which this was decided."""
        card = decisions.card
        bands = [card.channels[slot] for slot in decisions.slots] if card.channels else []
        nm = [band.wavelength_nm or known_wavelength_nm(band.name) or np.inf for band in bands]
        shortest = int(np.argmin(nm)) if nm else 0
        return cls(decisions.codec, decisions.channels, shortest, opaque)

    def see(
        self,
        dn: NDArray[Any],
        opacity: Array,
        provenance: Codes,
        around: GroundAround | None,
        window: Window,
        mirrored: NDArray[Any] | None = None,
    ) -> tuple[Bool, Evidence]:
        """Where the network put something in, (H, W), and what is known of these n pixels.

        Parameters
        ----------
        dn, opacity, provenance : (C, H, W), (H, W) and (H, W) of the result
        around : None: nobody looked for the ground around, and all of it is unknown
        window : of the scene, that they lie over
        mirrored : like `dn`, of the mirrored scene; None: nobody asks how far the two are apart
        """
        where: Bool = (provenance == Provenance.RESTORED) | (provenance == Provenance.SYNTHESISED)
        made_up, seen = provenance[where] == Provenance.SYNTHESISED, opacity[where]
        # something else than the network may say that the ground was not visible
        seen = np.where(made_up & ~(seen > self.opaque), np.float32(1), seen)
        image = self._pixels(dn, where)
        unknown, difference = np.ones_like(seen), np.zeros_like(seen)
        uneven = np.zeros_like(seen)
        if around is not None and where.any():
            ground, not_known = around.stand_in(window)
            unknown, difference = not_known[where], np.abs(image - ground[:, where]).mean(axis=0)
            uneven = around.unevenness(window)[where]
        spread = np.zeros_like(seen)
        if mirrored is not None:
            apart = image - self._pixels(mirrored, where)
            spread = np.sqrt((apart**2).mean(axis=0)) / 2
        planes = seen, unknown, image.mean(axis=0), image[self.shortest], difference, spread, uneven
        return where, Evidence(*(plane.astype(np.float32) for plane in planes))

    def _pixels(self, dn: NDArray[Any], where: Bool) -> NDArray[np.float64]:
        """Reflectance (C, n) of the restored bands of n pixels."""
        return self.codec.decode(dn[list(self.channels)][:, where][:, None])[:, 0]


@dataclass(frozen=True)
class ErrorOfChunk:
    """Looks up the expected error of the pixels of one chunk."""

    table: ErrorTable
    witness: Witness

    def __call__(
        self,
        dn: NDArray[Any],
        opacity: Array,
        provenance: Codes,
        of_dates: Array | None,
        mirrored: NDArray[Any] | None,
        around: NDArray[Any] | None,
        *,
        core: Window,
        padded: Window,
    ) -> tuple[Array]:
        """Expected error (H, W) float32, in reflectance; NaN where nothing was replaced.

        Parameters
        ----------
        dn, opacity, provenance, mirrored : of the result, see `Witness.see`
        of_dates : (H, W) float32, of pixels that other dates fill, NaN elsewhere; None: no date does
        around : 0-d array that holds the scene's `GroundAround`, or None
        """
        if of_dates is None:
            error = np.full(provenance.shape, np.nan, np.float32)
        else:
            error = of_dates.copy()
        ground: GroundAround | None = None if around is None else around.item()
        where, seen = self.witness.see(dn, opacity, provenance, ground, core, mirrored)
        error[where] = self.table.at(seen)
        return (error,)


def see_mirrored(
    restorer: ChunkRestorer,
    arrays: Sequence[Indexed | None],
    result: da.Array,
    provenance: da.Array,
    chunks_yx: Any,
) -> da.Array:
    """What the network makes of the mirrored scene, lazily: DN like `result`, where that was replaced; elsewhere the scene.

    It is the path of every scene once more, over windows in which something was replaced.

    Parameters
    ----------
    restorer : of the scene, with a `NetworkPredictor`
    arrays : pixels, where there are data, clouds, what may change, and the ground around as the first pass sees it of the
        mirrored scene, as `restorer` takes them
    result, provenance : of the scene
    chunks_yx : see `map_chunks_with_halo`
    """
    predictor = replace(restorer.predictor, mirrored=True)  # type: ignore[type-var]
    other = replace(restorer, predictor=predictor, strict=False, check=False)
    replaced = (provenance == Provenance.RESTORED) | (provenance == Provenance.SYNTHESISED)
    inputs = [*arrays[:3], (replaced, "tyx"[-replaced.ndim :]), arrays[4]]
    channels = result.shape[-3]
    (seen,) = map_chunks_with_halo(
        other, inputs, other.halo_px, [(channels, result.dtype)], chunks_yx
    )
    return seen


def expect_errors(
    card: ModelCard,
    witness: Witness,
    results: Sequence[da.Array],
    mirrored: da.Array | None,
    around: Indexed | None,
) -> da.Array | None:
    """The expected error of all replaced pixels, lazily; None: neither card nor dates tell it.

    It is a task of its own for each chunk: nobody pays for it who does not ask for it.

    Parameters
    ----------
    card : of the network
    results : image, opacity and provenance ([date,] C, y, x) and ([date,] y, x); where other dates fill, also
        source dates, and errors that are NaN elsewhere
    mirrored : see `see_mirrored`; None: the table does not ask for it
    around : see `geodecloud.restore.first_pass.look_around`
    """
    image, opacity, provenance, *rest = results
    of_dates = rest[1] if rest else None
    if card.expected_error is None:
        return of_dates
    date = "t" if image.ndim == 4 else ""
    planes = [None if p is None else (p, f"{date}yx") for p in (opacity, provenance, of_dates)]
    chunk = ErrorOfChunk(card.expected_error, witness)
    other = None if mirrored is None else (mirrored, f"{date}cyx")
    arrays = [(image, f"{date}cyx"), *planes, other, around]
    (error,) = map_chunks_with_halo(chunk, arrays, 0, [(None, np.float32)])
    return error
