from __future__ import annotations

from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import rasterio
import rioxarray
import xarray as xr
from conftest import textured_dn, write_raster
from rio_cogeo.cogeo import cog_validate

import geodecloud
from geodecloud.errors import OptionError, SceneIOError
from geodecloud.writer import FileFormat, write_scene


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32", "float64"])
@pytest.mark.parametrize("shape_yx", [(1, 1), (511, 513), (700, 1100)])
def test_cog_is_valid_and_holds_the_pixels(
    dtype: str, shape_yx: tuple[int, int], tmp_path: Path
) -> None:
    pixels = (textured_dn(2, *shape_yx) % 251).astype(dtype)
    array = xr.DataArray(da.from_array(pixels, chunks=(1, 300, 277)), dims=("band", "y", "x"))
    path = write_scene(array, tmp_path / "out.tif")
    valid, errors, warnings = cog_validate(path)
    assert valid, (errors, warnings)
    with rasterio.open(path) as dst:
        np.testing.assert_array_equal(dst.read(), pixels)
        assert dst.dtypes == (dtype, dtype)


def test_dataarray_alone_carries_its_metadata(scene: Path, tmp_path: Path) -> None:
    """The oracle is rioxarray, which reads our file back as it read the source."""
    with rasterio.open(scene, "r+") as dst:
        dst.scales, dst.offsets = (1e-4,) * 4, (-0.1,) * 4
    array = rioxarray.open_rasterio(scene)
    back = rioxarray.open_rasterio(write_scene(array, tmp_path / "out.tif"))
    xr.testing.assert_equal(array, back)
    assert back.rio.crs == array.rio.crs
    assert back.rio.nodata == array.rio.nodata
    for key in ("long_name", "scale_factor", "add_offset"):
        assert back.attrs[key] == array.attrs[key]


class DiskFullError(OSError):
    pass


def test_failure_half_way_leaves_nothing(scene: Path, tmp_path: Path) -> None:
    calls = []

    def block(x: np.ndarray) -> np.ndarray:
        calls.append(x.shape)
        if len(calls) > 3:
            raise DiskFullError("no space left")
        return x

    pixels = da.from_array(textured_dn(1, 200, 200), chunks=(1, 50, 50)).map_blocks(
        block, dtype="u2", meta=np.empty((0, 0, 0), "u2")
    )
    target = tmp_path / "target.tif"
    target.write_text("old")
    before = set(tmp_path.iterdir())
    array = xr.DataArray(pixels, dims=("band", "y", "x"))
    with pytest.raises(DiskFullError):
        write_scene(array, target, format=FileFormat(overwrite=True))
    assert target.read_text() == "old"
    assert set(tmp_path.iterdir()) == before


def test_several_outputs_appear_together_or_not_at_all(scene: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "codes.tif"
    blocked.write_text("mine")
    with pytest.raises(SceneIOError, match=r"codes\.tif exists"):
        geodecloud.decloud_scene(scene, tmp_path / "o.tif", model="identity", provenance=blocked)
    assert not (tmp_path / "o.tif").exists()


def test_overviews_of_codes_hold_only_codes(tmp_path: Path, toy_model: Path) -> None:
    scene = write_raster(tmp_path / "big.tif", textured_dn(4, 600, 1100))
    codes = tmp_path / "codes.tif"
    geodecloud.decloud_scene(scene, tmp_path / "o.tif", model=str(toy_model), provenance=codes)
    with rasterio.open(codes) as full, rasterio.open(codes, overview_level=0) as half:
        assert set(np.unique(half.read())) <= set(np.unique(full.read()))


def test_full_disk_is_noticed_before_work(
    scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("geodecloud.writer.shutil.disk_usage", lambda folder: usage)
    with pytest.raises(SceneIOError, match="GB free"):
        geodecloud.decloud_scene(scene, tmp_path / "o.tif", model="identity")


def test_unknown_format_is_refused() -> None:
    with pytest.raises(OptionError, match="cog or gtiff"):
        FileFormat("png")
