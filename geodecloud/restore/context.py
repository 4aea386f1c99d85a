"""What no window can see: computed once for the whole scene, before its chunks.

Today that is the veil over a picture. It is told from pixels of all of the scene, on its pixel grid, so
it is the same for every chunk however the scene is cut.
"""

from __future__ import annotations

import logging

import dask.array as da
import numpy as np

from geodecloud.compute.chunks import Indexed
from geodecloud.compute.engine import engine
from geodecloud.errors import OptionError
from geodecloud.models.catalogue import find_weights
from geodecloud.models.tensors import read_tensors
from geodecloud.models.veil import SAMPLE_PX, Veil, find_veil
from geodecloud.options import Options
from geodecloud.restore.decisions import Decisions

log = logging.getLogger(__name__)


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
