"""Whatever GDAL's settings are, the result is that of none. The oracle is rasterio, reading with GDAL's defaults."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from conftest import textured_dn, write_raster
from products import build_small
from rasterio._env import del_gdal_config
from rasterio._err import CPLE_BaseError
from rasterio.env import get_gdal_config, set_gdal_config
from rasterio.errors import RasterioError

import geodecloud
from geodecloud.errors import OptionError, SceneIOError
from geodecloud.options import FileFormat
from geodecloud.raster.gdal import GDAL_ERRORS, gdal_settings
from geodecloud.raster.reader import open_raster, read_metadata

PROJECT = Path(__file__).parents[2]

#: What people set, and what else GDAL knows that results depend on.
HOSTILE = [
    {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"},
    {"GDAL_DISABLE_READDIR_ON_OPEN": "TRUE", "GDAL_READDIR_LIMIT_ON_OPEN": "1"},
    {"GDAL_PAM_ENABLED": "NO", "GTIFF_IGNORE_READ_ERRORS": "YES", "GDAL_NUM_THREADS": "ALL_CPUS"},
    {"GDAL_PAM_MODE": "AUX", "ESRI_XML_PAM": "YES", "GTIFF_FORCE_RGBA": "YES"},
    {
        "GTIFF_POINT_GEO_IGNORE": "YES",
        "GTIFF_REPORT_COMPD_CS": "NO",
        "GTIFF_SRS_SOURCE": "GEOKEYS",
        "GTIFF_LINEAR_UNITS": "BROKEN",
        "GDAL_GEOREF_SOURCES": "WORLDFILE",
    },
    {
        "OSR_USE_NON_DEPRECATED": "NO",
        "OSR_ADD_TOWGS84_ON_IMPORT_FROM_EPSG": "YES",
        "OSR_ADD_TOWGS84_ON_EXPORT_TO_WKT1": "YES",
        "OSR_STRIP_TOWGS84": "NO",
        "OSR_DEFAULT_AXIS_MAPPING_STRATEGY": "TRADITIONAL_GIS_ORDER",
        "OSR_WKT_FORMAT": "WKT1_ESRI",
    },
    {"COMPRESS_OVERVIEW": "JPEG", "GDAL_TIFF_INTERNAL_MASK": "NO", "CPL_TMPDIR": "/nowhere/at/all"},
    {
        "COMPRESS_OVERVIEW": "LZW",
        "GDAL_TIFF_OVR_BLOCKSIZE": "64",
        "PREDICTOR_OVERVIEW": "3",
        "INTERLEAVE_OVERVIEW": "BAND",
        "TIFF_USE_OVR": "YES",
        "USE_RRD": "YES",
        "GDAL_OVR_PROPAGATE_NODATA": "YES",
    },
    {
        "GDAL_RASTERIO_RESAMPLING": "CUBIC",
        "GDAL_TIFF_ENDIANNESS": "BIG",
        "GDAL_DEFAULT_CREATE_COPY": "YES",
        "TIFF_READ_STREAMING": "YES",
        "VSI_CACHE": "TRUE",
        "VSI_CACHE_SIZE": "1000",
        "GDAL_FORCE_CACHING": "YES",
        "GDAL_CACHEMAX": "1",
        "GDAL_MAX_DATASET_POOL_SIZE": "1",
        "GDAL_SWATH_SIZE": "1",
        "GTIFF_DIRECT_IO": "YES",
        "GTIFF_USE_DEFER_STRILE_LOADING": "NO",
        "GTIFF_ALPHA": "YES",
        "VRT_SHARED_SOURCE": "0",
        "VRT_VIRTUAL_OVERVIEWS": "YES",
        "SPARSE_OK": "YES",
        "COG_DELETE_TEMP_FILES": "NO",
        "COG_TMP_COMPRESSION": "JPEG",
        "OSR_USE_ETMERC": "NO",
        "OSR_CT_USE_DEFAULT_EPSG_TOWGS84": "YES",
        "GDAL_OVR_CHUNK_MAX_SIZE": "1000",
        "MAX_Z_ERROR_OVERVIEW": "100",
    },
]
NAMES = sorted({name for settings in HOSTILE for name in settings})


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene whose mask and tags lie beside it, whose pixels are points, large enough for overviews."""
    path = tmp_path_factory.mktemp("scene") / "scene.tif"
    dn = textured_dn(4, 520, 530)
    write_raster(path, dn, crs="EPSG:32633+5773", nodata=0, GEOTIFF_VERSION="1.1")
    mask = np.full(dn.shape[1:], 255, np.uint8)
    mask[:200, 60:] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as dst:
        dst.nodata = None
        dst.update_tags(AREA_OR_POINT="Point")
        dst.update_tags(ns="SENSOR", GAIN="1")
        dst.update_tags(1, note="a tag of a band")
        dst.write_mask(mask)
    assert path.with_name("scene.tif.msk").exists()
    return path


def written(path: Path) -> dict[str, object]:
    """All that a reader with GDAL's defaults finds in a result: with its overviews, and beside it."""
    with rasterio.open(path) as dst:
        levels = len(dst.overviews(1))
        found: dict[str, object] = {
            "crs": dst.crs.to_wkt(version="WKT2_2019"),
            "tags": [
                dst.tags(i, ns=name or None)
                for i in range(dst.count + 1)
                for name in ("", *dst.tag_namespaces(i))
                if name != "DERIVED_SUBDATASETS"  # has the file's path
            ],
            "files": sorted(p.name for p in path.parent.iterdir() if p.name.startswith(path.stem)),
        }
    for level in (None, *range(levels)):
        with rasterio.open(path, **({} if level is None else {"overview_level": level})) as dst:
            found[f"profile {level}"] = {k: str(v) for k, v in dst.profile.items()}
            found[f"pixels {level}"] = dst.read().tobytes()
            found[f"mask {level}"] = dst.dataset_mask().tobytes()
    return found


@pytest.fixture(scope="module")
def right(scene: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """The result with no settings at all."""
    assert not [name for name in NAMES if name in os.environ]
    out = tmp_path_factory.mktemp("right") / "out.tif"
    geodecloud.decloud_scene(scene, out, model="identity")
    found = written(out)
    assert "profile 0" in found
    with rasterio.open(scene) as src:  # what it has to be, by the source
        assert found["pixels None"] == src.read().tobytes()
        assert found["mask None"] == src.dataset_mask().tobytes()
        assert (np.frombuffer(found["mask None"], np.uint8) == 0).sum() == 200 * 470
    return found


@contextmanager
def as_environment(settings: dict[str, str]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        yield


@contextmanager
def as_env(settings: dict[str, str]) -> Iterator[None]:
    numbers = {k: int(v) if k == "GDAL_CACHEMAX" else v for k, v in settings.items()}
    with rasterio.Env(**numbers):
        yield


@pytest.mark.parametrize(
    ("way", "settings"),
    [
        *((as_environment, settings) for settings in HOSTILE),
        (as_env, {k: v for settings in HOSTILE for k, v in settings.items()}),
    ],
    ids=[*(next(iter(settings)) for settings in HOSTILE), "a caller's Env"],
)
def test_no_setting_changes_a_result(
    settings: dict[str, str],
    way: object,
    scene: Path,
    right: dict[str, object],
    tmp_path: Path,
) -> None:
    out = tmp_path / "out.tif"
    with way(settings):
        geodecloud.decloud_scene(scene, out, model="identity")
    found = written(out)
    assert [name for name in right if found.get(name) != right[name]] == []


def test_all_settings_at_once_from_a_thread_that_is_not_the_main_one(
    scene: Path, right: dict[str, object], tmp_path: Path
) -> None:
    out = tmp_path / "out.tif"
    everything = {k: v for settings in HOSTILE for k, v in settings.items()}
    with as_environment(everything):
        thread = threading.Thread(
            target=geodecloud.decloud_scene, args=(scene, out), kwargs={"model": "identity"}
        )
        thread.start()
        thread.join()
    found = written(out)
    assert [name for name in right if found.get(name) != right[name]] == []


def test_in_a_worker_process(scene: Path, right: dict[str, object], tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    out = tmp_path / "out.tif"
    hidden = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GTIFF_FORCE_RGBA": "YES"}
    options = {"n_workers": 1, "threads_per_worker": 2, "dashboard_address": ":0"}
    with as_environment(hidden), distributed.LocalCluster(processes=True, **options) as cluster:
        geodecloud.decloud_scene(scene, out, model="identity", scheduler=cluster.scheduler_address)
    found = written(out)
    assert [name for name in right if found.get(name) != right[name]] == []


def test_a_product_of_jpeg2000(tmp_path: Path) -> None:
    product = build_small(
        tmp_path / "S2A_MSIL2A_20230625T104621_N0509_R051_T33UXQ_20230625T170000.SAFE", size=72
    )
    everything = {k: v for settings in HOSTILE for k, v in settings.items()}
    everything |= {
        "GDAL_USE_GEOJP2": "NO",
        "GDAL_USE_GMLJP2": "NO",
        "GDAL_IGNORE_AXIS_ORIENTATION": "YES",
    }
    geodecloud.decloud_scene(product, tmp_path / "a.tif", model="identity", stac=False)
    with as_environment(everything):
        geodecloud.decloud_scene(product, tmp_path / "b.tif", model="identity", stac=False)
    found, expected = written(tmp_path / "b.tif"), written(tmp_path / "a.tif")
    assert [k for k in expected if k != "files" and found[k] != expected[k]] == []


def test_damage_is_told_whatever_is_set(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "scene.tif", textured_dn(1, 100, 100), compress="deflate")
    path.write_bytes(path.read_bytes()[:-4000])
    with as_environment({"GTIFF_IGNORE_READ_ERRORS": "YES"}), pytest.raises(SceneIOError):
        geodecloud.decloud_scene(path, tmp_path / "out.tif", model="identity")
    assert not (tmp_path / "out.tif").exists()


def test_wrong_creation_options_are_told_whatever_is_set(scene: Path, tmp_path: Path) -> None:
    form = FileFormat(creation_options={"COMPRES": "LZW"})
    with as_environment({"GDAL_VALIDATE_CREATION_OPTIONS": "NO"}), pytest.raises(OptionError):
        geodecloud.decloud_scene(scene, tmp_path / "out.tif", model="identity", format=form)


@pytest.mark.parametrize("driver", ["COG", "VRT"])
def test_drivers_that_are_taken_away_are_told_before_the_work(
    driver: str, scene: Path, tmp_path: Path
) -> None:
    """GDAL reads this one when a process starts."""
    code = "import sys, geodecloud; geodecloud.decloud_scene(*sys.argv[1:], model='identity')"
    command = [sys.executable, "-c", code, str(scene), str(tmp_path / "out.tif")]
    env = {**os.environ, "GDAL_SKIP": driver, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert f"SceneIOError: GDAL has no driver {driver}" in done.stderr
    assert "Unset it" in done.stderr


def test_settings_of_others_are_what_they_were(scene: Path) -> None:
    kept = {"GDAL_PAM_ENABLED": "NO", "GDAL_NUM_THREADS": "3", "GDAL_HTTP_PROXY": "http://proxy:1"}
    kept |= {"GDAL_HTTP_TIMEOUT": "7"}

    def now() -> dict[str, object]:
        return {
            name: get_gdal_config(name, normalize=False) for name in (*kept, "GTIFF_FORCE_RGBA")
        }

    before = now()
    with rasterio.Env(**kept):
        inside = now()
        set_gdal_config("GTIFF_FORCE_RGBA", "YES")  # as of another library on the same GDAL
        with open_raster(scene) as src:
            assert src.count == 4
            # the network is the user's, and shut for a file on disk
            assert get_gdal_config("GDAL_HTTP_TIMEOUT") == 7
            assert get_gdal_config("GDAL_HTTP_PROXY") == "127.0.0.1:0"
            assert get_gdal_config("GDAL_PAM_ENABLED", normalize=False) == "YES"
        assert now() == inside | {"GTIFF_FORCE_RGBA": "YES"}
        del_gdal_config("GTIFF_FORCE_RGBA")
    assert now() == before


@pytest.mark.parametrize(
    ("path", "asked", "listing"),
    [
        ("scene.tif", "EMPTY_DIR", "NO"),
        ("scene.tif", "TRUE", "NO"),
        ("s3://bucket/scene.tif", "EMPTY_DIR", "TRUE"),
        ("/vsicurl/http://x/scene.tif", "YES", "TRUE"),
        ("mosaic.vrt", "EMPTY_DIR", "TRUE"),
        ("s3://bucket/scene.tif", "FALSE", "NO"),
        ("s3://bucket/scene.tif", None, "NO"),
    ],
)
def test_stores_are_not_listed_where_that_is_turned_off(
    path: str, asked: str | None, listing: str
) -> None:
    name = "GDAL_DISABLE_READDIR_ON_OPEN"
    with as_environment({} if asked is None else {name: asked}), gdal_settings("other.tif"):
        with gdal_settings(path):
            assert get_gdal_config(name, normalize=False) == listing
        assert get_gdal_config(name, normalize=False) == "NO"


def test_a_usable_folder_for_temporary_files_stays(tmp_path: Path) -> None:
    for asked, expected in ((tmp_path, True), (tmp_path / "none", False)):
        with as_environment({"CPL_TMPDIR": str(asked)}), gdal_settings():
            assert (get_gdal_config("CPL_TMPDIR") == str(asked)) is expected
            assert os.path.isdir(str(get_gdal_config("CPL_TMPDIR")))


def test_overviews_are_compressed_as_asked(scene: Path, tmp_path: Path) -> None:
    form = FileFormat(creation_options={"COMPRESS": "ZSTD", "BLOCKSIZE": "256"})
    geodecloud.decloud_scene(scene, tmp_path / "a.tif", model="identity", format=form)
    with as_environment({"COMPRESS_OVERVIEW": "LZW", "GDAL_TIFF_OVR_BLOCKSIZE": "64"}):
        geodecloud.decloud_scene(scene, tmp_path / "b.tif", model="identity", format=form)
    a, b = (written(tmp_path / f"{name}.tif") for name in "ab")
    assert [k for k in a if k != "files" and a[k] != b[k]] == []


def test_private_errors_of_rasterio_are_still_needed(tmp_path: Path) -> None:
    """Of rasterio 1.4: where this fails, `GDAL_ERRORS` can do with public classes."""
    with pytest.raises(GDAL_ERRORS) as raised:
        rasterio.shutil.copy(tmp_path / "none.tif", tmp_path / "copy.tif", driver="GTiff")
    assert not isinstance(raised.value, RasterioError)
    path = write_raster(tmp_path / "point.tif", np.ones((1, 2, 2), np.uint8))
    with rasterio.open(path, "r+") as dst:
        dst.update_tags(AREA_OR_POINT="Point")
    right = rasterio.open(path).transform
    set_gdal_config("GTIFF_POINT_GEO_IGNORE", None)  # why `del_gdal_config` is needed
    assert rasterio.open(path).transform != right
    del_gdal_config("GTIFF_POINT_GEO_IGNORE")
    assert rasterio.open(path).transform == right
    folder = Path(geodecloud.__file__).parent
    private = [p.name for p in folder.rglob("*.py") if "rasterio._" in p.read_text()]
    assert private == ["gdal.py"]


def test_metadata_is_read_with_the_settings(scene: Path, tmp_path: Path) -> None:
    for path in scene.parent.iterdir():
        shutil.copy(path, tmp_path / path.name)
    expected = read_metadata(tmp_path / "scene.tif")
    everything = {k: v for settings in HOSTILE for k, v in settings.items()}
    with as_environment(everything):
        assert read_metadata(tmp_path / "scene.tif") == expected


@pytest.mark.parametrize(
    "error",
    [
        CPLE_BaseError(1, 1, 'Bad value 3 for "ExtraSamples" tag'),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "ExtraSamples"),
    ],
    ids=["GDAL's own", "no UTF-8"],
)
def test_what_gdal_refuses_is_told_in_one_sentence(
    error: Exception, scene: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where GDAL fails while it copies, or says what is no text, rasterio raises none of its own errors."""

    def refuse(src: object) -> None:
        raise error

    monkeypatch.setattr("geodecloud.raster.reader.read_side_facts", refuse)
    with pytest.raises(SceneIOError, match=r"scene\.tif cannot be read.*ExtraSamples"):
        read_metadata(scene)
