"""What values of reflectance can be: texts, floats that were scaled already, DN taken for reflectance. Numbers are by hand."""

from __future__ import annotations

import numpy as np
import pytest

from geodecloud.errors import SceneError
from geodecloud.scene.encoding import Encoding
from geodecloud.scene.reflectance import (
    PLAIN,
    Codec,
    Formula,
    Tone,
    check_values,
    decide_codec,
    is_scaled_already,
    is_too_bright,
)

#: Reflectance of ground, 0.02 to 0.30, in two bands of 1 000 pixels.
GROUND = np.stack([np.linspace(0.02, 0.2, 1000), np.linspace(0.3, 0.1, 1000)]).reshape(2, 20, 50)


def codec(dtype: str, nodata: float | None = None, encodings: tuple = ()) -> Codec:
    return Codec((1.0,), (0.0,), dtype, nodata, "as asked", encodings=encodings)


@pytest.mark.parametrize(
    ("scales", "offsets", "text"),
    [
        ((1e-4,), (0.0,), "DN / 10000"),
        ((1e-4,), (-0.1,), "DN / 10000 - 0.1"),
        ((0.5,), (0.25,), "DN / 2 + 0.25"),
        ((2.75e-5,), (-0.2,), "DN * 2.75e-05 - 0.2"),
        ((1.0,), (0.0,), "DN * 1"),
        ((2 / 3,), (0.0,), "DN * 0.666667"),
        ((0.0,), (0.0,), "DN * 0"),
        ((1e-4, 1e-4), (0.0, 0.0), "DN / 10000"),
        ((1e-4, 2e-4), (0.0, 0.0), "DN / 10000 in the first band"),
        ((1e-4, 1e-4), (0.0, 0.5), "DN / 10000 in the first band"),
    ],
)
def test_a_formula_in_words(scales: tuple, offsets: tuple, text: str) -> None:
    assert str(Formula(scales, offsets)) == f"reflectance = {text}"


@pytest.mark.parametrize(
    ("scale", "asked", "reason"),
    [
        (2e-4, {}, "reflectance = DN / 5000 - 0.1, the document of the product"),
        (1.0, {}, "offset as the scene declares, scale as for Sentinel-2 bands"),
        (2e-4, {"offset": 0.0}, "offset as asked, scale the document of the product"),
        (2e-4, {"scale": 1e-3, "offset": 0.0}, "reflectance = DN / 1000, as asked"),
    ],
)
def test_a_document_is_named_where_it_says_the_scale(
    scale: float, asked: dict[str, float], reason: str
) -> None:
    made = decide_codec(
        np.dtype("uint16"),
        ["B02"],
        [scale],
        [-0.1],
        0,
        declared_by="the document of the product",
        **asked,
    )
    assert reason in made.reason
    assert "None" not in made.reason


def test_an_offset_beside_an_asked_scale_is_that_of_the_scene() -> None:
    made = decide_codec(np.dtype("uint16"), ["B02", "B03"], [1.0, 1.0], [0.0, 0.3], 0, scale=0.5)
    assert (made.scales, made.offsets) == ((0.5, 0.5), (0.0, 0.3))
    assert made.reason == "reflectance = DN / 2 in the first band, as asked"


@pytest.mark.parametrize(("dtype", "low", "bits"), [("int64", -(2**63), 63), ("uint64", 0, 64)])
def test_64_bit_integers_do_not_wrap(dtype: str, low: int, bits: int) -> None:
    least, most, some = codec(dtype).encode(np.array([[[-1e30, 1e30, 5.0]]])).ravel().tolist()
    assert (least, some) == (low, 5)
    assert 2**bits - 2**12 <= most < 2**bits


def test_32_bit_integers_are_clipped_at_their_very_ends() -> None:
    out = codec("int32").encode(np.array([[[-1e30, 1e30]]]))
    assert out.ravel().tolist() == [-(2**31), 2**31 - 1]


@pytest.mark.parametrize("nodata", [100.0, -100.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_float_near_nodata_goes_towards_zero_and_no_other_moves(
    dtype: str, nodata: float
) -> None:
    near = nodata * (1 + 1e-7)
    asked = np.array([[[nodata, near, nodata * 0.9999, nodata * 1.0001, 0.0, -nodata]]])
    out = codec(dtype, nodata).encode(asked)[0, 0].astype(float)
    assert (np.abs(out[:2]) < abs(nodata)).all()
    np.testing.assert_allclose(out[:2], nodata, rtol=1e-6)
    # GDAL takes floats within one part in ten million for the same
    assert not np.isclose(out[:2], nodata, rtol=1e-7, atol=0).any()
    np.testing.assert_array_equal(out[2:], asked[0, 0, 2:].astype(dtype).astype(float))


def test_zero_as_nodata_of_floats_costs_next_to_nothing() -> None:
    out = codec("float32", 0.0).encode(np.array([[[0.0, 1e-30, -1e-30]]]))[0, 0]
    assert 0 < out[0] < 1e-37
    np.testing.assert_array_equal(out[1:], np.array([1e-30, -1e-30], np.float32))


def test_a_fractional_nodata_of_integers_is_no_dn() -> None:
    out = codec("uint8", 7.5).encode(np.array([[[7.0, 8.0]]]))
    assert out.ravel().tolist() == [7, 8]


def test_each_band_is_kept_within_what_it_will_be_packed_into() -> None:
    values = np.array([[[-5.0, 300.0, 7.0]]] * 3)
    there = Codec(
        (1.0,) * 3, (0.0,) * 3, "float64", None, "", encodings=(None, Encoding("uint8", fill=0))
    )
    kept = there.encode(values)
    np.testing.assert_array_equal(kept[0], values[0])
    np.testing.assert_array_equal(kept[1], [[1.0, 255.0, 7.0]])
    np.testing.assert_array_equal(kept[2], values[2])


def test_tone_is_applied_after_the_scale_and_taken_off_before_it() -> None:
    there = Codec((0.01,), (0.1,), "float64", None, "", Tone(2.0, 0.5))
    dn = np.array([[[0.0, 40.0, 90.0, -60.0]]])
    light = 0.5 * np.array([[[0.1, 0.5, 1.0, -0.5]]]) ** 2 * np.array([1, 1, 1, -1])
    np.testing.assert_allclose(there.decode(dn), light, atol=1e-12)
    np.testing.assert_allclose(there.encode(light), dn, atol=1e-9)
    assert PLAIN.light(dn) is dn
    assert PLAIN.values(dn) is dn


@pytest.mark.parametrize(("dtype", "most"), [("uint16", 10.0), ("float32", 5.0)])
def test_integers_may_be_saturated(dtype: str, most: float) -> None:
    assert codec(dtype).most == most


def with_share(values: np.ndarray, share: float, value: float) -> np.ndarray:
    """The same, with a value in both bands at the first pixels."""
    flat = values.reshape(2, -1).copy()
    flat[:, : round(share * flat.shape[1])] = value
    return flat.reshape(values.shape)


ONE, SMALL = (1.0, 1.0), (1e-4, 1e-4)
NOTHING, OFF = (0.0, 0.0), (-0.1, -0.1)
BRIGHTER = GROUND + 0.07  # all of it above 0.08, so with an offset of -0.1 above -0.03
#: pixels, scales, offsets, nodata, whether they are reflectance already
FLOATS = {
    "reflectance": (GROUND, SMALL, NOTHING, None, True),
    "reflectance with one scale of 1": (GROUND, (1.0, 1e-4), NOTHING, None, False),
    "nothing declared": (GROUND, ONE, NOTHING, None, False),
    "DN": (GROUND * 1e4, SMALL, NOTHING, None, False),
    "integers": (np.rint(GROUND * 10).astype(int), SMALL, NOTHING, None, False),
    "percent": (GROUND * 100, (0.01, 0.01), NOTHING, None, False),
    "dark percent": (GROUND * 6, (0.01, 0.01), NOTHING, None, False),
    "reflectance with the scale of percent": (GROUND, (0.01, 0.01), NOTHING, None, True),
    "all without data": (GROUND * np.nan, SMALL, NOTHING, None, False),
    "NaN in one band": (np.where([[[1]], [[0]]], np.nan, GROUND), SMALL, NOTHING, None, False),
    "some NaN": (with_share(GROUND, 0.4, np.nan), SMALL, NOTHING, None, True),
    "some infinite": (with_share(GROUND, 0.4, np.inf), SMALL, NOTHING, None, True),
    "nodata of 7": (with_share(GROUND, 0.4, 7.0), SMALL, NOTHING, 7.0, True),
    "7 of 40 %": (with_share(GROUND, 0.4, 7.0), SMALL, NOTHING, None, False),
    "a few glints": (with_share(GROUND, 0.005, 40.0), SMALL, NOTHING, None, True),
    "black": (GROUND / 100, SMALL, NOTHING, None, False),
    "nearly black": (GROUND / 20, SMALL, NOTHING, None, True),
    "clouds": (GROUND * 10, SMALL, NOTHING, None, True),
    "an offset alone, dark ground": (GROUND, ONE, OFF, None, True),
    "an offset alone, bright ground": (BRIGHTER, ONE, OFF, None, False),
    "an offset alone, bright beside no data": (
        with_share(BRIGHTER, 0.4, 0.0), ONE, OFF, None, False,
    ),
    "an offset alone, below 0": (with_share(GROUND, 0.05, -0.5), ONE, OFF, None, False),
    "an offset alone, hardly below 0": (with_share(GROUND, 0.005, -0.5), ONE, OFF, None, True),
    "an offset alone, beside far below 0": (with_share(GROUND, 0.05, -1.5), ONE, OFF, None, True),
    "an offset alone, few dark": (with_share(BRIGHTER, 0.005, 0.01), ONE, OFF, None, False),
    "an offset alone, dark in one band": (
        np.stack([BRIGHTER[0], with_share(BRIGHTER, 0.05, 0.01)[1]]), ONE, OFF, None, True,
    ),
    "one offset alone": (GROUND, ONE, (-0.1, 0.0), None, True),
    "one offset alone, over the bright band": (GROUND, ONE, (0.0, -0.1), None, False),
}  # fmt: skip


@pytest.mark.parametrize("kind", FLOATS)
def test_floats_that_are_reflectance_already_are_known_by_their_values(kind: str) -> None:
    pixels, scales, offsets, nodata, expected = FLOATS[kind]
    assert is_scaled_already(pixels, scales, offsets, nodata) is expected


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([0.2] * 88 + [6.0] * 12, "float32", True),
        ([0.2] * 92 + [6.0] * 8, "float32", False),
        ([0.2] * 90 + [6.0] * 10, "float32", False),
        ([6.0] * 100, "uint16", False),
        ([11.0] * 100, "uint16", True),
        ([0.2] * 10 + [np.nan] * 90, "float32", False),
        ([6.0] * 10 + [np.nan] * 90, "float32", True),
        ([np.nan] * 9, "float32", False),
        ([6.0], "float32", True),
        ([5.0] * 9, "float32", False),
    ],
)
def test_a_tenth_beyond_what_the_sun_can_light(
    values: list[float], dtype: str, expected: bool
) -> None:
    assert is_too_bright(np.array(values), codec(dtype)) is expected


def said(dn: np.ndarray, there: Codec) -> str:
    """What is said of the pixels; empty: nothing."""
    try:
        check_values(dn, there, "the clouds")
    except SceneError as error:
        return str(error)
    return ""


def test_dn_that_were_taken_for_reflectance_are_refused() -> None:
    text = said(GROUND * 1e4, codec("float32"))
    top = np.percentile(GROUND * 1e4, 90)
    assert text == (
        f"a tenth of the reflectance of the clouds is above {top:.4g}, and clouds reach about 1.2: "
        "these look like DN (as asked). Give their scale, such as scale=0.0001, offset=0; if they "
        "stand for no data, say so, such as nodata=-9999"
    )
    assert said(GROUND, codec("float32")) == ""


def test_reflectance_that_was_scaled_twice_is_refused() -> None:
    text = said(GROUND * 1e-4, codec("float32"))
    assert text == (
        "99 % of the reflectance of the clouds is below 3e-05, and no ground is as dark: these look as if "
        "they had been scaled already (as asked). If the values are reflectance, say so: "
        'radiometry="reflectance"'
    )
    few = np.full((1, 9, 11), 1e-5)
    assert said(few, codec("float32")) == ""
    assert "no ground is as dark" in said(np.full((1, 10, 10), 1e-5), codec("float32"))
    # one bright pixel in a hundred is not the ground
    lit = np.full((1, 20, 20), 1e-5)
    lit[0, 0, :2] = 0.5
    assert "no ground is as dark" in said(lit, codec("float32"))
    lit[0, 0, :6] = 0.5
    assert said(lit, codec("float32")) == ""


def test_values_that_stand_for_no_data_are_not_held_against_it() -> None:
    there = codec("float32", nodata=9e3)
    assert said(with_share(GROUND, 0.4, 9e3), there) == ""
    assert "look like DN" in said(with_share(GROUND, 0.4, 8e3), there)
    assert said(with_share(GROUND, 0.4, np.nan), there) == ""
    assert "look like DN" in said(with_share(GROUND * 1e4, 0.4, np.nan), there)
    assert said(GROUND * 0, there) == ""
    # a pixel of which one band is no data is none
    part = GROUND * 1e4
    part[0] = 9e3
    assert said(part, there) == ""
    # a pixel that is 0 in one band is one
    part = GROUND * 1e4
    part[0] = 0
    assert "look like DN" in said(part, there)


def test_an_offset_that_makes_all_negative_is_seen_of_floats() -> None:
    dark = Codec((1e-4,), (-0.1,), "uint16", 0, "as asked")
    dn = np.full((1, 20, 20), 200, np.uint16)
    assert said(dn, dark) == ""
    floats = Codec((1.0,), (-0.3,), "float32", None, "as asked")
    assert "below -0.022, and no ground" in (said(GROUND[:1] + 0.08, floats))


def test_what_is_said_of_a_scale_that_nobody_declares() -> None:
    made = decide_codec(np.dtype("int16"), ["B02", "B03"], [1.0] * 2, [0.0] * 2, None)
    assert made.reason == (
        "reflectance = DN / 10000, as for Sentinel-2 bands; products of baseline 04.00 and later have an "
        "offset, give offset=-0.1 unless your provider removed it"
    )
    with pytest.raises(SceneError) as caught:
        decide_codec(np.dtype("int16"), ["a", "b"], [1.0] * 2, [0.0] * 2, None)
    assert str(caught.value) == (
        "nothing says what a int16 DN means in reflectance: the scene declares no scale and its bands are not "
        "named as Sentinel-2's. Give them, such as scale=0.0001, offset=0, or the name of a known way, such as "
        'radiometry="landsat-c2-l2" (known: s2-l2a, s2-l2a-0400, landsat-c2-l2, hls, reflectance, percent)'
    )
    with pytest.raises(SceneError) as caught:
        decide_codec(np.dtype("uint16"), ["B02"], [1.0], [-1000.0], None)
    assert str(caught.value) == (
        "the scene declares an offset of -1000 and no scale, and no reflectance is off by more than 1: it may be "
        "in DN. Give both, such as scale=0.0001, offset=-0.1"
    )
    with pytest.raises(SceneError) as caught:
        decide_codec(np.dtype("uint16"), ["B02"], [1.0], [0.0], None, scale=0.0)
    assert str(caught.value) == (
        "reflectance = DN * 0 has no inverse; give finite numbers and a scale other than 0, such as "
        "scale=0.0001, offset=0"
    )


@pytest.mark.parametrize("offset", [1.0, -1.0])
def test_an_offset_of_one_may_be_reflectance(offset: float) -> None:
    made = decide_codec(np.dtype("uint16"), ["B02"], [1.0], [offset], None)
    assert made.offsets == (offset,)
    floats = decide_codec(np.dtype("float32"), ["B02"], [1.0], [3 * offset], None)
    assert floats.offsets == (3 * offset,)
    with pytest.raises(SceneError, match=r"an offset of 1\.5 and no scale"):
        decide_codec(np.dtype("uint16"), ["B02", "B03"], [1.0] * 2, [offset, 1.5], None)
