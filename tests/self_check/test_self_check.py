"""What a scene says of the errors to expect on it, held against errors that are known."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dask.array as da
import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from click.testing import CliRunner
from conftest import Options, write_raster
from scipy.ndimage import distance_transform_edt

import geodecloud
from geodecloud.cli.commands import main
from geodecloud.errors import OptionError
from geodecloud.masks.classes import classify, clouds_of
from geodecloud.pipeline import decide_array
from geodecloud.report.verify import verify_file
from geodecloud.restore.composite import MARGIN_PX, Provenance
from geodecloud.scene.cube import Cube
from geodecloud.scene.grid import Grid
from geodecloud.scene.scores import Errors
from geodecloud.self_check import crops as crops_module
from geodecloud.self_check.check import check_scene
from geodecloud.self_check.crops import Crop, Cropper, Restored, plan_crops
from geodecloud.self_check.sky import Move, Sky
from geodecloud.windows.tiler import Window

SIDE = 128


def ground(side: int = SIDE) -> np.ndarray:
    """Reflectance (4, side, side) without symmetry."""
    y, x = np.mgrid[:side, :side]
    return np.stack([0.1 + 0.02 * b + 0.04 * np.sin(x / (9 + b)) + 2e-4 * y for b in range(4)])


def opacity() -> np.ndarray:
    """A thin cloud and an opaque one, together a sixth of the scene."""
    field = np.zeros((SIDE, SIDE))
    field[10:50, 20:70], field[80:100, 60:90] = 0.5, 0.9
    return field


def under(cloud: np.ndarray, land: np.ndarray) -> np.ndarray:
    """DN of land under cloud of a reflectance of 0.7."""
    return np.rint(((1 - cloud) * land + cloud * 0.7) * 1e4).astype(np.uint16)


def as_scene(dn: np.ndarray, **coords: Any) -> xr.DataArray:
    attrs = {"long_name": ("B02", "B03", "B04", "B08"), "scales": (1e-4,) * 4}
    return xr.DataArray(dn, dims=("band", "y", "x"), attrs=attrs, coords=coords)


def cropper_of(scene: xr.DataArray, model: Any, **options: Any) -> Cropper:
    cube, asked = Cube.of(scene), Options(model=model, **options)
    decisions = decide_array(cube, asked, cube.metadata)
    return Cropper(cube, cube.metadata, decisions, asked, ())


class KnowingNetwork:
    """Stands for the path of a scene: it knows the ground, and errs by so much where it sees cloud."""

    def __init__(self, thin: float, thick: float) -> None:
        self.thin, self.thick = thin, thick
        self.seen: list[np.ndarray] = []

    def __call__(self, scene: xr.DataArray, *_: Any) -> Any:
        reflectance, land = scene.values * 1e-4, ground()
        self.seen.append(scene.values)
        cloud = np.clip(((reflectance - land) / (0.7 - land)).mean(axis=0), 0, 1)
        codes = np.full(cloud.shape, Provenance.OBSERVED, np.uint8)
        codes[cloud > 0.05], codes[cloud > 0.8] = Provenance.RESTORED, Provenance.SYNTHESISED
        error = np.select([cloud > 0.8, cloud > 0.05], [self.thick, self.thin], 0)
        image = np.where(cloud > 0.05, np.rint((land + error) * 1e4), scene.values)
        parts = {"image": image.astype(np.uint16), "cloud_map": cloud, "provenance": codes}
        return SimpleNamespace(**{k: SimpleNamespace(data=da.asarray(v)) for k, v in parts.items()})


def test_the_errors_of_a_network_that_are_known(
    toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0.01 under thin cloud and 0.03 under opaque are what is told, and PSNR by its formula."""
    network = KnowingNetwork(thin=0.01, thick=0.03)
    monkeypatch.setattr(crops_module, "decloud", network)
    found = check_scene(as_scene(under(opacity(), ground())), Options(model=with_map(toy_model)))
    assert set(found.kinds) == {"restored", "synthesised", "replaced"}, found
    assert found.windows == 1
    thin, thick = found.kinds["restored"], found.kinds["synthesised"]
    assert thin.mae == pytest.approx(0.01, abs=2e-4)
    assert thick.mae == pytest.approx(0.03, abs=2e-4)
    assert thin.psnr_db == pytest.approx(-20 * np.log10(0.01), abs=0.1)
    # all together in the mix of the scene: its clouds are 2000 px of one and 600 px of the other
    both = (2000 * thin.mae + 600 * thick.mae) / 2600
    assert found.kinds["replaced"].mae == pytest.approx(both, abs=1e-5)
    assert found.kinds["replaced"].pixels == 2600
    # what was put over the clear ground is the scene's own cloud: nothing of it but cloud has changed
    before, after = network.seen
    changed = (before != after).any(axis=0) & (opacity() == 0)
    assert 0.1 < changed.sum() / (opacity() == 0).sum() < 0.25
    cloud = ((after * 1e-4 - ground()) / (0.7 - ground())).mean(axis=0)
    assert set(np.round(cloud[changed], 1)) == {0.5, 0.9}


def with_map(toy_model: Path) -> Any:
    """The toy network, with the thresholds that the network above has."""
    loaded = geodecloud.load_model(toy_model)
    card = dataclasses.replace(loaded.card, cloud_threshold=0.1, opaque_threshold=0.8)
    return dataclasses.replace(loaded, card=card)


def test_clouds_of_one_place_over_another(toy_model: Path) -> None:
    """The light that is not the ground's goes along with its opacity; a shadow, which has none, too."""
    land, other = ground(), ground()[:, ::-1] + 0.05
    cloud, shade = opacity(), np.zeros((SIDE, SIDE))
    shade[60:70, 5:40] = 0.4  # the network sees it, and gives the light back
    dn = np.where(shade > 0, np.rint(land * (1 - shade) * 1e4), under(cloud, land)).astype(
        np.uint16
    )
    cropper = cropper_of(as_scene(dn), with_map(toy_model))
    window = Window(0, 0, SIDE, SIDE)
    seen = Restored(land.astype(np.float32), (cloud + shade).astype(np.float32), np.zeros((1, 1)))
    sky = Sky.of(Crop(window, dn, None, None), seen, cropper)
    np.testing.assert_array_equal(
        sky.cloud, distance_transform_edt(cloud + shade == 0) <= MARGIN_PX
    )
    plain = np.rint(other * 1e4).astype(np.uint16)
    covered = sky.put_over(Crop(window, plain, None, None), cropper).dn
    expected = np.where(shade > 0, np.rint(other * (1 - shade) * 1e4), under(cloud, other))
    assert np.abs(covered.astype(int) - expected).max() <= 2
    assert (covered == plain)[:, cloud + shade == 0].all()


@pytest.mark.parametrize("flips", [(False, False), (True, False), (True, True)])
def test_a_move_mirrors_and_shifts(flips: tuple[bool, bool]) -> None:
    array = np.arange(2 * 5 * 7).reshape(2, 5, 7)
    endless = np.pad(array, [(0, 0), (0, 5), (0, 7)], mode="symmetric")
    expected = endless[:, 2:7, 3:10]
    expected = np.flip(expected, [axis + 1 for axis, flip in enumerate(flips) if flip])
    np.testing.assert_array_equal(Move(flips, (2, 3), (5, 7))(array), expected)
    assert Move((False, False), (0, 0), (11, 3))(array).shape == (2, 11, 3)


def test_scores_by_their_formulas() -> None:
    truth, image = np.zeros((2, 2, 2)), np.zeros((2, 2, 2))
    truth[:, 0, 0], image[:, 0, 0] = (0.3, 0.0), (0.2, 0.2)  # 45 degrees apart
    truth[:, 0, 1], image[:, 0, 1] = (1.5, 0.4), (1.0, 0.4)  # beyond 1 counts as 1
    where = np.array([[True, True], [False, False]])
    found = Errors.of(image, truth, where)
    assert (found.pixels, found.bands) == (2, 2)
    assert found.mae == pytest.approx((0.1 + 0.2) / 4)
    assert found.psnr_db == pytest.approx(10 * np.log10(4 / (0.01 + 0.04)))
    assert found.sam_deg == pytest.approx(22.5, abs=1e-4)
    assert (found + found).mae == (found * 3).mae == found.mae
    assert ((found + found).pixels, (found * 3).pixels) == (4, 6)
    assert np.isnan(Errors().mae)


@pytest.mark.parametrize("mask", ["auto", "file"])
def test_the_mask_moves_with_its_clouds(mask: str, toy_model: Path, tmp_path: Path) -> None:
    """What a file or a classification says of a cloud holds for it where it is put, too."""
    dn = under(opacity(), ground())
    classes = np.where(opacity() > 0.8, 9, np.where(opacity() > 0, 8, 5)).astype(np.uint8)
    coords = {"scl": (("y", "x"), classes)} if mask == "auto" else {}
    write_raster(
        tmp_path / "m.tif",
        (opacity()[None] > 0).astype(np.uint8),
        transform=Affine(1, 0, 0, 0, 1, 0),
    )
    given = {} if mask == "auto" else {"mask": tmp_path / "m.tif"}
    cropper = cropper_of(as_scene(dn, **coords), toy_model, **given)
    (crop,) = cropper.read([Window(0, 0, SIDE, SIDE)])
    expected = clouds_of(classify(classes, "scl")) if mask == "auto" else (opacity() > 0)
    np.testing.assert_array_equal(crop.known, expected)
    scene, metadata, asked = cropper._scene(crop)
    np.testing.assert_array_equal(clouds_of(classify(scene.scl.values, "scl")), crop.known)
    assert (metadata.has_classes, asked.mask) == (True, "auto" if mask == "auto" else "scl")
    (restored,) = cropper.decloud([crop], with_references=False)
    assert (restored.codes[opacity() > 0] != Provenance.OBSERVED).all()
    found = check_scene(as_scene(dn, **coords), Options(model=toy_model, **given))
    assert found.kinds["replaced"].pixels > 100, found


@pytest.mark.parametrize("side", [300, 512, 1024, 1280, 2048, 3000, 10980])
def test_a_fifth_of_a_large_scene_at_most(side: int) -> None:
    grid = Grid(None, Affine.identity(), (side, side))
    windows, needed = plan_crops(grid)
    assert windows == plan_crops(grid)[0]
    assert len(set(windows)) == len(windows) >= needed
    for window in windows:
        assert 0 <= window.col_off <= window.col_off + window.width <= side
        assert 0 <= window.row_off <= window.row_off + window.height <= side
    if side <= 512:
        assert windows == [Window(0, 0, side, side)]
    else:
        looked_at = sum(window.width * window.height for window in windows)
        covered = needed * windows[0].width * windows[0].height
        assert looked_at + covered <= 0.2 * side**2


def run(*args: object) -> Any:
    return CliRunner().invoke(main, [str(arg) for arg in args])


def test_a_run_tells_it(scene: Path, toy_model: Path, tmp_path: Path) -> None:
    """In words, in tags and as JSON, the same each time; the pixels are those without it."""
    plain, out, more = (tmp_path / name for name in ("plain.tif", "out.tif", "more.tif"))
    geodecloud.decloud_scene(scene, plain, model=toy_model)
    done = run(scene, "-o", out, "--model", toy_model, "--self-check")
    assert done.exit_code == 0, done.output
    told = json.loads(run(scene, "-o", more, "--model", toy_model, "--self-check", "--json").stdout)
    with rasterio.open(plain) as before, rasterio.open(out) as after, rasterio.open(more) as again:
        np.testing.assert_array_equal(before.read(), after.read())
        assert "GEODECLOUD_SELF_CHECK" not in before.tags()
        tag = json.loads(after.tags()["GEODECLOUD_SELF_CHECK"])
        assert after.tags()["GEODECLOUD_PARAMETERS"] == before.tags()["GEODECLOUD_PARAMETERS"]
        assert json.loads(again.tags()["GEODECLOUD_SELF_CHECK"]) == tag == told["self_check"]
    error = tag["kinds"]["replaced"]
    assert error["pixels"] > 100
    assert 0 < error["mae"] < 1
    assert f"replaced {error['mae']:.4f}" in done.stderr
    assert verify_file(out, scene).ok


def test_an_array_tells_it(scene: Path, toy_model: Path) -> None:
    """The accessor says what a run does, lazily or not; a stack of dates is asked for one by one."""
    lazy = geodecloud.open_scene(scene)
    found = [one.geodecloud.self_check(model=toy_model) for one in (lazy, lazy.compute())]
    assert found[0] == found[1]
    assert found[0].replaced is not None
    with pytest.raises(OptionError, match="one by one"):
        xr.concat([lazy, lazy], "time").geodecloud.self_check(model=toy_model)


@pytest.mark.parametrize(
    ("cloud", "reason"),
    [(np.zeros((SIDE, SIDE)), "no cloud"), (np.full((SIDE, SIDE), 0.6), "25 % is clear")],
)
def test_where_nothing_can_be_told_it_says_why(
    cloud: np.ndarray, reason: str, toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crops_module, "decloud", KnowingNetwork(0.01, 0.03))
    found = check_scene(as_scene(under(cloud, ground())), Options(model=with_map(toy_model)))
    assert not found.kinds
    assert reason in found.reason
    assert found.as_dict()["reason"] in str(found)


def test_what_changes_nothing_has_no_error(scene: Path, tmp_path: Path) -> None:
    done = run(scene, "-o", tmp_path / "o.tif", "--model", "identity", "--self-check")
    assert done.exit_code == 0, done.output
    assert "nothing can be told: the identity model changes nothing" in done.stderr


def test_a_batch_has_it_in_its_summary(scene: Path, toy_model: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    scene.rename(folder / "scene.tif")
    for options in ([], ["--self-check"]):  # asked for later, the scene is done again
        done = run("batch", folder, "--out-dir", out, "--model", toy_model, *options)
        assert done.exit_code == 0, done.output
        (row,) = _rows(out / "summary.csv")
        assert bool(row["expected_error"]) == bool(options)
    with rasterio.open(out / "scene_decloud.tif") as src:
        tag = json.loads(src.tags()["GEODECLOUD_SELF_CHECK"])
    assert float(row["expected_error"]) == tag["kinds"]["replaced"]["mae"]


def _rows(path: Path) -> Sequence[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_other_dates_are_used_as_they_are_for_the_scene(toy_model: Path) -> None:
    """One that shows the very ground: what it fills has no error but its noise and of the fit."""
    dn = under(opacity(), ground())
    classes = np.where(opacity() > 0, 9, 4).astype(np.uint8)
    place = {"x": 5.0 + 10 * np.arange(SIDE), "y": 9995.0 - 10 * np.arange(SIDE)}
    scene = as_scene(dn, scl=(("y", "x"), classes), **place).rio.write_crs(32633)
    noise = np.random.default_rng(0).normal(0, 5, (4, SIDE, SIDE))
    clear = np.rint(ground() * 1e4 + noise).astype(np.uint16)
    other = as_scene(clear, scl=(("y", "x"), np.full_like(classes, 4)), **place)
    other = other.rio.write_crs(32633)
    asked = {"model": toy_model, "mask": "scl"}
    alone = check_scene(scene, Options(**asked)).kinds
    filled = check_scene(scene, Options(**asked, references=[other])).kinds
    assert (set(alone), set(filled)) == ({"synthesised", "replaced"}, {"other_date", "replaced"})
    assert filled["other_date"].mae < 0.002 < 10 * 0.002 < alone["synthesised"].mae
