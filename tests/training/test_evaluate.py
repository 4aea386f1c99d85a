"""Scores against plain numpy, pairs of both layouts, and the commands evaluate and simulate."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from conftest import BANDS, textured_dn, write_raster
from rasterio.transform import from_origin
from scipy.ndimage import gaussian_filter

from geodecloud.cli.commands import main
from geodecloud.decloud_file import decloud_scene
from geodecloud.errors import SceneError
from geodecloud.models.weights import load_model, read_weights, save_weights
from geodecloud.training.baselines import dark_object_subtraction
from geodecloud.training.evaluate import decloud_pair, opacity_classes, pairs_for
from geodecloud.training.metrics import image_scores
from geodecloud.training.pairs import Pair, read_pairs


def two_images(channels: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    truth = textured_dn(channels, 60, 75).astype(np.float32) * 1e-4
    return truth + rng.normal(0, 0.1, truth.shape).astype(np.float32), truth


def test_scores_are_those_of_the_formulas_written_out() -> None:
    image, truth = two_images()
    a, b = np.clip(image, 0, 1).astype(float), np.clip(truth, 0, 1).astype(float)
    scores = image_scores(image, truth)
    assert scores["psnr"] == pytest.approx(-10 * np.log10(np.mean((a - b) ** 2)), abs=1e-6)
    assert scores["mae"] == pytest.approx(np.abs(a - b).mean(), abs=1e-9)
    norms = np.linalg.norm(a, axis=0) * np.linalg.norm(b, axis=0)
    seen = norms > 0  # a pixel that is 0 in every band has no angle
    angles = np.degrees(np.arccos(np.clip((a * b).sum(axis=0)[seen] / norms[seen], -1, 1)))
    assert scores["sam"] == pytest.approx(angles.mean(), abs=1e-3)
    mse = np.mean((image.astype(float) - truth) ** 2)
    assert scores["published_psnr"] == pytest.approx(-10 * np.log10(mse), abs=1e-6)


def test_ssim_is_that_of_wang_with_a_gaussian_window() -> None:
    """Away from the edges, where windows differ between libraries."""
    image, truth = (np.clip(x, 0, 1).astype(float) for x in two_images(1))

    def blur(x: np.ndarray) -> np.ndarray:
        return gaussian_filter(x, 1.5, truncate=5 / 1.5)

    a, b = image[0], truth[0]
    mean_a, mean_b = blur(a), blur(b)
    covariance = blur(a * b) - mean_a * mean_b
    spread = blur(a * a) - mean_a**2 + blur(b * b) - mean_b**2
    ssim = ((2 * mean_a * mean_b + 1e-4) * (2 * covariance + 9e-4)) / (
        (mean_a**2 + mean_b**2 + 1e-4) * (spread + 9e-4)
    )
    assert image_scores(image, truth)["ssim"] == pytest.approx(ssim[5:-5, 5:-5].mean(), abs=2e-3)


def test_published_ssim_is_that_of_scikit_image_by_default() -> None:
    """Window by window: sample covariance of 7 x 7 px, data range 2, on one luminance."""
    image, truth = two_images()
    weights = np.array([0.298912, 0.586611, 0.114478])[:, None, None]
    windows = [
        np.lib.stride_tricks.sliding_window_view((x.astype(float) * weights).sum(axis=0), (7, 7))
        for x in (image, truth)
    ]
    found = []
    for a, b in zip(*(part.reshape(-1, 49) for part in windows), strict=True):
        (var_a, covariance), (_, var_b) = np.cov(a, b)
        brightness = (2 * a.mean() * b.mean() + 0.02**2) / (a.mean() ** 2 + b.mean() ** 2 + 0.02**2)
        found.append(brightness * (2 * covariance + 0.06**2) / (var_a + var_b + 0.06**2))
    assert image_scores(image, truth)["published_ssim"] == pytest.approx(np.mean(found), abs=1e-9)
    assert np.isnan(image_scores(image[:, :6, :11], truth[:, :6, :11])["published_ssim"])


def test_published_luminance_weighs_blue_as_red() -> None:
    """Errors in the first channel, blue, count 0.2989; seen in the order of the scores."""
    truth = np.random.default_rng(0).random((3, 40, 40)).astype(np.float32)
    found = []
    for channel in range(3):
        image = truth.copy()
        image[channel] = 1 - image[channel]
        found.append(image_scores(image, truth)["published_ssim"])
    assert found[1] < found[0] < found[2]


def test_dark_object_subtraction_takes_an_even_haze_off() -> None:
    ground = textured_dn(4, 50, 60).astype(np.float32) * 1e-4
    ground[:, :2, :] = 0.01  # dark water
    haze = np.array([0.12, 0.08, 0.05, 0.01], np.float32)[:, None, None]
    valid = np.ones((50, 60), bool)
    np.testing.assert_allclose(dark_object_subtraction(ground + haze, valid), ground, atol=1e-6)
    np.testing.assert_array_equal(dark_object_subtraction(ground, valid), ground)
    gappy, valid[:, :9] = ground + haze, False
    gappy[:, ~valid] = 0  # no dark object
    lifted = dark_object_subtraction(gappy, valid)
    np.testing.assert_allclose(lifted[:, valid], ground[:, valid], atol=1e-6)


@pytest.mark.parametrize("simulated", [True, False])
def test_every_pixel_has_one_class(simulated: bool) -> None:
    clear = np.full((2, 4, 100), 0.1, np.float32)
    opacity = np.broadcast_to(np.linspace(0, 1, 100, dtype=np.float32), (4, 100)).copy()
    shadow = np.zeros_like(opacity)
    shadow[:, :3] = 0.5
    cloudy = clear * (1 - shadow) * (1 - opacity) + 0.5 * opacity
    truth = {"opacity": opacity, "shadow": shadow} if simulated else {}
    classes = opacity_classes(Pair("p", cloudy, clear, ("B02", "B03"), **truth))
    assert (sum(where.astype(int) for where in classes.values()) == 1).all()
    assert list(classes) == ["clear", "thin", "opaque", "shadow"]
    assert classes["shadow"][:, 0].all()
    assert classes["clear"][:, 3].all()
    assert classes["thin"][:, 40].all()
    assert classes["opaque"][:, 99].all()


def rice_folder(folder: Path) -> Path:
    """Two pictures as RICE has them: cloud/NAME.png and label/NAME.png, RGB."""
    for kind, add in (("cloud", 60), ("label", 0)):
        (folder / kind).mkdir(parents=True)
        for name in ("1", "10"):
            picture = np.stack([np.full((32, 40), level + add, np.uint8) for level in (30, 60, 90)])
            profile = {"driver": "PNG", "count": 3, "height": 32, "width": 40, "dtype": "uint8"}
            with rasterio.open(folder / kind / f"{name}.png", "w", **profile) as dst:
                dst.write(picture)
    return folder


def test_pictures_in_two_folders_are_pairs_in_the_order_of_the_model(tmp_path: Path) -> None:
    pairs = read_pairs(rice_folder(tmp_path / "rice"), ["B02", "B03", "B04"])
    assert [pair.name for pair in pairs] == ["1", "10"]
    np.testing.assert_allclose(pairs[0].clear[:, 0, 0] * 255, [90, 60, 30], atol=1e-4)
    result = decloud_pair(pairs[0], "identity")
    np.testing.assert_array_equal(result.image.values[:, 0, 0], [150, 120, 90])
    assert result.image.dtype == np.uint8


@pytest.fixture
def clear_scene(tmp_path: Path) -> Path:
    return write_raster(tmp_path / "here.tif", textured_dn(4, 101, 140, nodata=0), nodata=0)


def simulated(clear_scene: Path, out: Path, *more: str) -> Path:
    words = ["simulate", str(clear_scene), "--out", str(out), "--sky", "cumulus", *more]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    assert len(result.stdout.split()) == 4
    return out


def test_simulated_pair_is_the_scene_and_the_scene_under_cloud(
    clear_scene: Path, tmp_path: Path
) -> None:
    out = simulated(clear_scene, tmp_path / "pairs")
    images = {}
    with rasterio.open(clear_scene) as src:
        place, before = (src.crs, src.transform, src.shape), src.read()
    for kind in ("cloudy", "clear", "opacity", "shadow"):
        with rasterio.open(out / f"here_{kind}.tif") as src:
            assert (src.crs, src.transform, src.shape) == place
            images[kind] = src.read()
            if kind in ("cloudy", "clear"):
                assert (src.descriptions, src.nodata) == (BANDS, 0)
    np.testing.assert_array_equal(images["clear"], before)
    np.testing.assert_array_equal(images["cloudy"] == 0, before == 0)
    open_sky = (images["opacity"][0] == 0) & (images["shadow"][0] == 0)
    change = np.abs(images["cloudy"].astype(int) - before)[:, open_sky]
    assert change.max() < 6 * 40  # sensor noise of at most 0.004
    assert images["opacity"].max() > 0.3
    again = simulated(clear_scene, tmp_path / "again")
    with rasterio.open(again / "here_cloudy.tif") as src:
        np.testing.assert_array_equal(src.read(), images["cloudy"])


@pytest.mark.parametrize(
    ("crs", "pixel", "same"),
    [
        ("EPSG:32719", 60, False),
        ("EPSG:2263", 10 * 3937 / 1200, True),  # feet of the US survey
        ("EPSG:4326", 0.0001, True),
        (None, 1, True),
    ],
)
def test_pixels_have_the_size_that_a_projected_grid_says(
    crs: str | None, pixel: float, same: bool, tmp_path: Path
) -> None:
    """The reference has pixels of 10 m; between the bands clouds move by more of these than of 60 m."""
    skies = []
    for name, profile in (
        ("ref", {}),
        ("other", {"crs": crs, "transform": from_origin(0, 0, pixel, pixel)}),
    ):
        (tmp_path / name).mkdir()
        scene = write_raster(tmp_path / name / "here.tif", textured_dn(4, 90, 110), **profile)
        folder = simulated(scene, tmp_path / name / "pairs", "--seed", "3")
        with rasterio.open(folder / "here_cloudy.tif") as src:
            skies.append(src.read())
    assert (skies[0] == skies[1]).all() == same


@pytest.mark.parametrize("nodata", [None, np.nan, -9999.0])
def test_gaps_of_a_scene_of_floats_stay_as_they_are(nodata: float | None, tmp_path: Path) -> None:
    """NaN is a gap whatever the file declares, and no other pixel becomes one."""
    before = textured_dn(4, 90, 110, nodata=0) * np.float32(1e-4)
    before[before == 0] = np.nan
    before[1, 40:44, 60:70] = np.nan if nodata is None else nodata
    scene = write_raster(tmp_path / "here.tif", before, nodata=nodata)
    folder = simulated(scene, tmp_path / "pairs", "--seed", "2")
    with rasterio.open(folder / "here_cloudy.tif") as src:
        cloudy = src.read()
    np.testing.assert_array_equal(np.isnan(cloudy), np.isnan(before))
    np.testing.assert_array_equal(cloudy == -9999, before == -9999)
    with rasterio.open(folder / "here_opacity.tif") as src:
        assert src.read().max() > 0.3


def test_evaluate_writes_tables_and_panels(
    clear_scene: Path, toy_model: Path, tmp_path: Path
) -> None:
    folder = simulated(clear_scene, tmp_path / "pairs")
    words = ["evaluate", "--data", str(folder), "--model", str(toy_model)]
    words += ["--csv", str(tmp_path / "a.csv"), "--markdown", str(tmp_path / "a.md")]
    result = CliRunner().invoke(main, [*words, "--panels", str(tmp_path / "panels")])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "a.md").read_text() == result.stdout
    with (tmp_path / "a.csv").open() as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert list(rows) == sorted(rows, key=lambda method: float(rows[method]["gain"]))
    nothing = rows["do nothing"]
    with rasterio.open(folder / "here_cloudy.tif") as a, rasterio.open(clear_scene) as b:
        valid = (b.read() != 0).all(axis=0)
        both = (np.clip(src.read()[:, valid] * 1e-4, 0, 1) for src in (a, b))
        mse = np.mean(np.subtract(*both) ** 2)
    assert not valid.all()
    assert float(nothing["psnr"]) == pytest.approx(-10 * np.log10(mse), abs=1e-3)
    assert float(nothing["gain"]) == 0
    total = sum(int(nothing[f"{name}_px"]) for name in ("clear", "thin", "opaque", "shadow"))
    assert total == valid.sum()
    for kind in ("worst", "median", "best"):
        with rasterio.open(tmp_path / f"panels/toy_{kind}.png") as src:
            assert src.shape == (101, 4 * 140 + 3 * 6)
    as_json = CliRunner().invoke(main, [*words[:5], "--json"])
    assert {row["method"] for row in json.loads(as_json.stdout)} == set(rows)


def test_a_model_without_a_cloud_map_has_no_score_for_one(
    clear_scene: Path, toy_model: Path, tmp_path: Path
) -> None:
    card, _ = read_weights(toy_model)
    card = dataclasses.replace(card, name="bare", has_cloud_map=False)
    bare = tmp_path / "bare.safetensors"
    save_weights(load_model(toy_model).network, card, bare)
    folder = simulated(clear_scene, tmp_path / "pairs")
    words = ["evaluate", "--data", str(folder), "--model", str(toy_model), "--model", str(bare)]
    lines = CliRunner().invoke(main, words).stdout.splitlines()
    head = next(i for i, line in enumerate(lines) if "map IoU" in line)
    iou = {
        cells[1]: cells[-2]
        for cells in ([c.strip() for c in n.split("|")] for n in lines[head + 2 : head + 6])
    }
    assert float(iou[str(toy_model)]) > 0
    assert iou[str(bare)] == iou["do nothing"] == "-"


@pytest.mark.filterwarnings("ignore:.* hold numbers that are no measurements")
@pytest.mark.usefixtures("own_backend")
@pytest.mark.parametrize("kind", ["offset", "nodata", "float"])
def test_a_pair_is_declouded_as_its_file_is(kind: str, toy_model: Path, tmp_path: Path) -> None:
    """What the file declares holds for pairs, too: the same DN come out as from the scene itself."""
    dn = textured_dn(4, 90, 110, nodata=0)
    profile: dict[str, object] = {"nodata": 0}
    if kind == "offset":
        profile = {}
    elif kind == "float":
        dn = np.where(dn == 0, np.nan, dn * np.float32(1e-4)).astype(np.float32)
        profile = {}
    scene = write_raster(tmp_path / "here.tif", dn, **profile)
    if kind == "offset":
        with rasterio.open(scene, "r+") as dst:
            dst.scales, dst.offsets = (1e-4,) * 4, (-0.1,) * 4
    folder = simulated(scene, tmp_path / "pairs")
    cloudy = folder / "here_cloudy.tif"
    (pair,) = pairs_for(folder, str(toy_model))
    result = decloud_pair(pair, str(toy_model))
    decloud_scene(cloudy, tmp_path / "out.tif", model=str(toy_model), provenance=tmp_path / "p.tif")
    with rasterio.open(cloudy) as src, rasterio.open(tmp_path / "out.tif") as out:
        expected, before = out.read(), src.read()
    assert (expected != before).any()
    np.testing.assert_array_equal(result.image.values[:, pair.valid], expected[:, pair.valid])
    with rasterio.open(tmp_path / "p.tif") as src:
        np.testing.assert_array_equal(result.provenance.values, src.read(1))
    # of the scene as it was, not of the file under test
    gaps = np.isnan(dn) if kind == "float" else (dn == 0) & (kind == "nodata")
    np.testing.assert_array_equal(pair.valid, ~gaps.any(axis=0))
    # the reflectance that is scored, from what the file declares
    scale, offset = {"offset": (1e-4, -0.1), "nodata": (1e-4, 0), "float": (1, 0)}[kind]
    expected = (before * scale + offset)[:, pair.valid]
    np.testing.assert_allclose(pair.cloudy[:, pair.valid], expected, atol=1e-6)


def test_gaps_do_not_count() -> None:
    image, truth = two_images()
    valid = np.ones(truth.shape[1:], bool)
    valid[20:30, 10:40] = False
    scores = image_scores(image, truth, valid)
    a, b = np.clip(image, 0, 1)[:, valid], np.clip(truth, 0, 1)[:, valid]
    assert scores["psnr"] == pytest.approx(-10 * np.log10(np.mean((a - b) ** 2)), abs=1e-5)
    assert scores["mae"] == pytest.approx(np.abs(a - b).mean(), abs=1e-7)
    other = image.copy()
    other[:, ~valid] = 7
    assert image_scores(other, truth, valid) == scores
    assert scores["ssim"] == pytest.approx(image_scores(image, truth)["ssim"], abs=0.05)


def test_folders_without_pairs_and_odd_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=r"neither \*_cloudy.tif"):
        read_pairs(tmp_path, BANDS)
    write_raster(tmp_path / "a_cloudy.tif", textured_dn(4, 40, 50))
    write_raster(tmp_path / "a_clear.tif", textured_dn(4, 40, 51))
    with pytest.raises(SceneError, match=r"differ in size: \(40, 50\) and \(40, 51\)"):
        read_pairs(tmp_path, BANDS)
    with pytest.raises(SceneError, match=r"4 bands .* 3 names"):
        read_pairs(tmp_path, ["B02"], ["B02", "B03", "B04"])
