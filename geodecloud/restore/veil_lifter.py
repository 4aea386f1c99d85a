"""A veil over the whole of a picture: looked for once, by pixels from all over it, and lifted everywhere.

What lifts it stands in for the network.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from geodecloud.compute.chunks import Indexed
from geodecloud.compute.engine import engine
from geodecloud.errors import OptionError
from geodecloud.models.catalogue import find_weights
from geodecloud.models.tensors import read_tensors
from geodecloud.models.veil import SAMPLE_PX, Veil, find_veil
from geodecloud.options import Options
from geodecloud.restore.composite import Bool
from geodecloud.restore.decisions import Decisions
from geodecloud.restore.ground_around import GroundAround
from geodecloud.scene.reflectance import Tone
from geodecloud.windows.tiler import Window

log = logging.getLogger(__name__)

Array = NDArray[np.float32]


@dataclass(frozen=True)
class VeilLifter:
    """Lifts one veil; has the methods of `geodecloud.restore.network.NetworkPredictor`.

    Attributes
    ----------
    veil : its opacity and colour
    tone : the veil lies over the picture as it is seen, not over the light it stands for
    """

    veil: Veil
    tone: Tone

    @property
    def context_px(self) -> int:
        """Context the prediction of one pixel needs: none."""
        return 0

    @property
    def opaque_threshold(self) -> float:
        """The ground shows through everywhere."""
        return 1.0

    def restore(
        self,
        image: Array,
        usable: Bool,
        wanted: Bool,
        region: Window,
        padded: Window,
        around: GroundAround | None = None,
    ) -> tuple[Array, Array]:
        """Ground under the veil (C, H, W), and its opacity (H, W), over `region`."""
        seen = image[:, *region.relative_to(padded).slices_yx]
        lifted: Array = self.tone.light(self.veil.lift(self.tone.values(seen))).astype(np.float32)
        return lifted, np.full(region.shape_yx, self.veil.opacity, np.float32)

    def find_clouds(self, opacity: Array) -> Bool:
        """The veil is everywhere."""
        return np.ones(opacity.shape, bool)

    def find_hidden(self, opacity: Array) -> Bool:
        """The ground shows through it."""
        return np.zeros(opacity.shape, bool)


def look_for_veil(
    pixels: da.Array, valid: Indexed | None, decisions: Decisions, options: Options
) -> Veil | None:
    """The veil over a picture, by pixels from all over it; None: there is none.

    Parameters
    ----------
    pixels : ([date,] C, H, W) DN
    valid : where there is data, ([date,] H, W); None: everywhere

    Raises
    ------
    OptionError
        If there are several dates: each would have a veil of its own.
    """
    if pixels.ndim > 3 and len(pixels) > 1:
        raise OptionError(
            f"model {decisions.card.name} looks for a veil over one picture, and this is a stack of "
            f"{len(pixels)} dates; give them one by one, such as scene.isel(time=0)"
        )
    step = max(1, max(pixels.shape[-2:]) // SAMPLE_PX)
    thin = [pixels[..., ::step, ::step]]
    thin += [] if valid is None else [valid[0][..., ::step, ::step]]
    with engine(options.scheduler or "threads", options.workers) as computer:
        seen, *area = computer.compute(thin)
    dn = seen.reshape(seen.shape[-3:])[list(decisions.channels)]
    usable = np.ones(dn.shape[1:], bool)
    if area:
        usable = area[0].reshape(dn.shape[1:]).copy()
    if decisions.codec.nodata is not None:
        usable &= ~np.any(dn == decisions.codec.nodata, axis=0)
    values = decisions.codec.tone.values(decisions.codec.decode(dn))
    veil = find_veil(_tensors(decisions), values[:, usable].astype(np.float32))
    if veil is None:
        log.info("no veil lies over the whole picture")
    else:
        log.info("a veil of opacity %.2f lies over the whole picture, and is lifted", veil.opacity)
    return veil


def _tensors(decisions: Decisions) -> dict[str, np.ndarray]:
    model = decisions.model
    return read_tensors(find_weights(model))[1] if isinstance(model, str) else model.tensors()
