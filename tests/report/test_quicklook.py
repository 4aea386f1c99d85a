"""The picture of before and after that a run can write."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from conftest import textured_dn, write_raster

import geodecloud
from geodecloud.cli.commands import main
from geodecloud.errors import OptionError, SceneIOError


def test_before_and_after_side_by_side(tmp_path: Path, toy_model: Path) -> None:
    """Left and right differ only where pixels do; both have one stretch."""
    dn = textured_dn(4, 101, 203)
    scene = write_raster(tmp_path / "s.tif", dn)
    mask = np.zeros((1, 101, 203), np.uint8)
    mask[:, 40:70, 50:90] = 1
    write_raster(tmp_path / "m.tif", mask)
    out, png = tmp_path / "o.tif", tmp_path / "q.png"
    options = ["--model", toy_model, "--mask", tmp_path / "m.tif", "--quicklook", png]
    done = CliRunner().invoke(main, [str(arg) for arg in (scene, "-o", out, *options, "-q")])
    assert (done.exit_code, done.stdout) == (0, f"{out}\n"), done.output
    with rasterio.open(png) as src:
        assert (src.driver, src.shape) == ("PNG", (101, 203 + 8 + 203))
        picture = src.read()
    changed = (rasterio.open(out).read()[:3] != dn[:3]).any(axis=0)
    assert changed.any()
    left, right = picture[..., :203], picture[..., -203:]
    np.testing.assert_array_equal(left[:, ~changed], right[:, ~changed])
    assert (left != right).any(axis=0)[changed].mean() > 0.5
    # red, green, blue are bands 3, 2, 1, from the 2nd to the 98th percentile of what did not change
    low, high = np.percentile(dn[:3, ~changed], [2, 98])
    for channel, band in zip(left, dn[[2, 1, 0]], strict=True):
        assert (channel[band <= low] == 0).all()
        assert (channel[band >= high] == 255).all()
        between = (band > low) & (band < high)
        unit = (band[between] - low) / (high - low)
        np.testing.assert_allclose(channel[between], 255 * unit**0.8, atol=0.51)


def test_it_is_at_most_2000_px_wide(tmp_path: Path) -> None:
    scene = write_raster(tmp_path / "s.tif", textured_dn(3, 64, 2100))
    geodecloud.decloud_scene(
        scene, tmp_path / "o.tif", model="identity", quicklook=tmp_path / "q.png"
    )
    with rasterio.open(tmp_path / "q.png") as src:
        assert 1000 < src.width <= 2000
        assert src.height == 64 // 3


def test_no_data_is_grey_and_one_band_is_grey(tmp_path: Path) -> None:
    dn = textured_dn(1, 40, 50, nodata=0)
    scene = write_raster(tmp_path / "s.tif", dn, nodata=0)
    geodecloud.decloud_scene(
        scene, tmp_path / "o.tif", model="identity", quicklook=tmp_path / "q.png"
    )
    picture = rasterio.open(tmp_path / "q.png").read()[..., :50]
    assert (picture == picture[:1]).all()
    assert (picture[0][dn[0] == 0] == 128).all()


def test_what_is_refused(scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.tif"
    for name, error in (
        ("q.jpg", OptionError),
        ("none/q.png", SceneIOError),
        ("old.png", SceneIOError),
    ):
        (tmp_path / "old.png").write_text("mine")
        with pytest.raises(error):
            geodecloud.decloud_scene(scene, out, model="identity", quicklook=tmp_path / name)
        assert not out.exists()  # before the work, not after it
    picture = write_raster(tmp_path / "s.png.tif", textured_dn(1, 9, 9)).rename(tmp_path / "s.png")
    with pytest.raises(SceneIOError, match="named twice"):
        geodecloud.decloud_scene(picture, out, model="identity", quicklook=picture, overwrite=True)
