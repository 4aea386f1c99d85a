"""Folders of scenes: found once, done once, and done again after any kill."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import logging
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
from click.testing import CliRunner, Result
from conftest import textured_dn, write_raster
from products import build_small, zip_product
from rasterio.errors import RasterioIOError
from rasterio.transform import from_origin
from shapely import box
from waiting import journalled, wait_while

import geodecloud
from geodecloud.batch.discovery import find_scenes
from geodecloud.batch.summary import Outcome
from geodecloud.cli.commands import main
from geodecloud.decloud_file import decloud_file
from geodecloud.errors import OptionError, SceneError, SceneIOError
from geodecloud.raster.input_files import fingerprint
from geodecloud.raster.temporaries import LOCK, part_folder
from geodecloud.scene.footprint import lonlat_footprint
from geodecloud.scene.grid import Grid

SMALL = 60


def safe_name(number: int, tile: str = "T33UXQ") -> str:
    return f"S2A_MSIL2A_202306{number:02d}T104621_N0509_R051_{tile}_202306{number:02d}T170000.SAFE"


def batch(*args: object) -> Result:
    return CliRunner().invoke(main, ["batch", *map(str, args)])


def tree(folder: Path) -> dict[str, str]:
    """Every visible file below a folder, with the hash of its content."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(p.startswith(".") for p in path.relative_to(folder).parts)
    }


@pytest.fixture(scope="module")
def twelve(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve scenes: ten that can be done, one cut off, one without its document."""
    root = tmp_path_factory.mktemp("tiles")
    offsets = dict.fromkeys(range(13), -1000)
    for number in range(1, 7):
        folder = root / ("june" if number % 2 else "more/deep")
        build_small(folder / safe_name(number), size=SMALL, seed=number, offsets=offsets)
    build_small(root / safe_name(7, "T32UPU"), epsg=32632, size=SMALL, offsets=offsets)
    zipped = build_small(root / "tmp" / safe_name(8), size=SMALL, seed=8, offsets=offsets)
    zip_product(zipped, root / f"{safe_name(8)}.zip")
    shutil.rmtree(root / "tmp")
    cut = build_small(root / safe_name(9), size=SMALL, offsets=offsets)
    band = next(cut.rglob("*_B04_10m.jp2"))
    band.write_bytes(band.read_bytes()[: band.stat().st_size // 2])
    lost = build_small(root / safe_name(10), size=SMALL)
    (lost / "MTD_MSIL2A.xml").unlink()
    for number in (1, 2):
        dn = textured_dn(4, 50, 70, seed=number)
        write_raster(root / f"plain{number}.tif", dn, nodata=0)
    return root


def test_twelve_scenes_of_all_kinds(twelve: Path, toy_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "clear"
    before = tree(twelve)
    # one is done already
    done = safe_name(3)
    first = batch(twelve, "--out-dir", out, "--model", toy_model, "--pattern", done)
    assert first.exit_code == 0, first.output
    result = batch(twelve, "--out-dir", out, "--model", toy_model, "--json", "-q")
    assert result.exit_code == 1
    outcomes = json.loads(result.stdout)["outcomes"]
    states = [outcome["state"] for outcome in outcomes]
    assert sorted(states) == ["done"] * 9 + ["failed"] * 2 + ["skipped"]
    assert len(list(out.rglob("*_decloud.tif"))) == 10
    by_name = {Path(outcome["scene"]).name: outcome for outcome in outcomes}
    assert by_name[done]["state"] == "skipped"
    assert "may be cut off or damaged" in by_name[safe_name(9)]["reason"]
    assert "_B04_10m.jp2" in by_name[safe_name(9)]["reason"]
    assert "has lost its product metadata" in by_name[safe_name(10)]["reason"]
    # results lie as the scenes do, and are what a single run makes
    stem = safe_name(1).removesuffix(".SAFE")
    geodecloud.decloud_scene(
        twelve / "june" / safe_name(1), tmp_path / "single.tif", model=toy_model
    )
    ours = (out / "june" / f"{stem}_decloud.tif").read_bytes()
    assert ours == (tmp_path / "single.tif").read_bytes()
    zones = {rasterio.open(path).crs.to_epsg() for path in out.rglob("S2A*_decloud.tif")}
    assert zones == {32632, 32633}
    assert tree(twelve) == before  # inputs are only read


def test_summary_and_footprints(twelve: Path, toy_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "clear"
    result = batch(*(twelve, "--out-dir", out, "--model", toy_model, "--provenance", "--cloud-map"))
    assert "2 failed" in result.stdout.splitlines()[-1]
    with (out / "summary.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    frame = geopandas.read_file(out / "footprints.gpkg")
    assert frame.crs.to_epsg() == 4326
    assert frame.state.tolist() == [row["state"] for row in rows]
    for row, outline in zip(rows, frame.geometry, strict=True):
        if row["state"] != "done":
            continue
        with rasterio.open(out / row["out"].replace("_decloud", "_provenance")) as src:
            codes = np.bincount(src.read(1).ravel(), minlength=5)
            here = geopandas.GeoSeries([outline], crs=4326).to_crs(src.crs).iloc[0]
            np.testing.assert_allclose(here.bounds, src.bounds, atol=0.5)
        assert int(row["valid_px"]) == codes[1:].sum()
        assert float(row["restored"]) == pytest.approx(codes[2] / codes[1:].sum(), abs=1e-6)
    # the second run changes nothing but says what it left alone
    before = tree(out)
    again = batch(twelve, "--out-dir", out, "--model", toy_model, "--provenance", "--cloud-map")
    assert "10 skipped" in again.stdout
    assert again.exit_code == 1
    after = tree(out)
    del before["footprints.gpkg"], after["footprints.gpkg"]  # holds the time of writing
    assert before == after


@pytest.mark.parametrize("change", ["pixels", "document", "option", "result"])
def test_only_what_changed_is_done_again(change: str, toy_model: Path, tmp_path: Path) -> None:
    root, out = tmp_path / "in", tmp_path / "out"
    products = [build_small(root / safe_name(n), size=SMALL, seed=n) for n in (1, 2)]
    options = {"model": toy_model}
    assert geodecloud.decloud_folder(root, out, **options).count("done") == 2
    assert geodecloud.decloud_folder(root, out, workers=1, **options).count("skipped") == 2
    if change == "pixels":
        band = next(products[0].rglob("*_B03_10m.jp2"))
        shutil.copy(next(products[0].rglob("*_B04_10m.jp2")), band)
    elif change == "document":
        document = products[0] / "MTD_MSIL2A.xml"
        when = document.stat()
        document.write_text(document.read_text().replace("05.09", "05.08"))
        os.utime(document, ns=(when.st_atime_ns, when.st_mtime_ns))
    elif change == "result":
        next(out.glob("*T104621*_decloud.tif")).write_bytes(b"II*")
    expected = 2 if change == "option" else 1
    report = geodecloud.decloud_folder(root, out, strict=change == "option", **options)
    assert report.count("done") == expected
    assert report.count("skipped") == 2 - expected


def test_dry_run_writes_nothing(twelve: Path, tmp_path: Path) -> None:
    result = batch(twelve, "--out-dir", tmp_path / "out", "--dry-run", "--model", "identity")
    assert "11 to do" in result.stdout  # that a band is cut off shows when it is read
    assert result.exit_code == 1
    assert list(tmp_path.iterdir()) == []


def test_copies_are_done_once(tmp_path: Path) -> None:
    root = tmp_path / "in"
    product = build_small(root / "a" / safe_name(1), size=SMALL)
    zip_product(product, root / f"{safe_name(1)}.zip")
    shutil.copytree(product, root / "b" / safe_name(1))
    scene = write_raster(root / "scene.tif", textured_dn(4, 30, 40))
    os.symlink(scene, root / "link.tif")
    os.symlink(root, root / "a" / "loop", target_is_directory=True)
    report = geodecloud.decloud_folder(root, tmp_path / "out", model="identity")
    assert [outcome.state for outcome in report.outcomes].count("copy") == 3
    assert report.count("done") == 2
    assert all("the same as" in o.reason for o in report.outcomes if o.state == "copy")


def loose_bands(folder: Path, seed: int = 0) -> Path:
    """Files of single bands, as providers lay them out, without any document."""
    folder.mkdir(parents=True)
    for number, band in enumerate(("B02", "B03", "B04", "B08")):
        write_raster(folder / f"{band}.tif", textured_dn(1, 30, 40, seed=seed + number))
    return folder


def test_folders_of_one_name_without_documents_are_no_copies(tmp_path: Path) -> None:
    """Providers call them after dates, or 0: neither tile nor day is in the name."""
    for tile, date in (
        ("T33UXQ", "2023-06-25"),
        ("T33UUP", "2023-06-25"),
        ("T33UXQ", "2023-06-30"),
    ):
        loose_bands(tmp_path / "in" / tile / date)
    scenes = find_scenes([tmp_path / "in"])
    assert [(scene.name, scene.twin) for scene in scenes] == [
        ("2023-06-25", None),
        ("2023-06-25", None),
        ("2023-06-30", None),
    ]


def test_bands_beside_scenes_hide_none(tmp_path: Path) -> None:
    root = loose_bands(tmp_path / "in")
    build_small(root / safe_name(1), size=SMALL)
    zipped = build_small(tmp_path / safe_name(2), size=SMALL)
    zip_product(zipped, root / "later.zip")
    loose_bands(root / "clear")  # such as --layout bands writes
    names = [scene.name for scene in find_scenes([root])]
    assert names == ["in", safe_name(1).removesuffix(".SAFE"), "clear", "later"]
    assert len(geodecloud.open_scene(root)) == 4
    landsat = tmp_path / "landsat"
    landsat.mkdir()
    for band in ("B10", "B11"):
        write_raster(landsat / f"LC08_L1TP_T1_{band}.TIF", textured_dn(1, 30, 40))
    assert len(find_scenes([landsat])) == 2


@pytest.mark.parametrize("damage", ["empty", "cut off"])
def test_a_damaged_copy_does_not_block_the_good_one(damage: str, tmp_path: Path) -> None:
    root, out = tmp_path / "in", tmp_path / "out"
    folder = build_small(root / safe_name(1), size=SMALL)
    zip_product(folder, root / f"{safe_name(1)}.zip")
    for path in folder.rglob("*.jp2"):
        if damage == "empty":
            path.unlink()
        elif "B04" in path.name:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for state in ("done", "skipped"):
        result = batch(root, "--out-dir", out, "--model", "identity", "--json", "-q")
        outcomes = {Path(o["scene"]).suffix: o for o in json.loads(result.stdout)["outcomes"]}
        assert (outcomes[".SAFE"]["state"], outcomes[".zip"]["state"]) == ("failed", state)
    stem = safe_name(1).removesuffix(".SAFE")
    with rasterio.open(out / f"{stem}_decloud.tif") as src:
        assert src.read().any()


def test_results_of_other_options_do_not_stay_beside_new_ones(tmp_path: Path) -> None:
    root, out = tmp_path / "in", tmp_path / "out"
    build_small(root / safe_name(1), size=SMALL)
    stem = safe_name(1).removesuffix(".SAFE")
    words = (root, "--out-dir", out, "--model", "identity", "--layout", "bands")
    assert batch(*words, "--provenance").exit_code == 0
    (out / f"{stem}_decloud" / "notes.txt").write_text("mine")
    assert (out / f"{stem}_provenance.tif").exists()
    assert batch(root, "--out-dir", out, "--model", "identity").exit_code == 0
    results = {f"{stem}_decloud.tif", f"{stem}_decloud.json", "footprints.gpkg", "summary.csv"}
    assert set(tree(out)) == results | {f"{stem}_decloud/notes.txt"}


def test_a_layer_added_later_replaces_no_stranger(tmp_path: Path) -> None:
    root, out = tmp_path / "in", tmp_path / "out"
    root.mkdir()
    write_raster(root / "a.tif", textured_dn(4, 40, 50), nodata=0)
    assert batch(root, "--out-dir", out, "--model", "identity").exit_code == 0
    (out / "a_cloud_map.tif").write_text("mine")
    result = batch(root, "--out-dir", out, "--model", "identity", "--cloud-map")
    assert result.exit_code == 1
    assert "is not of this batch" in result.stdout
    assert (out / "a_cloud_map.tif").read_text() == "mine"


def test_a_mask_beside_a_scene_is_part_of_it(tmp_path: Path) -> None:
    root, out = tmp_path / "in", tmp_path / "out"
    root.mkdir()
    scene = write_raster(root / "a.tif", textured_dn(4, 40, 50))
    words = (root, "--out-dir", out, "--model", "identity")
    assert batch(*words).exit_code == 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(scene, "r+") as dst:
        dst.write_mask(np.arange(40)[:, None] < np.full((40, 50), 20))
    assert scene.with_suffix(".tif.msk").exists()
    assert "1 done" in batch(*words).stdout
    assert "1 skipped" in batch(*words).stdout


def test_a_name_that_is_no_text_costs_no_other_scene(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # pytest-xdist fails to send a log that is no text
    monkeypatch.setattr(logging.getLogger("geodecloud"), "propagate", False)
    root, out = tmp_path / "in", tmp_path / "out"
    root.mkdir()
    write_raster(root / "good.tif", textured_dn(4, 40, 50))
    odd = os.fsencode(root) + b"/caf\xe9.tif"
    try:
        shutil.copy(os.fsencode(root / "good.tif"), odd)
    except OSError:
        pytest.skip("this file system takes no such name")
    result = geodecloud.decloud_folder(root, out, model="identity")
    assert result.count("done") >= 1
    assert "udce9.tif" in (out / "summary.csv").read_text(encoding="utf-8")
    assert len(geopandas.read_file(out / "footprints.gpkg")) == 2
    assert "udce9.tif" in batch(root, "--out-dir", out, "--model", "identity").stdout


def test_a_pattern_that_fits_nothing_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_raster(tmp_path / "in/a.tif", textured_dn(4, 40, 50))
    result = batch(tmp_path / "in", "--out-dir", tmp_path / "out", "--pattern", "S2C*")
    assert (result.exit_code, "whose name fits 'S2C*'" in result.stderr) == (1, True)


def test_a_folder_without_scenes_is_no_success(tmp_path: Path) -> None:
    (tmp_path / "in/.hidden").mkdir(parents=True)
    (tmp_path / "in/a.nc").touch()
    (tmp_path / "in/.hidden/b.tif").touch()
    result = batch(tmp_path / "in", "--out-dir", tmp_path / "out")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "holds no scene or product" in result.stderr
    assert "there is: 1 .nc" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("layout", ["stack", "bands"])
def test_results_are_no_scenes(layout: str, tmp_path: Path) -> None:
    """The same batch by a pattern of the shell, whose results fit it, too."""
    root = tmp_path / "in"
    for name, seed in (("x", 0), ("y", 1)):
        write_raster(root_file(root, f"{name}.tif"), textured_dn(4, 30, 40, seed), nodata=0)
    words = ("--out-dir", root, "--model", "identity", "--provenance", "--cloud-map")
    words += ("--layout", layout)
    states = []
    for _ in range(3):
        result = batch(*sorted(root.glob("*.tif")), *words, "--json", "-q")
        assert result.exit_code == 0, result.output
        states.append([o["state"] for o in json.loads(result.stdout)["outcomes"]])
    assert states == [["done"] * 2, ["skipped"] * 2, ["skipped"] * 2]
    there = set(tree(root))
    assert not [name for name in there if name.count("_decloud") > 1 + (layout == "bands")]
    assert not [name for name in there if name.count("provenance") + name.count("cloud_map") > 1]
    # beside and below other scenes, copied elsewhere, with other journals or none
    other = tmp_path / "other"
    shutil.copytree(root, other / "copy", ignore=shutil.ignore_patterns(".geodecloud", "?.tif"))
    shutil.copytree(root, other / "deep/run")
    scenes = sorted(path.relative_to(other).as_posix() for path in other.rglob("?.tif"))
    report = geodecloud.decloud_folder(other, tmp_path / "out", model="identity")
    assert [o.out for o in report.outcomes] == [s.replace(".tif", "_decloud.tif") for s in scenes]


def test_a_result_without_tags_is_known_by_its_journal(tmp_path: Path) -> None:
    """Other software may have left them out; what somebody has changed since is a scene again."""
    root, out = tmp_path / "in", tmp_path / "in/out"
    scene = write_raster(root_file(root, "x.tif"), textured_dn(4, 30, 40), nodata=0)
    assert batch(root, "--out-dir", out, "--model", "identity").exit_code == 0
    result, record = out / "x_decloud.tif", out / ".geodecloud/x.json"
    shutil.copy(scene, result)
    said = json.loads(record.read_text())
    said["outputs"]["x_decloud.tif"] = (result.stat().st_size, result.stat().st_mtime_ns)
    record.write_text(json.dumps(said))
    assert [s.name for s in find_scenes([root])] == ["x"]
    os.utime(result, ns=(0, 0))
    assert sorted(s.name for s in find_scenes([root])) == ["x", "x_decloud"]


def test_a_result_named_alone_is_a_scene(tmp_path: Path) -> None:
    root, out = tmp_path / "in", tmp_path / "out"
    write_raster(root_file(root, "x.tif"), textured_dn(4, 30, 40), nodata=0)
    words = ("--model", "identity", "--out-dir")
    assert batch(root, *words, root / "clear").exit_code == 0
    result = root / "clear/x_decloud.tif"
    assert batch(result, *words, out).exit_code == 0
    assert (out / "x_decloud_decloud.tif").exists()
    none = batch(root / "clear", *words, out)
    assert none.exit_code == 1
    assert "1 were written by geodecloud, such as" in none.stderr
    assert "name it alone" in none.stderr


def pack(path: Path, *files: Path) -> Path:
    """An archive of files, of the kind its name says, by Python's own modules."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("__MACOSX/._scene.tif", b"junk")
            for file in files:
                archive.write(file, f"inside/{file.name}")
    elif ".t" in path.name.removesuffix(".tif.gz"):
        with tarfile.open(path, "w:gz" if path.suffix != ".tar" else "w") as archive:
            for file in files:
                archive.add(file, f"inside/{file.name}")
    else:
        path.write_bytes(gzip.compress(files[0].read_bytes()))
    return path


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tgz", "a.tar.gz", "a b.TIF.zip", "x.tif.gz"])
def test_scenes_in_archives(name: str, tmp_path: Path) -> None:
    scene = write_raster(root_file(tmp_path / "plain", "x.tif"), textured_dn(4, 30, 40), nodata=0)
    root, out = tmp_path / "in", tmp_path / "out"
    archive = pack(root_file(root, name), scene)
    with rasterio.open(scene) as src:
        np.testing.assert_array_equal(geodecloud.open_scene(archive).values, src.read())
    words = (root, "--out-dir", out, "--model", "identity")
    assert "1 done" in batch(*words).stdout
    assert "1 skipped" in batch(*words).stdout
    with rasterio.open(out / "x_decloud.tif") as dst:
        np.testing.assert_array_equal(dst.read(), geodecloud.open_scene(scene).values)
        assert dst.tags()["GEODECLOUD_SOURCE"] == "x.tif"
    alone = CliRunner().invoke(
        main, [str(archive), "-o", str(out / "y.tif"), "--model", "identity"]
    )
    assert alone.exit_code == 0, alone.output
    os.utime(archive, ns=(0, 0))
    assert "1 done" in batch(*words).stdout  # the archive has changed


def test_archives_that_are_no_scene(tmp_path: Path) -> None:
    parts = [
        write_raster(root_file(tmp_path / "plain", f"{n}.tif"), textured_dn(4, 30, 40), nodata=0)
        for n in "xy"
    ]
    root = tmp_path / "in"
    several = pack(root_file(root, "two.tar"), *parts)
    with pytest.raises(SceneError, match=r"2 rasters.*\n  /vsitar/.*inside/x\.tif"):
        geodecloud.open_scene(several)
    named = f"/vsitar/{several}/inside/y.tif"  # as the message says
    assert geodecloud.open_scene(named).shape == (4, 30, 40)
    assert {(s.name, s.place.as_posix()) for s in find_scenes([root])} == {
        ("x", "two"),
        ("y", "two"),
    }
    notes = root_file(tmp_path, "notes.txt")
    notes.write_text("nothing")
    with pytest.raises(SceneError, match=r"holds no raster .*inside/notes\.txt"):
        geodecloud.open_scene(pack(tmp_path / "n.tar", notes))
    (tmp_path / "broken.tgz").write_bytes(b"junk")
    with pytest.raises(SceneIOError, match="cannot be opened as an archive"):
        geodecloud.open_scene(tmp_path / "broken.tgz")
    (tmp_path / "s.7z").touch()
    with pytest.raises(SceneError, match="unpack it"):
        geodecloud.open_scene(tmp_path / "s.7z")


def test_products_of_eopf_are_told_how_to_open(tmp_path: Path) -> None:
    root = tmp_path / "in"
    product = root / "S2B_MSIL2A_20240614T100559_N0510_R022_T33UXQ_20240614T140000.zarr"
    (product / "measurements/reflectance").mkdir(parents=True)
    (root / "mine.zarr").mkdir()  # somebody's own cube beside them is no scene
    with pytest.raises(SceneError, match=r"open it with xarray.*docs/xarray\.md"):
        geodecloud.open_scene(product)
    result = batch(root, "--out-dir", tmp_path / "out", "--json", "-q")
    assert result.exit_code == 1
    (outcome,) = json.loads(result.stdout)["outcomes"]
    assert outcome["state"] == "failed"
    assert "docs/xarray.md" in outcome["reason"]


def test_a_fault_of_ours_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what scenes, files and memory do is a line of the summary."""
    root = tmp_path / "in"
    for name in ("x", "y"):
        write_raster(root_file(root, f"{name}.tif"), textured_dn(4, 30, 40), nodata=0)
    real = decloud_file

    def broken(src: str, *args: object, **options: object) -> object:
        if Path(src).stem == "x":
            raise error
        return real(src, *args, **options)

    monkeypatch.setattr("geodecloud.batch.folder.decloud_file", broken)
    for error in (OSError("full"), RasterioIOError("cut off"), MemoryError("too little")):
        report = geodecloud.decloud_folder(root, tmp_path / "out", model="identity", overwrite=True)
        assert [o.state for o in report.outcomes if o.scene.endswith("x.tif")] == ["failed"]
        assert str(error) in report.failed[0].reason
    for error in (AttributeError("no such name"), TypeError("wrong"), KeyError("lost")):
        with pytest.raises(type(error)):
            geodecloud.decloud_folder(root, tmp_path / "out", model="identity")


def test_a_mask_with_a_condition_is_an_input_of_a_batch(tmp_path: Path) -> None:
    root, out = tmp_path / "in", tmp_path / "out"
    write_raster(root_file(root, "x.tif"), textured_dn(4, 30, 40), nodata=0)
    mask = tmp_path / "m.tif"
    words = (root, "--out-dir", out, "--model", "identity", "--mask", f"{mask}:1>2")
    for seed, state in ((0, "1 done"), (0, "1 skipped"), (1, "1 done")):
        if not mask.exists() or seed:
            values = np.random.default_rng(seed).integers(0, 9, (1, 30, 40), np.uint8)
            write_raster(mask, values)
        assert state in batch(*words).stdout


def test_same_name_of_other_content_is_told(tmp_path: Path) -> None:
    root = tmp_path / "in"
    write_raster(root_file(root, "x.tif"), textured_dn(4, 30, 40))
    write_raster(root_file(root, "x.tiff"), textured_dn(4, 30, 40, seed=1))
    report = geodecloud.decloud_folder(root, tmp_path / "out", model="identity")
    assert report.count("done") == 1
    assert "rename one of them" in report.failed[0].reason


def root_file(root: Path, name: str) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    return root / name


def test_aoi_leaves_out_what_it_does_not_touch(toy_model: Path, tmp_path: Path) -> None:
    root = tmp_path / "in"
    here = build_small(root / safe_name(1), size=SMALL)
    build_small(root / safe_name(2, "T32UPU"), epsg=32632, size=SMALL)
    bounds = geodecloud.open_scene(here).rio.bounds()
    area = geopandas.GeoDataFrame(geometry=[box(*bounds).buffer(-100)], crs=32633)
    area.to_crs(4326).to_file(tmp_path / "aoi.gpkg")
    report = geodecloud.decloud_folder(
        root, tmp_path / "out", model=toy_model, aoi=tmp_path / "aoi.gpkg"
    )
    assert [outcome.state for outcome in report.outcomes] == ["done", "outside"]
    assert report.failed == ()


def test_strangers_files_are_not_replaced(toy_model: Path, tmp_path: Path) -> None:
    root, out = tmp_path / "in", tmp_path / "out"
    write_raster(root_file(root, "x.tif"), textured_dn(4, 30, 40))
    root_file(out, "x_decloud.tif").write_bytes(b"mine")
    report = geodecloud.decloud_folder(root, out, model=toy_model)
    assert "not of this batch" in report.failed[0].reason
    assert (out / "x_decloud.tif").read_bytes() == b"mine"
    assert batch(root, "--out-dir", out, "--model", toy_model, "--overwrite").exit_code == 0


def test_one_batch_at_a_time(tmp_path: Path) -> None:
    import filelock

    root, out = tmp_path / "in", tmp_path / "out"
    write_raster(root_file(root, "x.tif"), textured_dn(4, 30, 40))
    (out / ".geodecloud").mkdir(parents=True)
    with (
        filelock.FileLock(out / ".geodecloud" / "lock"),
        pytest.raises(SceneIOError, match="another batch"),
    ):
        geodecloud.decloud_folder(root, out)
    with pytest.raises(OptionError, match="holds the scenes"):
        geodecloud.decloud_folder(root, root)
    with pytest.raises(SceneIOError, match="does not exist"):
        geodecloud.decloud_folder(tmp_path / "nowhere", out)
    with pytest.raises(OptionError, match="did you mean"):
        geodecloud.decloud_folder(root, out, modell="identity")


@pytest.mark.usefixtures("own_backend")
def test_killed_at_any_moment_it_ends_the_same(
    twelve: Path, toy_model: Path, tmp_path: Path
) -> None:
    """SIGKILL when some scene is being worked on; no result is ever there in part."""
    reference = tmp_path / "reference"
    batch(twelve, "--out-dir", reference, "--model", toy_model, "--mask", "none")
    expected = tree(reference)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "geodecloud", "batch", str(twelve), "--out-dir", str(out)]
    command += ["--model", str(toy_model), "--mask", "none", "-q"]
    rng = random.Random(12)
    for kills in range(2):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wanted = 3 * kills + rng.randint(1, 3)
        wait_while(process, lambda wanted=wanted: journalled(out) < wanted)
        time.sleep(rng.random() * 0.1)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.returncode == -signal.SIGKILL
        there = tree(out)
        assert sum(name.endswith(".tif") for name in there) < 10
        assert all(expected[name] == content for name, content in there.items())
    end = subprocess.run(command, capture_output=True, check=False)
    assert end.returncode == 1
    assert len(list(out.rglob("*_decloud.tif"))) == 10
    finished = tree(out)
    del expected["footprints.gpkg"], finished["footprints.gpkg"]  # holds the time of writing
    assert finished == expected
    assert [p for p in out.rglob(".*") if p.name != ".geodecloud"] == []


@pytest.mark.usefixtures("own_backend")
def test_interrupted_it_leaves_nothing_half_done(
    twelve: Path, toy_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "geodecloud", "batch", str(twelve), "--out-dir", str(out)]
    process = subprocess.Popen(
        [*command, "--model", str(toy_model), "--mask", "none"], stderr=subprocess.PIPE, text=True
    )
    wait_while(process, lambda: not journalled(out))
    process.send_signal(signal.SIGINT)
    _, told = process.communicate()
    assert process.returncode == 130, told
    assert "Interrupted" in told
    assert [path.name for path in out.rglob(".*")] == [".geodecloud"]
    again = batch(twelve, "--out-dir", out, "--model", toy_model, "--mask", "none")
    assert len(list(out.rglob("*_decloud.tif"))) == 10, again.output


def test_leftovers_are_removed(toy_model: Path, tmp_path: Path) -> None:
    root, out = tmp_path / "in", tmp_path / "out"
    write_raster(root_file(root, "x.tif"), textured_dn(4, 30, 40))
    folder = out / "deep" / ".x_decloud.tif.0a1b2c3d.part"
    for place, name in (("raw", "raw.IMD"), ("final", "x_decloud.tif"), ("final", "x.aux.xml")):
        root_file(folder / place, name).touch()
    root_file(folder, LOCK).touch()
    root_file(out / ".geodecloud" / "deep" / ".y.json.0a1b2c3d.part", LOCK).touch()
    root_file(out, ".users.own.tif").touch()
    with part_folder(root_file(out / "deep", "single.tif")) as others:  # a run of its own, there
        geodecloud.decloud_folder(root, out, model=toy_model)
        left = [".geodecloud", ".users.own.tif", others.name]
        assert sorted(p.name for p in out.rglob(".*")) == sorted(left)


def test_several_roots_and_patterns(twelve: Path) -> None:
    both = find_scenes([twelve / "june", twelve / "more"])
    assert {scene.place.parts[0] for scene in both} == {"june", "more"}
    assert len(both) == 6
    assert [s.name for s in find_scenes([twelve], "plain?.tif")] == ["plain1", "plain2"]
    assert len(find_scenes([twelve / safe_name(7, "T32UPU")])) == 1
    assert find_scenes([twelve], skip=twelve / "june") == find_scenes(
        [twelve / "."], skip=twelve / "june"
    )


def test_fingerprint_needs_its_inputs(tmp_path: Path) -> None:
    with pytest.raises(SceneIOError, match="cannot be read"):
        fingerprint([tmp_path / "gone.tif"], {})


@pytest.mark.parametrize(
    ("epsg", "ulx", "parts"), [(32633, 600000, 1), (32660, 766400, 2), (32601, 170000, 2)]
)
def test_outline_on_the_globe(epsg: int, ulx: int, parts: int) -> None:
    """Across the date line in two parts; its area is right in an equal-area projection."""
    grid = Grid(rasterio.CRS.from_epsg(epsg), from_origin(ulx, 2000020, 10, 10), (10980, 10980))
    outline = lonlat_footprint(grid)
    assert outline is not None
    assert outline.is_valid
    assert getattr(outline, "geoms", [outline]).__len__() == parts
    area = geopandas.GeoSeries([outline], crs=4326).to_crs(6933).area.sum()
    assert area == pytest.approx(109800**2, rel=0.01)
    nowhere = Grid(None, rasterio.Affine.identity(), (5, 5))
    assert lonlat_footprint(nowhere) is None


def test_example_runs(tmp_path: Path) -> None:
    build_small(tmp_path / "tiles" / safe_name(1), size=SMALL)
    example = Path(__file__).parents[2] / "examples" / "sentinel2.py"
    command = [sys.executable, str(example), str(tmp_path / "tiles"), str(tmp_path / "clear")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "of the tile seen" in done.stdout


@pytest.mark.parametrize(("left", "counts"), [(0.25, True), (2**63, False), (math.nan, False)])
def test_figures_that_no_batch_writes_do_not_count(left: float, counts: bool) -> None:
    """A journal may come from anywhere, and a table holds no such number: the scene is done anew."""
    assert (Outcome.of_record("scene.tif", {"left": left, "model": "toy"}) is not None) == counts
