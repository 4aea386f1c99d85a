from __future__ import annotations

import pytest

from geodecloud.errors import BandError, SceneError
from geodecloud.scene.bands import (
    SENTINEL2_NM,
    canonical_name,
    describe,
    match_bands,
    parse_band_list,
    wavelength_nm,
)

DESCRIPTIONS = ["B2, central wavelength 490 nm", "green", None, "b8a", "B04", "scene class"]


@pytest.mark.parametrize(
    ("description", "name"),
    [
        ("b2", "B02"),
        ("B02", "B02"),
        ("  B02 ", "B02"),
        ("B2, central wavelength 490 nm", "B02"),
        ("B1, central wavelength 443 nm", "B01"),
        ("blue", "B02"),
        ("Blue", "B02"),
        ("Red", "B04"),
        ("NIR", "B08"),
        ("nir08", "B8A"),
        ("red edge 1", "B05"),
        ("rededge_3", "B07"),
        ("swir16", "B11"),
        ("T32TMT_20200101_B02_10m", "B02"),
        ("T32TMT_20200101T101319_B8A_20m", "B8A"),
        ("B8", "B08"),
        ("B8A", "B8A"),
        ("b8a", "B8A"),
        ("B1", "B01"),
        ("B10", "B10"),
        ("B11", "B11"),
        ("B12", "B12"),
        ("S2_B09", "B09"),
        ("S2C_B02", "B02"),
        ("S2D_B8A", "B8A"),
        ("SENTINEL-2C_B04", "B04"),
        ("Sentinel-2D B03", "B03"),
        ("S2C_B11_20m", "B11"),
        ("B02_10m", "B02"),
        ("b8a_20m", "B8A"),
        ("B01_60m", "B01"),
        ("S2C_MSIL2A_20250601T101041_N0511_R022_T33UXQ_20250601T153000_B03_10m", "B03"),
        ("S2B_32TQM_20200101_0_L2A_B02", "B02"),
        ("S2A_T32TQM_20200101T101010_B8A", "B8A"),
        ("B02.tif", "B02"),
        ("T33UXQ_20230625T104621_B03_10m.jp2", "B03"),
        ("B08 (842 nm)", "B08"),
        ("B02 - Blue", "B02"),
        ("Coastal aerosol", "B01"),
        ("nir_narrow", "B8A"),
        ("SWIR 1", "B11"),
        ("swir2", "B12"),
        ("S2A_OPER_MSI_L1C_TL_MTI__20160101T000000_A000001_T32TQM_B02", "B02"),
    ],
)
def test_one_spelling_for_each_sentinel2_band(description, name):
    assert canonical_name(description) == name
    assert wavelength_nm(description) == SENTINEL2_NM[name]


@pytest.mark.parametrize(
    ("description", "name"),
    [
        ("B13", "B13"),
        ("B0", "B0"),
        ("B2A", "B2A"),
        ("B022", "B022"),
        ("RGB2", "RGB2"),
        ("sub2", "SUB2"),
        ("QA60", "QA60"),
        ("SCL", "SCL"),
        ("reddish", "REDDISH"),
        ("T31UB2", "T31UB2"),  # the end of a tile's name is no band
        ("probability", "PROBABILITY"),
        ("Band 2", "BAND 2"),  # of which sensor?
        ("SR_B4", "SR_B4"),  # Landsat: red or near infrared
        ("LC08_L2SP_001062_02_T2_SR_B5", "LC08_L2SP_001062_02_T2_SR_B5"),
        ("LE07_B4", "LE07_B4"),
        ("B02_30m", "B02_30M"),  # no pixel size of Sentinel-2: somebody else's band 2
        ("B02_10m_uncertainty", "B02_10M_UNCERTAINTY"),
        ("T32TMT_MSK_DETFOO_B02", "T32TMT_MSK_DETFOO_B02"),
        ("SCL_20m", "SCL"),
        ("scl", "SCL"),
        ("T33UXQ_20230625T104621_SCL_20m", "SCL"),
        ("SCL_mask", "SCL_MASK"),
        ("B5 - NIR", "B5 - NIR"),  # Landsat 8's
        ("B4 (near infrared)", "B4 (NEAR INFRARED)"),  # Landsat 5's
        ("band_2", "BAND_2"),
        ("sr_band2", "SR_BAND2"),
        ("S2A_32TMT_MSK_B02", "S2A_32TMT_MSK_B02"),
    ],
)
def test_other_names_stay_what_they_are_in_upper_case(description, name):
    assert canonical_name(description) == name
    assert wavelength_nm(description) is None


@pytest.mark.parametrize("description", [None, "", "   "])
def test_no_description_is_no_name(description):
    assert canonical_name(description) is None
    assert wavelength_nm(description) is None


@pytest.mark.parametrize("name", SENTINEL2_NM)
def test_canonical_names_are_fixed_points(name):
    assert canonical_name(name) == name
    assert canonical_name(name.lower()) == name


def test_wavelengths_are_those_of_the_instrument_in_nm():
    # ESA's tables; a slipped row or a value in um would be far off
    assert SENTINEL2_NM["B02"] == pytest.approx(490, abs=5)
    assert SENTINEL2_NM["B04"] == pytest.approx(665, abs=5)
    assert SENTINEL2_NM["B8A"] == pytest.approx(865, abs=5)
    assert SENTINEL2_NM["B12"] == pytest.approx(2200, abs=10)
    assert len(SENTINEL2_NM) == 13
    assert list(SENTINEL2_NM.values()) == sorted(SENTINEL2_NM.values())


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (["B02", "B03"], [1, 2]),
        (["B04", "B02"], [5, 1]),
        (["red", "b2", "B3"], [5, 1, 2]),
        (["B8A"], [4]),
        (["3"], [3]),
        ([" 6 ", "B04", "1"], [6, 5, 1]),
        (["SCENE CLASS"], [6]),
        ([], []),
    ],
)
def test_bands_are_found_by_name_and_by_index_in_the_order_asked(wanted, found):
    assert match_bands(DESCRIPTIONS, wanted) == found


@pytest.mark.parametrize("want", ["B08", "nir", "B8", "B12", "temperature"])
def test_a_band_that_is_not_there_is_named_with_those_that_are(want):
    with pytest.raises(
        BandError, match=rf"no band is described as '{want}'.*3=\(no descr"
    ) as raised:
        match_bands(DESCRIPTIONS, [want])
    assert isinstance(raised.value, SceneError)


@pytest.mark.parametrize("index", ["0", "7", "-1", "99999"])
def test_an_index_out_of_range_is_refused(index):
    with pytest.raises(BandError, match=rf"band {index} does not exist.* 1 to 6"):
        match_bands(DESCRIPTIONS, [index])


def test_two_bands_of_one_name_cannot_be_told_apart():
    with pytest.raises(BandError, match=r"bands \[1, 3\] are all described as 'B02'"):
        match_bands(["blue", "B03", "B2"], ["B02"])


@pytest.mark.parametrize("wanted", [["B02", "B02"], ["1", "blue"], ["1", "B03", "1"]])
def test_a_band_cannot_be_asked_for_twice(wanted):
    with pytest.raises(BandError, match=r"band 1 is asked for more than once"):
        match_bands(DESCRIPTIONS, wanted)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("B02,B03,B04,B08", ["B02", "B03", "B04", "B08"]),
        ("3, 2,1", ["3", "2", "1"]),
        (" B8A ", ["B8A"]),
    ],
)
def test_lists_are_split_at_commas(text, parts):
    assert parse_band_list(text) == parts


@pytest.mark.parametrize("text", ["", " ", ",", "B02,", ",B02", "B02,,B03"])
def test_a_list_with_holes_is_refused(text):
    with pytest.raises(BandError, match=r"not a list of bands.*bands=\[\"3\", \"2\", \"1\"\]"):
        parse_band_list(text)


def test_describe_counts_from_one_and_shows_the_gaps():
    assert describe(["B02", None, ""]) == "1=B02, 2=(no description), 3=(no description)"
