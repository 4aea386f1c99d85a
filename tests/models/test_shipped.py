"""The shipped model on real Sentinel-2 pairs, from the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner

from geodecloud.cli.commands import main
from geodecloud.scene.bands import SENTINEL2_NM

RESTORED = [1, 2, 3, 7]  # B02, B03, B04, B08 among the 13 bands

pytestmark = pytest.mark.usefixtures("own_backend")


def psnr_db(image: np.ndarray, truth: np.ndarray) -> float:
    """Written out here: the test must not lean on the package's own metric."""
    a, b = (np.clip(x.astype(float) * 1e-4, 0, 1) for x in (image, truth))
    return float(-10 * np.log10(np.mean((a - b) ** 2)))


def middle(source: Path, out: Path, named: bool = False) -> Path:
    """Half of the sides of a scene: enough of each to judge by, in a quarter of the time."""
    with rasterio.open(source) as src:
        height, width = src.height // 2, src.width // 2
        window = rasterio.windows.Window(width // 2, height // 2, width, height)
        dn, place = src.read(window=window), src.window_transform(window)
        profile = src.profile | {"width": width, "height": height, "transform": place}
    with rasterio.open(out, "w", **profile) as dst:
        dst.write(dn)
        if named:
            dst.descriptions = tuple(SENTINEL2_NM)
    return out


def test_real_pairs_gain_at_least_4_db(real_data: Path, tmp_path: Path) -> None:
    """Every second pair; the others are for the model of all bands."""
    gains = []
    for cloudy in sorted((real_data / "sen12mscr").glob("*_cloudy.tif"))[1::2]:
        scene = middle(cloudy, tmp_path / cloudy.name, named=True)
        out, codes = tmp_path / "clear.tif", tmp_path / "codes.tif"
        options = ["--model", "s2-10m", "--overwrite", "--provenance", str(codes)]
        result = CliRunner().invoke(main, [str(scene), "--out", str(out), *options])
        assert result.exit_code == 0, result.output
        assert "does not restore bands B01, B05" in result.stderr
        with rasterio.open(scene) as a, rasterio.open(out) as b, rasterio.open(codes) as c:
            assert (a.crs, a.transform, a.shape, a.descriptions) == (
                *(b.crs, b.transform, b.shape, b.descriptions),
            )
            before, after, code = a.read(), b.read(), c.read(1)
        passed = [i for i in range(13) if i not in RESTORED]
        np.testing.assert_array_equal(before[passed], after[passed])
        np.testing.assert_array_equal(before[:, code == 1], after[:, code == 1])
        clear = cloudy.with_name(cloudy.name.replace("_cloudy", "_clear"))
        with rasterio.open(middle(clear, tmp_path / clear.name)) as src:
            truth = src.read()
        gain = psnr_db(after[RESTORED], truth[RESTORED]) - psnr_db(
            before[RESTORED], truth[RESTORED]
        )
        gains.append(gain)
    assert len(gains) == 11
    assert np.mean(gains) >= 4


def test_thirteen_unnamed_bands_are_taken_in_esa_order(real_data: Path, tmp_path: Path) -> None:
    source = real_data / "sen12mscr/idx4287_cloudy.tif"
    cloudy = middle(source, tmp_path / "cloudy.tif")
    named = middle(source, tmp_path / "named.tif", named=True)
    images = []
    for scene in (cloudy, named):
        out = tmp_path / f"out_{scene.name}"
        result = CliRunner().invoke(main, [str(scene), "--out", str(out)])
        assert result.exit_code == 0, result.output
        with rasterio.open(out) as dst:
            images.append(dst.read())
    np.testing.assert_array_equal(*images)


def test_all_bands_gain_and_do_no_harm(real_data: Path, tmp_path: Path) -> None:
    """The other pairs, by the default command line; no pair may lose more than 1 dB."""
    gains = []
    for cloudy in sorted((real_data / "sen12mscr").glob("*_cloudy.tif"))[::2]:
        scene, out = middle(cloudy, tmp_path / cloudy.name), tmp_path / "clear.tif"
        result = CliRunner().invoke(main, [str(scene), "--out", str(out), "--overwrite"])
        assert result.exit_code == 0, result.output
        assert "model s2-all" in result.stderr
        clear = cloudy.with_name(cloudy.name.replace("_cloudy", "_clear"))
        images = []
        for path in (scene, out, middle(clear, tmp_path / clear.name)):
            with rasterio.open(path) as src:
                images.append(src.read())
        gains.append(psnr_db(images[1], images[2]) - psnr_db(images[0], images[2]))
    assert len(gains) == 11
    assert np.mean(gains) > 5
    assert min(gains) > -1


@pytest.mark.parametrize("level", [0.05, 0.2])
def test_even_clear_ground_is_mostly_left_alone(level: float, tmp_path: Path) -> None:
    """A plain field in daylight is no cloud: the map must not fire on brightness alone."""
    rng = np.random.default_rng(2)
    spectrum = np.array([0.5, 0.7, 0.75, 1.4])[:, None, None] * level
    dn = (1e4 * spectrum * (1 + 0.05 * rng.standard_normal((4, 96, 96)))).astype(np.uint16)
    import xarray as xr

    import geodecloud

    array = xr.DataArray(
        dn, dims=("band", "y", "x"), attrs={"long_name": ("B02", "B03", "B04", "B08")}
    )
    clear = geodecloud.remove_clouds(array, model="s2-10m")
    assert (clear.values == dn).all(axis=0).mean() > 0.9


def test_a_veil_over_a_picture_is_lifted_where_it_is_asked_for(
    real_data: Path, tmp_path: Path
) -> None:
    """Every third pair of RICE1, of which nothing was trained on, by ``--model rgb``."""
    gains = []
    for cloudy in sorted((real_data / "rice/RICE1/cloud").iterdir())[::3]:
        scene, out = middle(cloudy, tmp_path / "scene.png"), tmp_path / "clear.tif"
        options = ["--model", "rgb", "--overwrite"]
        result = CliRunner().invoke(main, [str(scene), "--out", str(out), *options])
        assert result.exit_code == 0, result.output
        images = []
        label = real_data / "rice/RICE1/label" / cloudy.name
        for path in (scene, out, middle(label, tmp_path / "label.png")):
            with rasterio.open(path) as src:
                images.append(src.read() * (1e4 / 255))
        gains.append(psnr_db(images[1], images[2]) - psnr_db(images[0], images[2]))
    assert len(gains) == 15
    assert np.mean(gains) > 2


def test_a_picture_is_not_touched_unasked(real_data: Path, tmp_path: Path) -> None:
    cloudy = next((real_data / "rice/RICE2/cloud").iterdir())
    result = CliRunner().invoke(main, [str(cloudy), "--out", str(tmp_path / "clear.tif")])
    assert result.exit_code == 1
    assert "--model rgb" in result.stderr
