"""Half precision has few large numbers: what the shipped networks make of scenes at the ends of their range.

The oracle is single precision. On processors half precision is slow and rounds as it does on GPUs.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import xarray as xr

import geodecloud  # noqa: F401
from geodecloud.errors import GeodecloudWarning
from geodecloud.models.catalogue import get_card
from geodecloud.restore.composite import Provenance

SIDE = 72
SCALE, OFFSET = 1e-4, -0.1
#: Reflectance of ground and of a cloud: the brightest that sensors send, what is darker than black, and none at all.
SKIES: dict[str, tuple[float, float]] = {
    "saturated": (0.2, 7.0),
    "bright": (1.2, 1.4),
    "below nothing": (-0.05, 0.6),
    "dark": (0.0005, 0.3),
}


def scene(sky: str, bands: tuple[str, ...]) -> xr.DataArray:
    rng = np.random.default_rng(5)
    ground, cloud = SKIES[sky]
    pixels = ground * rng.uniform(0.6, 1.4, (len(bands), SIDE, SIDE))
    pixels[:, 20:50, 16:60] = cloud
    dn = np.rint((pixels - OFFSET) / SCALE).clip(1, 65535).astype(np.uint16)
    return xr.DataArray(dn, dims=("band", "y", "x"), attrs={"long_name": bands})


def cleared(image: xr.DataArray, model: str, **how: Any) -> tuple[np.ndarray, np.ndarray]:
    result = image.geodecloud.decloud(
        model=model, backend="torch", scale=SCALE, offset=OFFSET, nodata="none", mask="none", **how
    )
    return result.image.values, result.provenance.values


@pytest.mark.parametrize("sky", SKIES)
@pytest.mark.parametrize("model", ["s2-10m", "s2-all"])
def test_half_precision_stays_close(model: str, sky: str) -> None:
    image = scene(sky, get_card(model).channel_names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GeodecloudWarning)
        single, codes = cleared(image, model, precision="fp32")
        half, half_codes = cleared(image, model, precision="fp16")
    assert Provenance.LEFT not in half_codes  # nothing overflowed
    assert (codes == half_codes).mean() > 0.99
    difference = np.abs(half.astype(float) - single)[:, codes == half_codes]
    assert difference.max() * SCALE < 0.02 * max(1.0, single.max() * SCALE)
