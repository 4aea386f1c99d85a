from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodecloud.errors import SceneError
from geodecloud.scene.reflectance import KNOWN, Codec, decide_codec

INTEGERS = ["uint8", "uint16", "int16"]
#: reflectance of DN 0 per DN; the third is Landsat Collection 2
CONVENTIONS = [(1e-4, 0.0), (1e-4, -0.1), (2.75e-5, -0.2), (1 / 255, 0.0), (-0.5, 3.0)]
FLOAT_NODATA = [0, -9999, 0.1, -3.4028234663852886e38, 3.4028234663852886e38]


def codec(dtype, scale=1.0, offset=0.0, nodata=None):
    return Codec((scale,), (offset,), dtype, nodata, "")


def every_dn(dtype):
    limits = np.iinfo(dtype)
    return np.arange(limits.min, limits.max + 1).astype(dtype)[None, None]


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize(("scale", "offset"), CONVENTIONS)
def test_every_integer_comes_back_unchanged(dtype, scale, offset):
    dn = every_dn(dtype)
    there = codec(dtype, scale, offset)
    back = there.encode(there.decode(dn))
    assert back.dtype == dn.dtype
    np.testing.assert_array_equal(back, dn)


scales = st.floats(1e-6, 1e3) | st.floats(-1e3, -1e-6)


@given(st.sampled_from(INTEGERS), scales, st.floats(-100, 100))
def test_every_integer_comes_back_whatever_the_scale(dtype, scale, offset):
    dn = every_dn(dtype)[..., ::7]
    there = codec(dtype, scale, offset)
    np.testing.assert_array_equal(there.encode(there.decode(dn)), dn)


@given(
    st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1),
    st.sampled_from(CONVENTIONS),
)
def test_32_bit_integers_come_back(values, convention):
    dn = np.array(values, np.int32)[None, None]
    there = codec("int32", *convention)
    np.testing.assert_array_equal(there.encode(there.decode(dn)), dn)


def test_reflectance_is_dn_times_scale_plus_offset_for_each_band():
    dn = np.array([[[0, 1000, 65535]], [[0, 1000, 65535]]], np.uint16)
    there = Codec((1e-4, 2e-4), (-0.1, 0.5), "uint16", 0, "")
    expected = [[[-0.1, 0.0, 6.4535]], [[0.5, 0.7, 13.607]]]
    np.testing.assert_allclose(there.decode(dn), expected, atol=1e-15)
    assert there.decode(dn).dtype == np.float64
    np.testing.assert_array_equal(there.encode(np.array(expected))[:, 0, 1:], dn[:, 0, 1:])


@pytest.mark.parametrize(
    ("dtype", "nodata"),
    [
        ("uint8", 0),
        ("uint8", 255),
        ("uint8", 128),
        ("uint16", 0),
        ("uint16", 65535),
        ("int16", -32768),
        ("int16", -9999),
        ("int16", 32767),
        ("uint16", 0.0),  # rasterio's nodata is a float
    ],
)
@pytest.mark.parametrize(("scale", "offset"), CONVENTIONS)
def test_no_integer_becomes_nodata(dtype, nodata, scale, offset):
    there = codec(dtype, scale, offset, nodata)
    dn = every_dn(dtype)
    out = there.encode(there.decode(dn))
    was_nodata = dn == nodata
    assert not (out == nodata).any()
    np.testing.assert_array_equal(out[~was_nodata], dn[~was_nodata])
    assert np.abs(out[was_nodata].astype(int) - int(nodata)).tolist() == [1]
    far = there.encode(np.array([[[-1e9, 1e9]]]))
    assert not (far == nodata).any()


@given(
    st.sampled_from(["float32", "float64"]),
    st.sampled_from(FLOAT_NODATA),
    st.lists(st.floats(-2, 2), max_size=20),
)
def test_no_float_becomes_nodata(dtype, nodata, values):
    there = codec(dtype, nodata=nodata)
    out = there.encode(np.array([[[*values, nodata, np.dtype(dtype).type(nodata)]]]))
    assert out.dtype == dtype
    assert not (out == np.dtype(dtype).type(nodata)).any()
    assert np.isfinite(out).all()
    np.testing.assert_allclose(out[0, 0, -1], nodata, rtol=1e-6, atol=1e-6)


def test_nan_as_nodata_leaves_numbers_alone():
    values = np.array([[[0.0, -0.1, 1.6, 0.25]]])
    np.testing.assert_array_equal(codec("float64", nodata=float("nan")).encode(values), values)


@pytest.mark.parametrize("nodata", [-9999, 256, float("nan"), None])
def test_nodata_the_dtype_cannot_hold_costs_no_value(nodata):
    dn = every_dn("uint8")
    there = codec("uint8", 1 / 255, nodata=nodata)
    np.testing.assert_array_equal(there.encode(there.decode(dn)), dn)


@pytest.mark.parametrize(
    ("dtype", "lowest", "highest"),
    [("uint8", 0, 255), ("uint16", 0, 65535), ("int16", -32768, 32767)],
)
def test_what_does_not_fit_is_clipped_and_never_wraps(dtype, lowest, highest):
    out = codec(dtype, 1e-4, -0.1).encode(np.array([[[-1e6, 1e6, -np.inf, np.inf]]]))
    assert out.tolist() == [[[lowest, highest, lowest, highest]]]


def test_halves_are_rounded_to_even():
    values = np.array([[[0.5, 1.5, 2.5, 3.5, -0.5, -1.5, -2.5, 7.49, 7.51]]])
    assert codec("int16").encode(values).tolist() == [[[0, 2, 2, 4, 0, -2, -2, 7, 8]]]


S2 = ["B02", "B03", "B04", "B08"]
NAMELESS = [None, "", "foo", "bar"]


def decide(dtype, names, scales=None, offsets=None, nodata=0, **asked):
    count = len(names)
    return decide_codec(
        np.dtype(dtype),
        names,
        [1.0] * count if scales is None else scales,
        [0.0] * count if offsets is None else offsets,
        nodata,
        **asked,
    )


ASKED = {"scale": 2e-4, "offset": -0.2}
DECISIONS = {
    "asked": (("uint16", S2), ASKED, (2e-4, -0.2), "as asked"),
    "asked wins over the file": (
        ("uint16", S2),
        {"scales": [5.0] * 4, "offsets": [1.0] * 4, **ASKED},
        (2e-4, -0.2),
        "DN / 5000 - 0.2, as asked",
    ),
    "asked wins over 8 bits": (("uint8", S2), ASKED, (2e-4, -0.2), "as asked"),
    "asked of int32": (("int32", NAMELESS), {"scale": 1e-6}, (1e-6, 0.0), "as asked"),
    "file wins over names": (
        ("uint16", S2),
        {"scales": [1e-4] * 4, "offsets": [-0.1] * 4},
        (1e-4, -0.1),
        "DN / 10000 - 0.1, as the scene declares",
    ),
    "file declares an offset alone": (
        ("uint16", S2),
        {"offsets": [-0.1] * 4},
        (1e-4, -0.1),
        "DN / 10000 - 0.1, offset as the scene declares, scale as for Sentinel-2 bands",
    ),
    "8 bits with an offset": (
        ("uint8", NAMELESS),
        {"offsets": [0.5] * 4},
        (1 / 255, 0.5),
        "offset as the scene declares, scale as for any 8-bit image",
    ),
    "floats with an offset": (
        ("float32", NAMELESS),
        {"offsets": [2.0] * 4},
        (1.0, 2.0),
        "offset as the scene declares, scale float32 values",
    ),
    "asked offset wins over the file's alone": (
        ("uint16", S2),
        {"offsets": [-1000.0] * 4, "offset": -0.1},
        (1e-4, -0.1),
        "offset as asked, scale as for Sentinel-2 bands",
    ),
    "file wins over 8 bits": (("uint8", S2), {"scales": [0.5] * 4}, (0.5, 0.0), "scene declares"),
    "file wins over floats": (("float32", S2), {"scales": [2.0] * 4}, (2.0, 0.0), "scene declares"),
    "8 bits": (("uint8", NAMELESS), {}, (1 / 255, 0.0), "DN / 255"),
    "8 bits win over names": (("uint8", S2), {}, (1 / 255, 0.0), "DN / 255"),
    "Sentinel-2 uint16": (("uint16", S2), {}, (1e-4, 0.0), "offset=-0.1"),
    "Sentinel-2 int16": (("int16", ["b2", "S2A_B04"]), {}, (1e-4, 0.0), "Sentinel-2"),
    "floats": (("float32", S2), {}, (1.0, 0.0), "float32 values are taken as reflectance"),
    "nameless floats": (("float64", NAMELESS), {}, (1.0, 0.0), "float64 values"),
}


@pytest.mark.parametrize(("scene", "said", "numbers", "reason"), DECISIONS.values(), ids=DECISIONS)
def test_the_convention_is_decided_in_order_and_explained(scene, said, numbers, reason):
    made = decide(*scene, **said)
    count = len(scene[1])
    assert made.scales == (numbers[0],) * count
    assert made.offsets == (numbers[1],) * count
    assert reason in made.reason


def test_each_band_keeps_the_scale_the_file_declares_for_it():
    made = decide("uint16", S2, scales=[1e-4, 2e-4, 3e-4, 4e-4], offsets=[0.0, 0.0, -0.1, 0.0])
    assert made.scales == (1e-4, 2e-4, 3e-4, 4e-4)
    assert made.offsets == (0.0, 0.0, -0.1, 0.0)
    assert "in the first band" in made.reason


def test_the_codec_knows_dtype_and_nodata_of_the_scene():
    made = decide("int16", S2, nodata=-9999)
    assert (made.dtype, made.nodata) == ("int16", -9999)


@pytest.mark.parametrize(
    ("dtype", "names"),
    [
        ("int32", S2),
        ("uint32", S2),
        ("uint16", NAMELESS),
        ("int16", ["B02", "B03", "B04", None]),
        ("uint16", ["B02", "elevation"]),
        ("uint16", ["blue", "green", "red", "nir"]),  # bands of any sensor
        ("int16", ["coastal", "blue", "green", "red", "nir08", "swir16", "swir22"]),
        ("uint16", []),
    ],
)
def test_asks_when_nothing_says_what_a_dn_means(dtype, names):
    with pytest.raises(SceneError, match=f"what a {dtype} DN means.*scale=0.0001"):
        decide(dtype, names)


def test_an_offset_alone_says_nothing_about_a_dn():
    with pytest.raises(SceneError, match=r"what a int16 DN means.*scale=0.0001"):
        decide("int16", NAMELESS, offsets=[2.0] * 4)
    with pytest.raises(SceneError, match=r"offset of -1000 and no scale.*offset=-0.1"):
        decide("uint16", S2, offsets=[-1000.0] * 4)


@pytest.mark.parametrize(
    "numbers",
    [
        {"scale": 0.0},
        {"scale": float("nan")},
        {"scale": float("inf")},
        {"scale": 1e-4, "offset": float("nan")},
        {"scales": [1e-4, 0.0, 1e-4, 1e-4]},
        {"scales": [1e-4, float("nan"), 1e-4, 1e-4]},
        {"offsets": [0.0, 0.0, 0.0, float("inf")]},
    ],
)
def test_refuses_numbers_that_have_no_inverse(numbers):
    with pytest.raises(SceneError, match="no inverse"):
        decide("uint16", S2, **numbers)


@pytest.mark.parametrize(
    ("file_says", "asked", "scale", "offset"),
    [
        (([1.0], [0.0]), {"offset": -0.1}, 1e-4, -0.1),  # scale from the Sentinel-2 name
        (([2e-5], [-0.2]), {"offset": -0.1}, 2e-5, -0.1),  # scale from the file
        (([2e-5], [-0.2]), {"scale": 1e-4}, 1e-4, -0.2),  # offset from the file
        (([1.0], [0.0]), {"scale": 1e-3}, 1e-3, 0.0),
        (([0.0], [0.0]), {"scale": 1e-4, "offset": 0.0}, 1e-4, 0.0),  # a broken file is rescued
    ],
)
def test_half_a_formula_is_completed(file_says, asked, scale, offset):
    made = decide_codec(np.dtype("uint16"), ["B02"], *file_says, 0, **asked)
    assert (made.scales, made.offsets) == ((scale,), (offset,))


#: What the makers say reflects all light, and none: Landsat Collection 2 by the valid range of the USGS's guide.
MAKERS = {
    "s2-l2a": (10000, 0),
    "s2-l2a-0400": (11000, 1000),
    "landsat-c2-l2": (43636, 7273),
    "hls": (10000, 0),
    "reflectance": (1, 0),
    "percent": (100, 0),
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_radiometries_are_those_of_their_makers(name):
    scale, offset = KNOWN[name]
    made = decide("float32" if scale == 1 else "uint16", NAMELESS, scale=scale, offset=offset)
    white, black = made.decode(np.array(MAKERS[name], np.float64)[None, None])[0, 0]
    assert (white, black) == pytest.approx((1, 0), abs=3e-5)
    assert set(KNOWN) == set(MAKERS)
