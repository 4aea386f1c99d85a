"""What known classifications say, against values as their makers publish them."""

from __future__ import annotations

import numpy as np
import pytest

from geodecloud.errors import OptionError
from geodecloud.masks.classes import CLOUD, HIDING, KINDS, Meaning, classify, clouds_of

G, C, O, S, W, N = Meaning  # noqa: E741  ground, cloud, opaque, shadow, snow, no data

#: USGS, Landsat 8-9 Collection 2 Level 2 Science Product Guide: "QA_PIXEL value interpretations",
#: and the same values of Landsat 4-7, which have no cirrus confidence.
QA_PIXEL = {
    1: N,  # fill
    21824: G,  # clear with lows set
    21826: C,  # dilated cloud over land
    21888: G,  # water with lows set
    21890: C,  # dilated cloud over water
    22080: G,  # mid confidence cloud
    22144: G,  # mid confidence cloud over water
    22280: O,  # high confidence cloud
    23888: S,  # high confidence cloud shadow
    23952: S,  # water with cloud shadow
    24088: O,  # mid confidence cloud with shadow: the cloud bit is set
    24216: O,  # mid confidence cloud with shadow over water
    24344: O,  # high confidence cloud with shadow
    24472: O,  # high confidence cloud with shadow over water
    30048: W,  # high confidence snow
    54596: C,  # high confidence cirrus
    54852: C,  # cirrus, mid cloud
    55052: O,  # cirrus, high cloud
    56856: O,
    5440: G,  # Landsat 7: clear
    5896: O,
    7440: S,
    13664: W,
}
HLS_FMASK = {
    0: G,
    64: G,  # low aerosol
    224: G,  # water, high aerosol
    66: O,  # cloud
    68: C,  # beside cloud
    72: S,  # shadow
    80: W,  # snow
    194: O,
    198: O,  # cloud, beside another
    200: S,
    255: N,
}
SCL = dict(enumerate([N, G, G, S, G, G, G, G, C, O, C, W]))


@pytest.mark.parametrize(
    ("kind", "table"),
    [
        ("qa_pixel", QA_PIXEL),
        ("hls_fmask", HLS_FMASK),
        ("scl", SCL),
        ("fmask", {0: G, 1: G, 2: S, 3: W, 4: O, 255: N}),
        ("qa60", {0: G, 1024: O, 2048: C}),
        ("thick_thin_shadow", {0: G, 1: O, 2: C, 3: S}),
        ("probability_1", {0: G, 0.49: G, 0.5: C, 1: C}),
        ("probability_100", {0: G, 49: G, 50: C, 100: C, 255: N}),
        ("probability_255", {0: G, 127: G, 128: C, 255: C}),
        ("clear_1", {1: G, 0: C}),
    ],
)
@pytest.mark.parametrize("dtype", [None, np.float64])
def test_values_mean_what_their_makers_say(kind: str, table: dict, dtype: type | None) -> None:
    values = np.array([*table]).astype(dtype or np.array([*table]).dtype)
    found = classify(values.reshape(1, -1), kind)
    assert found.dtype == np.uint8
    wrong = {v: Meaning(f).name for v, f in zip(table, found[0], strict=True) if f != table[v]}
    assert wrong == {}


def test_nothing_measured_is_no_data() -> None:
    values = np.array([9.0, np.nan, 9.0])
    assert classify(values, "scl").tolist() == [O, N, O]
    masked = np.ma.MaskedArray([9, 9, 4], [False, True, False])
    assert classify(masked, "scl").tolist() == [O, N, G]


def test_bands_of_planet() -> None:
    order = KINDS["udm2"].bands
    pixels = [("clear",), ("cloud",), ("shadow",), ("light_haze",), ("heavy_haze",), ("snow",), ()]
    values = np.array([[name in pixel for pixel in pixels] for name in order], np.uint8)
    assert classify(values, "udm2").tolist() == [G, O, S, C, C, W, N]
    with pytest.raises(OptionError, match="read from 6 bands"):
        classify(values[:2], "udm2")


def test_what_a_mask_takes_for_cloud() -> None:
    meanings = np.array([G, C, O, S, W, N], np.uint8)
    assert clouds_of(meanings).tolist() == [0, CLOUD, HIDING, CLOUD, 0, 0]
    with pytest.raises(OptionError, match="known: scl, qa_pixel"):
        classify(meanings, "landsat")
