"""Results are held against their scenes: what is whole passes, and each deliberate damage is named, with its place.

The damage is done by rasterio alone, and what it does is what must be found: nothing else may fail.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from click.testing import CliRunner, Result
from conftest import textured_dn, write_raster
from products import build_small
from rasterio.enums import ColorInterp
from rio_cogeo.cogeo import cog_validate
from shapely import box

import geodecloud
from geodecloud.backends.accelerators import has_accelerator
from geodecloud.batch.verify import verify_folder
from geodecloud.cli.commands import main
from geodecloud.errors import GeodecloudWarning, OptionError, SceneIOError
from geodecloud.options import FileOptions
from geodecloud.report import means, pixels, strips
from geodecloud.report.findings import Finding, State, Verification
from geodecloud.report.made_by import MadeBy
from geodecloud.report.means import Means
from geodecloud.report.reproduction import choose_windows
from geodecloud.report.verify import Depth, verify_file
from geodecloud.windows.tiler import Window

HEIGHT, WIDTH = 70, 110
NOTHING_AGAIN = Depth(windows=0)


def states(found: Verification) -> dict[str, set[State]]:
    checks: dict[str, set[State]] = {}
    for one in found.findings:
        checks.setdefault(one.check, set()).add(one.state)
    return checks


def checks_that(state: State, found: Verification) -> set[str]:
    return {check for check, seen in states(found).items() if state in seen}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, toy_model: Path) -> Path:
    """A scene with much to lose, its result as a plain GeoTIFF, which can be edited, and its provenance."""
    folder = tmp_path_factory.mktemp("desk")
    scene = write_raster(folder / "scene.tif", textured_dn(5, HEIGHT, WIDTH, nodata=0), nodata=0)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(scene, "r+") as dst:
        dst.descriptions = ("B02", "B03", "B04", "B08", "B11")
        dst.scales = (1e-4,) * 5
        dst.units = ("reflectance",) * 5
        dst.update_tags(MISSION="of the test")
        dst.update_tags(2, FILTER="green")
        dst.write_mask(np.indices((HEIGHT, WIDTH))[1] < WIDTH - 6)
    with pytest.warns(GeodecloudWarning, match="B11"):
        geodecloud.decloud_scene(
            scene,
            folder / "out.tif",
            model=toy_model,
            format="gtiff",
            provenance=folder / "codes.tif",
        )
    return folder


@pytest.fixture(scope="module")
def cog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene that is large enough for overviews, and its result as a COG."""
    folder = tmp_path_factory.mktemp("cog")
    scene = write_raster(folder / "scene.tif", textured_dn(2, 600, 60))
    geodecloud.decloud_scene(scene, folder / "out.tif", model="identity")
    return folder


def test_a_result_with_everything_passes(desk: Path) -> None:
    found = verify_file(desk / "out.tif", desk / "scene.tif", desk / "codes.tif")
    assert found.ok, str(found)
    assert checks_that(State.NOT_CHECKED, found) == {"cog"}  # it is none
    assert checks_that(State.OK, found) == {
        *("grid", "bands", "tags", "mask", "made by", "model"),
        *("nodata", "pixels", "bands passed", "provenance", "digest", "made again"),
    }
    again = next(one for one in found.findings if one.check == "made again")
    assert "largest difference 0 DN" in again.about
    with rasterio.open(desk / "codes.tif") as src:
        outside = np.isin(src.read(1), (0, 1, 4))
    assert (outside.mean() > 0.05) & (outside.mean() < 0.95)
    with rasterio.open(desk / "scene.tif") as src:
        expected = hashlib.sha256(np.moveaxis(src.read(), 0, -1)[outside].tobytes()).hexdigest()
    (digest,) = (one for one in found.findings if one.check == "digest")
    assert (digest.found, digest.expected) == (expected, expected)


def test_strips_say_what_the_whole_says(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than a strip is ever there, and hashes, counts and places are those of the whole."""
    pair = desk / "out.tif", desk / "scene.tif", desk / "codes.tif", NOTHING_AGAIN
    whole, seen = verify_file(*pair), []
    monkeypatch.setattr(strips, "_STRIP_BYTES", 1)
    take = pixels.Comparison.take

    def spy(self: pixels.Comparison, top: int, scene: np.ndarray, *more: object) -> None:
        seen.append((top, scene.shape[1]))
        take(self, top, scene, *more)

    monkeypatch.setattr(pixels.Comparison, "take", spy)
    assert verify_file(*pair) == whole
    assert seen == [(0, 64), (64, HEIGHT - 64)]


def test_without_provenance_what_cannot_be_told_is_said(desk: Path) -> None:
    found = verify_file(desk / "out.tif", desk / "scene.tif", depth=NOTHING_AGAIN)
    assert found.ok
    assert checks_that(State.NOT_CHECKED, found) == {"cog", "pixels", "provenance", "made again"}
    assert {"nodata", "bands passed"} <= checks_that(State.OK, found)


# --- deliberate damage ---------------------------------------------------------------------------------------------


def first(folder: Path, code: int) -> tuple[int, int]:
    """Row and column of a pixel of this code, not the first."""
    with rasterio.open(folder / "codes.tif") as src:
        places = np.argwhere(src.read(1) == code)
    row, col = places[len(places) // 2]
    return int(row), int(col)


def set_pixel(path: Path, band: int, row: int, col: int, change: Callable[[int], int]) -> None:
    with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as dst:
        values = dst.read(band)
        values[row, col] = change(int(values[row, col]))
        dst.write(values, band)


def rewrite(
    path: Path, drop: str = "", mask: bool = True, order: tuple[int, ...] = (), **profile: object
) -> None:
    """The file again, all of it, but for what is asked to be otherwise."""
    with rasterio.open(path) as src:
        image, own = src.read(order or None), src.dataset_mask()
        tags = {k: v for k, v in src.tags().items() if k != drop}
        band_tags = [src.tags(i) for i in src.indexes]
        said = src.descriptions, src.scales, src.offsets, src.units, src.colorinterp
        whole = src.profile | profile
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "w", **whole) as dst:
        dst.update_tags(**tags)
        for index, values in enumerate(band_tags, start=1):
            dst.update_tags(index, **values)
        dst.descriptions, dst.scales, dst.offsets, dst.units, dst.colorinterp = said
        dst.write(image.astype(whole["dtype"]))
        if mask:
            dst.write_mask(own)


def edit(**said: object) -> Callable[[Path], None]:
    """Something the file says of itself, said otherwise."""

    def damage(folder: Path) -> None:
        with rasterio.open(folder / "out.tif", "r+") as dst:
            for name, value in said.items():
                setattr(dst, name, value)

    return damage


def retag(**tags: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        with rasterio.open(folder / "out.tif", "r+") as dst:
            dst.update_tags(**tags)

    return damage


def retag_band(folder: Path) -> None:
    with rasterio.open(folder / "out.tif", "r+") as dst:
        dst.update_tags(2, FILTER="red")


def again(**changes: object) -> Callable[[Path], None]:
    return lambda folder: rewrite(folder / "out.tif", **changes)  # type: ignore[arg-type]


def pixel(code: int, band: int, change: Callable[[int], int]) -> Callable[[Path], None]:
    return lambda folder: set_pixel(folder / "out.tif", band, *first(folder, code), change)


def recode(code: int, to: int) -> Callable[[Path], None]:
    return lambda folder: set_pixel(folder / "codes.tif", 1, *first(folder, code), lambda _: to)


def seam(folder: Path) -> None:
    """A step of 3 DN within restored ground."""
    with rasterio.open(folder / "codes.tif") as src:
        restored = src.read(1) == 2
    restored[:, : WIDTH // 2] = False
    with rasterio.open(folder / "out.tif", "r+") as dst:
        dst.write(dst.read(3) + 3 * restored.astype(np.uint16), 3)


def lose_mask_pixel(folder: Path) -> None:
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(folder / "out.tif", "r+") as dst:
        mask = dst.dataset_mask()
        mask[33, 44] = 0
        dst.write_mask(mask)


def crop(folder: Path) -> None:
    rasterio.shutil.copy(folder / "out.tif", folder / "whole.tif", driver="GTiff")
    with rasterio.open(folder / "whole.tif") as src:
        profile = src.profile | {"height": HEIGHT - 1}
        image = src.read()[:, :-1]
    with rasterio.open(folder / "out.tif", "w", **profile) as dst:
        dst.write(image)


def cut_off(folder: Path) -> None:
    path = folder / "out.tif"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def move_codes(folder: Path) -> None:
    with rasterio.open(folder / "codes.tif", "r+") as dst:
        dst.transform = dst.transform @ Affine.translation(1, 0)


#: name -> (damage, checks that fail, what the first of them says)
DAMAGE: dict[str, tuple[Callable[[Path], None], set[str], dict[str, object]]] = {
    "clear pixel changed by 1 DN": (
        pixel(1, 2, lambda v: v + 1),
        {"pixels", "digest"},
        {"band": 2, "place": 1, "count": 1},
    ),
    "left as it was, and is not": (
        recode(2, 4),
        {"pixels", "digest"},
        {"place": 2},
    ),
    "seam of 3 DN": (seam, {"made again"}, {"band": 3, "words": "a difference of 3 DN"}),
    "nodata pixel filled": (
        pixel(0, 4, lambda v: 777),
        {"nodata", "digest"},
        {"band": 4, "place": 0, "found": "777", "words": "without data changed"},
    ),
    "valid pixel made nodata": (
        pixel(2, 1, lambda v: 0),
        {"nodata"},
        {"band": 1, "place": 2, "found": "0", "words": "became no data"},
    ),
    "passing band changed": (
        pixel(2, 5, lambda v: v + 1),
        {"bands passed"},
        {"band": 5, "place": 2},
    ),
    "bands swapped": (again(order=(2, 1, 3, 4, 5)), {"nodata", "pixels", "digest"}, {"band": 1}),
    "crs swapped": (
        edit(crs=rasterio.CRS.from_epsg(32718)),
        {"grid"},
        {"words": "crs", "found": "EPSG:32718", "expected": "EPSG:32719"},
    ),
    "transform moved": (
        edit(transform=Affine(10, 0, 399965, 0, -10, 6300040)),
        {"grid"},
        {"words": "transform"},
    ),
    "a row lost": (crop, {"grid", "bands", "tags", "mask", "made by"}, {"words": "shape"}),
    "wrong nodata": (edit(nodata=65535), {"bands"}, {"words": "nodata", "expected": "0"}),
    "dtype changed": (again(dtype="int32"), {"bands"}, {"words": "dtypes"}),
    "scale changed": (
        edit(scales=(1e-4, 1e-4, 1e-3, 1e-4, 1e-4)),
        {"bands"},
        {"band": 3, "words": "scales", "found": "0.001", "expected": "0.0001"},
    ),
    "description changed": (
        edit(descriptions=("B02", "B03", "B04", "NIR", "B11")),
        {"bands"},
        {"band": 4, "found": "NIR", "expected": "B08"},
    ),
    "unit lost": (
        edit(units=("", *("reflectance",) * 4)),
        {"bands"},
        {"band": 1, "words": "units"},
    ),
    "tag of the scene removed": (
        again(drop="MISSION"),
        {"tags"},
        {"tag": "MISSION", "found": None, "expected": "of the test"},
    ),
    "tag of a band changed": (
        retag_band,
        {"tags"},
        {"tag": "FILTER", "found": "red", "expected": "green"},
    ),
    "tag of the model removed": (
        again(drop="GEODECLOUD_MODEL"),
        {"made by"},
        {"tag": "GEODECLOUD_MODEL"},
    ),
    "wrong hash of the weights": (
        retag(GEODECLOUD_WEIGHTS_SHA256="0" * 64),
        {"model"},
        {"tag": "GEODECLOUD_WEIGHTS_SHA256", "found": "0" * 64},
    ),
    "parameters that are no JSON": (
        retag(GEODECLOUD_PARAMETERS="{"),
        {"made by"},
        {"tag": "GEODECLOUD_PARAMETERS"},
    ),
    "another source": (
        retag(GEODECLOUD_SOURCE="other.tif"),
        {"made by"},
        {"tag": "GEODECLOUD_SOURCE", "found": "other.tif", "expected": "scene.tif"},
    ),
    "references out of nowhere": (
        retag(GEODECLOUD_REFERENCES='{"june.tif": "2023-06-01"}'),
        {"made by"},
        {"tag": "GEODECLOUD_REFERENCES", "found": "june.tif"},
    ),
    "code of a restored pixel flipped": (recode(2, 1), {"pixels", "digest"}, {"place": 2}),
    "clear pixel said to be restored": (
        recode(1, 2),
        {"made again"},
        {"place": 1, "found": "2", "expected": "1", "words": "another code"},
    ),
    "code 5 without references": (
        recode(2, 5),
        {"provenance"},
        {"place": 2, "found": "5", "words": "the tags name none"},
    ),
    "code that does not exist": (
        recode(1, 9),
        {"provenance"},
        {"place": 1, "found": "9", "words": "no such code"},
    ),
    "code 1 where there is no data": (
        recode(0, 1),
        {"provenance"},
        {"place": 0, "words": "no code 0 where there is no data"},
    ),
    "code 0 where there is data": (
        recode(1, 0),
        {"provenance"},
        {"place": 1, "words": "code 0 where there is data"},
    ),
    "provenance beside its place": (move_codes, {"provenance"}, {"words": "transform"}),
    "mask lost": (again(mask=False), {"mask"}, {"found": "none"}),
    "pixel of the mask lost": (
        lose_mask_pixel,
        {"mask"},
        {"row": 33, "col": 44, "found": "False", "expected": "True"},
    ),
    "cut off": (cut_off, {"file"}, {}),
}


def fits(finding: Finding, said: dict[str, object], folder: Path) -> bool:
    """Whether a finding says what it should, and names the place."""
    expected = dict(said)
    text = str(expected.pop("words", ""))
    if "place" in expected:
        expected["row"], expected["col"] = first(folder, int(str(expected.pop("place"))))
    found = {name: getattr(finding, name) for name in expected}
    return found == expected and text in finding.about


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_found_and_named(name: str, desk: Path, tmp_path: Path) -> None:
    damage, checks, said = DAMAGE[name]
    for file in ("out.tif", "codes.tif"):
        shutil.copy(desk / file, tmp_path / file)
    damage(tmp_path)
    depth = Depth(windows=int("made again" in checks))
    found = verify_file(tmp_path / "out.tif", desk / "scene.tif", tmp_path / "codes.tif", depth)
    assert {one.check for one in found.failed} == checks, str(found)
    assert any(fits(one, said, desk) for one in found.failed), str(found)
    # the failures stand last
    lines = str(found).splitlines()
    assert all(line.startswith("failed") for line in lines[-len(found.failed) :])


def test_writing_a_file_again_is_no_damage(desk: Path, tmp_path: Path) -> None:
    """What the damage above is done with does none itself."""
    shutil.copy(desk / "out.tif", tmp_path / "out.tif")
    rewrite(tmp_path / "out.tif")
    args = tmp_path / "out.tif", desk / "scene.tif", desk / "codes.tif", NOTHING_AGAIN
    assert verify_file(*args).ok


def test_a_band_that_says_nothing_of_its_colour_may_be_grey(tmp_path: Path) -> None:
    """A GeoTIFF cannot say nothing; any other colour is still wrong."""
    write_raster(tmp_path / "scene.tif", textured_dn(1, 60, 50))
    scene, out = tmp_path / "scene.vrt", tmp_path / "out.tif"
    rasterio.shutil.copy(tmp_path / "scene.tif", scene, driver="VRT")
    scene.write_text(scene.read_text().replace("<ColorInterp>Gray</ColorInterp>", ""))
    with rasterio.open(scene) as src:
        assert src.colorinterp == (ColorInterp.undefined,)
    geodecloud.decloud_scene(scene, out, model="identity", format="gtiff")
    assert verify_file(out, scene, depth=NOTHING_AGAIN).ok
    with rasterio.open(out, "r+") as dst:
        dst.colorinterp = (ColorInterp.red,)
    (wrong,) = verify_file(out, scene, depth=NOTHING_AGAIN).failed
    assert (wrong.check, wrong.band) == ("bands", 1)


def test_tags_say_what_ran_the_network_beside_what_was_asked_for(desk: Path) -> None:
    with rasterio.open(desk / "out.tif") as src:
        tags = src.tags()
    asked = json.loads(tags["GEODECLOUD_PARAMETERS"])
    assert (asked["device"], asked["precision"]) == ("auto", "auto")
    said = json.loads(tags["GEODECLOUD_COMPUTED"])
    if not has_accelerator():
        assert said == {"backend": "torch", "device": "cpu", "precision": "fp32"}


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (
            {"backend": "torch", "device": "cuda:1", "precision": "fp16"},
            "made in fp16 on cuda, and again in fp32 on cpu",
        ),
        (
            {"backend": "torch", "device": "mps", "precision": "fp32"},
            "made in fp32 on mps, and again in fp32 on cpu",
        ),
        (
            {"backend": "torch", "device": "cpu", "precision": "bf16"},
            "made in bf16 on cpu, where windows round otherwise",
        ),
        ({"backend": "openvino", "device": "auto", "precision": "auto"}, ""),  # of a cluster
        ([1], ""),
    ],
)
def test_what_other_means_made_is_told_and_not_judged(
    said: object, why: str, desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A seam of 3 DN fails where the same means are here, and else is told with its place."""
    monkeypatch.setattr(means, "_is_here", lambda kind: False)
    for file in ("out.tif", "codes.tif"):
        shutil.copy(desk / file, tmp_path / file)
    seam(tmp_path)
    retag(GEODECLOUD_COMPUTED=json.dumps(said))(tmp_path)
    about = tmp_path / "out.tif", desk / "scene.tif", tmp_path / "codes.tif", Depth(windows=1)
    (again,) = (one for one in verify_file(*about).findings if one.check == "made again")
    assert again.state == (State.NOT_CHECKED if why else State.FAILED), str(again)
    assert why in again.about
    assert again.row is not None


def test_what_is_made_again_runs_on_what_it_ran_on_where_that_is_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(means, "_is_here", lambda kind: kind == "cuda")
    asked = FileOptions(device="auto", precision="auto")
    tag = json.dumps({"backend": "torch", "device": "cuda:3", "precision": "fp32"})
    made = Means.of({"GEODECLOUD_COMPUTED": tag}, asked)
    assert made.here() == Means("torch", "cuda", "fp32")
    assert not made.doubt()
    assert Means.of({}, FileOptions(device="mps")).doubt()  # of a version that does not say
    assert not Means.of({}, asked).doubt()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert Means("openvino", "cpu", "fp32").here() == Means("torch", "cpu", "fp32")


def without_overviews(path: Path) -> None:
    whole = path.rename(path.with_name("whole.tif"))
    rasterio.shutil.copy(whole, path, driver="COG", OVERVIEWS="NONE", COPY_SRC_MDD="YES")


def edited(path: Path) -> None:
    with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as dst:
        dst.write(dst.read(1), 1)


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (None, ""),
        (without_overviews, "it has no overviews"),
        (edited, "edited after it was written"),
    ],
)
def test_layout_of_a_cog(
    damage: Callable[[Path], None] | None, text: str, cog: Path, tmp_path: Path
) -> None:
    """rio-cogeo is of the same opinion; it only warns of missing overviews."""
    path = tmp_path / "out.tif"
    shutil.copy(cog / "out.tif", path)
    if damage is not None:
        damage(path)
    found = verify_file(path, cog / "scene.tif", depth=NOTHING_AGAIN)
    _, errors, warnings = cog_validate(path, quiet=True)
    assert (not errors and not warnings) == found.ok == (damage is None)
    if damage is not None:
        assert [(one.check, text in one.about) for one in found.failed] == [("cog", True)]


def test_a_cog_that_is_cut_off(cog: Path, tmp_path: Path) -> None:
    path = tmp_path / "out.tif"
    path.write_bytes((cog / "out.tif").read_bytes()[:-2000])
    found = verify_file(path, cog / "scene.tif", depth=NOTHING_AGAIN)
    (wrong,) = found.failed
    assert (wrong.check, wrong.row is not None) == ("file", True)
    assert "cut off or damaged" in wrong.about


# --- kinds of results ----------------------------------------------------------------------------------------------


def test_floats_with_nan(toy_model: Path, tmp_path: Path) -> None:
    values = textured_dn(4, 60, 80).astype(np.float32) / 10000
    values[:, :20, :30] = np.nan
    values[2, 40, 40] = np.nan
    scene = write_raster(tmp_path / "scene.tif", values, nodata=np.nan)
    out, codes = tmp_path / "out.tif", tmp_path / "codes.tif"
    geodecloud.decloud_scene(scene, out, model=toy_model, provenance=codes)
    assert verify_file(out, scene, codes).ok
    with rasterio.open(out) as src:
        values = src.read()
    values[1, 5, 6] = 0.25
    with rasterio.open(codes) as src:
        row, col = np.argwhere(src.read(1) == 2)[0]
    values[3, row, col] += 3e-4
    rewrite_pixels(out, values)
    wrong = {one.check: one for one in verify_file(out, scene, codes).failed}
    assert (wrong["nodata"].row, wrong["nodata"].col, wrong["nodata"].band) == (5, 6, 2)
    again = wrong["made again"]  # the filled pixel is the largest difference
    assert (again.row, again.col, again.count) == (5, 6, 2)


def rewrite_pixels(path: Path, values: np.ndarray) -> None:
    with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as dst:
        dst.write(values)


def test_a_product_with_a_file_for_each_band(toy_model: Path, tmp_path: Path) -> None:
    name = "S2A_MSIL2A_20230625T104621_N0509_R051_T33UXQ_20230625T170000.SAFE"
    product = build_small(tmp_path / name, size=60, offsets=dict.fromkeys(range(13), -1000))
    out, codes = tmp_path / "x_decloud", tmp_path / "x_provenance.tif"
    geodecloud.decloud_scene(product, out, model=toy_model, layout="bands", provenance=codes)
    found = verify_file(out, product)  # the provenance raster is found by its name
    assert found.ok, str(found)
    assert "provenance" in checks_that(State.OK, found)
    changed = next(out.glob("*_B03_10m.tif"))
    set_pixel(changed, 1, *np.argwhere(rasterio.open(codes).read(1) == 1)[0], lambda v: v + 1)
    with rasterio.open(changed, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as dst:
        dst.scales = (1.0,)
    found = verify_file(out, product, depth=NOTHING_AGAIN)
    wrong = {one.check: one for one in found.failed}
    assert set(wrong) == {"pixels", "digest", "bands", "cog"}
    assert wrong["pixels"].band == 2
    assert wrong["bands"].file == wrong["cog"].file == changed.name
    changed.unlink()
    (gone,) = verify_file(out, product).failed
    assert (gone.check, changed.name in gone.about) == ("file", True)


def test_identity_and_a_mask_of_the_users(toy_model: Path, tmp_path: Path) -> None:
    """Where the parameters name a mask, pixels outside it are known without a provenance raster."""
    scene = write_raster(tmp_path / "scene.tif", textured_dn(4, 60, 80, nodata=0), nodata=0)
    clouds = np.zeros((1, 60, 80), np.uint8)
    clouds[:, 20:40, 30:60] = 1
    mask = write_raster(tmp_path / "clouds.tif", clouds)
    for model in ("identity", toy_model):
        out = tmp_path / f"{Path(model).stem}.tif"
        geodecloud.decloud_scene(scene, out, model=model, mask=mask)
        found = verify_file(out, scene)
        assert found.ok, str(found)
        assert {"pixels", "digest"} <= checks_that(State.OK, found)
        set_pixel(out, 1, 50, 50, lambda v: v + 1)
        wrong = {one.check: one for one in verify_file(out, scene, depth=NOTHING_AGAIN).failed}
        assert set(wrong) == {"pixels", "digest", "cog"}
        assert (wrong["pixels"].band, wrong["pixels"].row, wrong["pixels"].col) == (1, 50, 50)


def test_outside_the_area_of_interest(toy_model: Path, tmp_path: Path) -> None:
    scene = write_raster(tmp_path / "scene.tif", textured_dn(4, 60, 80, nodata=0), nodata=0)
    outline = box(399960, 6300040 - 600, 399960 + 400, 6300040)  # columns 0 to 39
    aoi, out = tmp_path / "area.gpkg", tmp_path / "out.tif"
    geopandas.GeoDataFrame(geometry=[outline], crs=32719).to_file(aoi)
    geodecloud.decloud_scene(scene, out, model=toy_model, mask="none", aoi=aoi)
    found = verify_file(out, scene)
    assert found.ok, str(found)
    assert "pixels" in checks_that(State.OK, found)
    set_pixel(out, 4, 50, 40, lambda v: v + 1)
    wrong = {one.check: one for one in verify_file(out, scene, depth=NOTHING_AGAIN).failed}
    assert (wrong["pixels"].band, wrong["pixels"].row, wrong["pixels"].col) == (4, 50, 40)


#: Real files with what no test can make up: points, rotation, alpha, palette, NaN, masks beside them.
ODD = ("mapchete_gcps", "rotated", "RGBA.uint16", "float_nan", "image_colormap", "test_rpcs")


@pytest.mark.parametrize(
    ("name", "layout"), [*((name, "stack") for name in ODD), ("RGBA.uint16", "bands")]
)
def test_real_files(name: str, layout: str, real_data: Path, tmp_path: Path) -> None:
    files = real_data.glob(f"conformance/*/{name}*.tif")
    path = next((file for file in files if file.is_file()), None)
    if path is None:
        pytest.skip(f"GEODECLOUD_TEST_DATA holds no conformance file {name}")
    out, codes = tmp_path / "x_decloud", tmp_path / "x_provenance.tif"
    out = out if layout == "bands" else out.with_suffix(".tif")
    geodecloud.decloud_scene(
        path, out, model="identity", mask="none", layout=layout, provenance=codes
    )
    found = verify_file(out, path, depth=Depth(windows=1))
    assert found.ok, str(found)
    assert {"grid", "pixels", "provenance", "made again", "cog"} <= checks_that(State.OK, found)


def test_what_cannot_be_made_again_is_no_fault(toy_model: Path, tmp_path: Path) -> None:
    model = shutil.copy(toy_model, tmp_path / "mine.safetensors")
    scene = write_raster(tmp_path / "scene.tif", textured_dn(4, 60, 80, nodata=0), nodata=0)
    out, codes = tmp_path / "out.tif", tmp_path / "codes.tif"
    geodecloud.decloud_scene(scene, out, model=model, provenance=codes)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for file in (scene, out, codes, Path(model)):
        file.rename(moved / file.name)
    args = moved / "out.tif", moved / "scene.tif", moved / "codes.tif"
    assert "made again" in checks_that(State.OK, verify_file(*args))  # found beside the result
    (moved / "mine.safetensors").unlink()
    found = verify_file(*args)
    assert found.ok
    assert checks_that(State.NOT_CHECKED, found) == {"model", "bands passed", "made again"}
    (again,) = (one for one in found.findings if one.check == "made again")
    assert "mine.safetensors" in again.about


def test_other_dates(toy_model: Path, tmp_path: Path) -> None:
    scene, other = (
        write_raster(tmp_path / f"{name}.tif", textured_dn(4, 70, 90, seed), nodata=0)
        for seed, name in enumerate(("scene_20230601", "other_20230610"))
    )
    out, codes = tmp_path / "out.tif", tmp_path / "codes.tif"
    geodecloud.decloud_scene(scene, out, model=toy_model, references=[other], provenance=codes)
    found = verify_file(out, scene, codes)
    assert found.ok, str(found)
    assert "made again" in checks_that(State.OK, found)
    other.unlink()
    found = verify_file(out, scene, codes)
    assert found.ok
    assert "made again" in checks_that(State.NOT_CHECKED, found)


# --- doors ---------------------------------------------------------------------------------------------------------


def invoke(*args: object) -> Result:
    return CliRunner().invoke(main, ["verify", *map(str, args)])


def test_the_command(desk: Path, tmp_path: Path) -> None:
    words = ("--source", desk / "scene.tif", "--provenance", desk / "codes.tif", "--windows", 0)
    done = invoke(desk / "out.tif", *words, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["ok"] is True
    shutil.copy(desk / "out.tif", tmp_path / "out.tif")
    row, col = first(desk, 1)
    set_pixel(tmp_path / "out.tif", 2, row, col, lambda v: v + 1)
    done = invoke(tmp_path / "out.tif", *words)
    assert (done.exit_code, done.stderr) == (1, "")
    assert f"band 2, row {row}, column {col}: changed" in done.stdout
    assert invoke(tmp_path / "gone.tif", *words).exit_code == 1
    assert "does not exist" in invoke(tmp_path / "gone.tif", *words).stderr
    assert invoke(desk / "out.tif").exit_code == 2
    assert invoke(desk / "out.tif", *words, "--sample", 2).exit_code == 2


def test_a_batch(tmp_path: Path) -> None:
    root, out = tmp_path / "in", tmp_path / "out"
    (root / "deep").mkdir(parents=True)
    for name, seed in (("a", 0), ("deep/b", 1), ("c", 2)):
        write_raster(root / f"{name}.tif", textured_dn(4, 40, 50, seed, nodata=0), nodata=0)
    (root / "d.tif").write_text("no raster")
    report = geodecloud.decloud_folder(root, out, model="identity", provenance=True)
    assert report.count("done") == 3
    found = verify_folder(out, root)
    assert found.ok, [str(result) for result in found.results]
    assert found.recorded == len(found.results) == 3
    assert all("provenance" in checks_that(State.OK, result) for result in found.results)
    sampled = verify_folder(out, root, sample=1, depth=NOTHING_AGAIN)
    assert (len(sampled.results), sampled.recorded) == (1, 3)
    set_pixel(out / "deep/b_decloud.tif", 3, 30, 31, lambda v: v + 1)
    (root / "c.tif").unlink()
    done = invoke(out, "--source", root, "--json", "--windows", 0)
    said = json.loads(done.stdout)
    assert (done.exit_code, said["ok"]) == (1, False)
    assert [result["ok"] for result in said["results"]] == [True, False, False]
    by_name = {Path(result["out"]).name: result for result in said["results"]}
    wrong = [f for f in by_name["b_decloud.tif"]["findings"] if f["state"] == "failed"]
    places = {f["check"]: (f.get("band"), f.get("row"), f.get("col")) for f in wrong}
    assert places["pixels"] == (3, 30, 31)
    assert "is not among those of the source" in json.dumps(by_name["c_decloud.tif"])
    (root / "a.tif").unlink()
    lines = invoke(out, "--source", root, "--windows", 0).stdout.splitlines()
    assert lines[-1] == "3 of 3 results looked at, 3 failed"


def test_what_is_no_batch(tmp_path: Path) -> None:
    with pytest.raises(SceneIOError, match="no journal of a batch"):
        verify_folder(tmp_path, tmp_path)
    with pytest.raises(OptionError, match="sample is at least 1"):
        verify_folder(tmp_path, tmp_path, sample=0)
    with pytest.raises(OptionError, match="windows is 0 or more"):
        Depth(windows=-1)


def test_windows_lie_where_something_changed() -> None:
    changed = np.zeros((9, 13), bool)
    changed[2, 5] = changed[7, 0] = True
    extent = Window(0, 0, 13 * 256 - 100, 9 * 256 - 3)
    windows = choose_windows(changed, extent, 3, seed=1)
    assert windows == choose_windows(changed, extent, 3, seed=1)
    assert windows != choose_windows(changed, extent, 3, seed=2)
    assert len(windows) == 3
    for window in windows:
        assert window.shape_yx == (256, 256)
        assert window == window.grow(0, extent)
    for row, col in ((2, 5), (7, 0)):
        cell = Window(col * 256, row * 256, 256, 256)
        assert any(cell.intersects(window) for window in windows[:2])
    assert len(choose_windows(np.ones((1, 1), bool), Window(0, 0, 90, 40), 5, 0)) == 1


def test_files_that_tags_name_may_have_names_that_no_disk_takes(tmp_path: Path) -> None:
    said = {"model": "identity", "references": ["a" * 5000], "aoi": "b" * 5000}
    made = MadeBy.of({"GEODECLOUD_PARAMETERS": json.dumps(said)}, [tmp_path])
    assert made.options is not None
    assert made.options.references == ("a" * 5000,)
