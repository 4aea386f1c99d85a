"""Mask files as they come: what is replaced, against the true mask they were made from."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from conftest import write_raster
from rasterio.transform import from_origin

import geodecloud
from geodecloud.cli.commands import main
from geodecloud.errors import GeodecloudWarning, OptionError, SceneError
from geodecloud.masks.classes import clouds_of
from geodecloud.masks.files import open_mask
from geodecloud.masks.selection import Selection, absolute_selection, mask_file, parse_selection
from geodecloud.raster.reader import read_metadata

SHAPE_YX = (101, 203)
UDM2 = ["clear", "snow", "shadow", "light_haze", "heavy_haze", "cloud", "confidence", "unusable"]
LANDSAT = ("SR_B2", "SR_B4", "QA_PIXEL", "QA_RADSAT")


@pytest.fixture
def cloud() -> np.ndarray:
    """A fifth of the scene, not symmetric."""
    y, x = np.mgrid[: SHAPE_YX[0], : SHAPE_YX[1]]
    return (np.hypot(y - 40, x - 70) < 30) | ((y > 80) & (x > 150))


def write(path: Path, data: np.ndarray, names: object = None, **profile: object) -> Path:
    write_raster(path, data if data.ndim == 3 else data[None], **profile)
    if names:
        with rasterio.open(path, "r+") as dst:
            dst.descriptions = tuple(names)
    return path


def seen(path: object, scene: Path) -> np.ndarray:
    """Where a mask says cloud, on the scene's grid."""
    found = open_mask(path, read_metadata(scene).grid, (64, 64)).compute(scheduler="sync")
    return clouds_of(found) > 0


def udm2(c: np.ndarray, **bands: np.ndarray) -> np.ndarray:
    planes = {name: np.zeros(SHAPE_YX, np.uint8) for name in UDM2}
    planes |= {"clear": (~c).astype(np.uint8), "cloud": c.astype(np.uint8)} | bands
    return np.stack([planes[name] for name in UDM2])


def pick(cloud: np.ndarray, yes: float, no: float, dtype: str) -> np.ndarray:
    return np.where(cloud, yes, no).astype(dtype)


#: name of the file -> its pixels from the true mask, and the names of its bands
FORMS = {
    "mask": lambda c: (pick(c, 1, 0, "uint8"), None),
    "mask255": lambda c: (pick(c, 255, 0, "uint8"), None),
    "LC08_L2SP_191025_20230614_02_T1_QA_PIXEL": lambda c: (pick(c, 22280, 21824, "uint16"), None),
    "quality": lambda c: (pick(c, 23888, 21952, "uint16"), None),  # shadow, water; by values
    "landsat7": lambda c: (pick(c, 5896, 5440, "uint16"), None),
    "stack": lambda c: (np.stack([pick(c, n, 21824, "uint16") for n in (9, 9, 22280, 1)]), LANDSAT),
    "SCL": lambda c: (pick(c, 9, 4, "uint8"), None),
    "T33UXQ_20230625T104621_SCL_20m": lambda c: (pick(c, 3, 5, "uint8"), None),
    "some_classes": lambda c: (pick(c, 8, 5, "uint8"), None),  # by values
    "band": lambda c: (pick(c, 10, 11, "float32"), ["SCL"]),
    "HLS.S30.T33UXQ.2023165T100559.v2.0.Fmask": lambda c: (pick(c, 66, 64, "uint8"), None),
    "HLS.L30.T33UXQ.2023165T100559.v2.0.Fmask": lambda c: (pick(c, 2, 0, "uint8"), None),
    "LC08_Fmask": lambda c: (pick(c, 4, 1, "uint8"), None),
    "x_OCM_v1_7_1": lambda c: (pick(c, 2, 0, "uint8"), None),
    "s2cloudless_prob": lambda c: (pick(c, 0.9, 0.03, "float32"), None),
    "probability": lambda c: (pick(c, 90, 3, "uint8"), None),
    "MSK_CLDPRB_20m": lambda c: (pick(c, 90, 3, "uint8"), None),
    "cloud_probability": lambda c: (pick(c, 200, 20, "uint8"), None),
    "CLP": lambda c: (pick(c, 200, 20, "uint8"), None),
    "QA60": lambda c: (pick(c, 1024, 0, "uint16"), None),
    "MSK_CLASSI_B00": lambda c: (np.stack([pick(c, n, 0, "uint8") for n in (0, 1, 0)]), None),
    "x_udm2": lambda c: (udm2(c), None),
    "planet": lambda c: (udm2(c), UDM2),
    "haze": lambda c: (udm2(c, cloud=0 * c.astype("uint8"), light_haze=c.astype("uint8")), UDM2),
    "unusable": lambda c: (udm2(c, unusable=c.astype("uint8")), UDM2),
    "clear": lambda c: (pick(c, 0, 1, "uint8"), None),
    "clear band": lambda c: (pick(c, 0, 1, "uint8"), ["clear"]),
}


@pytest.mark.parametrize("form", FORMS)
def test_known_classifications_are_read_as_what_they_are(
    form: str, cloud: np.ndarray, scene: Path, tmp_path: Path
) -> None:
    data, names = FORMS[form](cloud)
    np.testing.assert_array_equal(seen(write(tmp_path / f"{form}.tif", data, names), scene), cloud)


def test_snow_and_ground_of_a_classification_stay(scene: Path, tmp_path: Path) -> None:
    """All of Landsat's values that are neither cloud nor shadow."""
    values = np.full(SHAPE_YX, 21824, np.uint16)
    values[:, 50:] = 30048  # snow
    values[:20], values[50:60] = 1, 22280
    where = seen(write(tmp_path / "QA_PIXEL.tif", values), scene)
    np.testing.assert_array_equal(where, values == 22280)


CONDITIONS = {
    ":>50": lambda v: v[0] > 50,
    ":>=50": lambda v: v[0] >= 50,
    ":risk<30": lambda v: v[1] < 30,
    ":2=3,8-10": lambda v: (v[1] == 3) | ((v[1] >= 8) & (v[1] <= 10)),
    ":2==7": lambda v: v[1] == 7,
    ":heat index!=0": lambda v: v[0] != 0,
    ":1&24": lambda v: (v[0] & 24) > 0,
    ":risk": lambda v: v[1] != 0,
    ":2": lambda v: v[1] != 0,
}


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("fill", [None, 77])
def test_conditions_against_numpy(
    condition: str, fill: int | None, scene: Path, tmp_path: Path
) -> None:
    values = np.random.default_rng(0).integers(0, 100, (2, *SHAPE_YX), np.uint8)
    path = write(tmp_path / "a b.tif", values, ("Heat Index", "risk"), nodata=fill)
    expected = CONDITIONS[condition](values)
    band = 1 if ":2" in condition or "risk" in condition else 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GeodecloudWarning)  # many values
        found = seen(f"{path}{condition}", scene)
    np.testing.assert_array_equal(found, expected & (values[band] != fill))


def test_beyond_a_mask_there_is_no_cloud(cloud: np.ndarray, scene: Path, tmp_path: Path) -> None:
    """What is not on the file is not 0 either, and not what is not clear."""
    profile = {"transform": from_origin(399960 + 1000, 6300040, 10, 10)}
    path = write(tmp_path / "clear.tif", pick(cloud, 0, 1, "uint8"), **profile)
    expected = np.zeros_like(cloud)
    expected[:, 100:] = cloud[:, :-100]
    np.testing.assert_array_equal(seen(path, scene), expected)
    np.testing.assert_array_equal(seen(f"{path}:=0", scene), expected)


@pytest.mark.parametrize(
    ("text", "path", "band", "condition"),
    [
        ("m.tif", "m.tif", None, ""),
        ("C:\\data\\m.tif", "C:\\data\\m.tif", None, ""),
        ("C:\\data\\m.tif:cloud>50", "C:\\data\\m.tif", "cloud", ">50"),
        ("C:/data/m.tif:2=3,8-10", "C:/data/m.tif", "2", "=3,8-10"),
        ("NETCDF:file.nc:scl", "NETCDF:file.nc:scl", None, ""),
        ('NETCDF:"C:\\a.nc":scl:=9', 'NETCDF:"C:\\a.nc":scl', None, "=9"),
        ("GTIFF_DIR:2:pages.tif", "GTIFF_DIR:2:pages.tif", None, ""),
        ("GTIFF_DIR:2:pages.tif:1>0.5", "GTIFF_DIR:2:pages.tif", "1", ">0.5"),
        ("s3://bucket/m.tif", "s3://bucket/m.tif", None, ""),
        ("s3://bucket/m.tif:cloud", "s3://bucket/m.tif", "cloud", ""),
        ("https://host:8080/m.tif?sig=a=b", "https://host:8080/m.tif?sig=a=b", None, ""),
        ("https://host/m.tif?a=1:>-1.5", "https://host/m.tif?a=1", None, ">-1.5"),
        ("/vsizip/a.zip/m.tif:QA_PIXEL&24", "/vsizip/a.zip/m.tif", "QA_PIXEL", "&24"),
    ],
)
def test_a_file_and_what_is_asked_of_it(
    text: str, path: str, band: str | None, condition: str
) -> None:
    asked = parse_selection(text)
    assert (asked.path, asked.band, str(asked.condition or "")) == (path, band, condition)
    assert mask_file(text) == path
    assert parse_selection(str(asked)) == asked


def test_a_file_of_that_very_name_is_that_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    odd = write(tmp_path / "m.tif:cloud>50", np.zeros(SHAPE_YX, np.uint8))
    assert parse_selection(odd) == Selection(str(odd))
    write(tmp_path / "m.tif", np.zeros(SHAPE_YX, np.uint8))
    assert absolute_selection("m.tif:cloud>5") == f"{tmp_path}/m.tif:cloud>5"
    assert parse_selection("m.tif:cloud").band == "cloud"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (":>", "ends in no number"),
        (":>high", "ends in no number: 'high'"),
        (":>3,4", "lists go with ="),
        (":B99=3", r"has no band 'B99'; its bands are 1=\(no name\)"),
        (":7=3", "has no band '7'"),
    ],
)
def test_what_cannot_be_asked(asked: str, message: str, scene: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "m.tif", np.zeros(SHAPE_YX, np.uint8))
    with pytest.raises((OptionError, SceneError), match=message):
        seen(f"{path}{asked}", scene)


def test_a_probability_of_no_known_range_asks(scene: Path, tmp_path: Path) -> None:
    values = np.arange(SHAPE_YX[1], dtype=np.uint16)[None] * np.full(
        (SHAPE_YX[0], 1), 49, np.uint16
    )
    path = write(tmp_path / "cloudprob.tif", values)
    with pytest.raises(OptionError, match=r"values reach 9898: from which on .*>4949"):
        seen(path, scene)
    np.testing.assert_array_equal(seen(f"{path}:>4949", scene), values > 4949)


def test_what_looks_wrong_is_told(cloud: np.ndarray, scene: Path, tmp_path: Path) -> None:
    upside_down = np.ones(SHAPE_YX, np.uint8)
    upside_down[:3] = 0
    with pytest.warns(GeodecloudWarning, match=r"covers 97 % of the scene.*m\.tif:1=0"):
        seen(write(tmp_path / "m.tif", upside_down), scene)
    labels = np.arange(SHAPE_YX[1], dtype=np.uint8)[None] // 9 * cloud
    with pytest.warns(GeodecloudWarning, match=r"it has \d+ values \(0, .*=3,8,9"):
        np.testing.assert_array_equal(seen(write(tmp_path / "n.tif", labels), scene), labels != 0)
    with pytest.warns(GeodecloudWarning, match="has 2 bands, and the first is taken"):
        seen(write(tmp_path / "o.tif", np.stack([cloud, ~cloud]).astype("uint8")), scene)
    # a mask whose 0 is declared as nodata covers no more for that
    declared = write(tmp_path / "p.tif", cloud.astype("uint8"), nodata=0)
    np.testing.assert_array_equal(seen(declared, scene), cloud)


def test_it_is_said_how_a_mask_is_read(
    cloud: np.ndarray, scene: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "geodecloud")
    seen(write(tmp_path / "SCL.tif", pick(cloud, 9, 4, "uint8")), scene)
    assert "by the name 'SCL', for the scene classification (SCL) of Sentinel-2" in caplog.text


def test_a_classification_from_the_command_line(
    cloud: np.ndarray, scene: Path, toy_model: Path, tmp_path: Path
) -> None:
    """Pixels outside the clouds of QA_PIXEL are bit-identical; those inside are not."""
    dn = geodecloud.open_scene(scene).values
    mask = write(tmp_path / "x.tif", pick(cloud, 22280, 21824, "uint16"))
    out = tmp_path / "out.tif"
    words = [str(scene), "-o", str(out), "--model", str(toy_model), "--mask", f"{mask}:&8"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    with rasterio.open(out) as dst:
        changed = (dst.read() != dn).any(axis=0)
    assert not changed[~cloud].any()
    assert changed[cloud & (dn != 0).any(axis=0)].mean() > 0.9
