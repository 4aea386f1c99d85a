"""What is there and is no file is never replaced. The oracle is the system: the same node, of the same kind."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner, Result
from conftest import BANDS, textured_dn, write_raster
from products import build_small

import geodecloud
from geodecloud.cli.commands import main
from geodecloud.errors import SceneIOError
from geodecloud.raster.targets import check_target, make_folder
from geodecloud.raster.whole_files import write_text


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_device(path: Path) -> None:
    """A node of our own that is what /dev/null is."""
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes devices")


def make_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # names of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


def make_link(path: Path) -> None:
    os.mkfifo(path.with_name("pipe"))
    path.symlink_to("pipe")


KINDS = {
    "device": make_device,
    "pipe": make_pipe,
    "socket": make_socket,
    "folder": Path.mkdir,
    "link to a pipe": make_link,
}
#: Commands by the option that names the node; every one of them may replace a file.
COMMANDS = {
    "--out": "SCENE --out NODE --overwrite --model identity",
    "--provenance": "SCENE --out OUT --provenance NODE --overwrite --model identity",
    "--cloud-map": "SCENE --out OUT --cloud-map NODE --overwrite --model identity",
    "models import": "models import NONE.pth --out NODE --overwrite",
    "--csv": "evaluate --data PAIRS --csv NODE",
    "--markdown": "evaluate --data PAIRS --markdown NODE",
}


def invoke(words: str, **places: Path) -> Result:
    return CliRunner().invoke(main, [str(places.get(word, word)) for word in words.split()])


def refused(done: Result, node: Path, kind: str = "") -> bool:
    assert done.exit_code == 1, done.output
    assert done.stderr.count("Error") == 1
    assert "Traceback" not in done.stderr
    return f"{node} is a {kind}" in done.stderr


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without pipes that have names")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("option", COMMANDS)
def test_no_option_replaces_what_is_no_file(
    option: str, kind: str, scene: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "there"
    folder.mkdir()
    node = folder / "node.tif"
    KINDS[kind](node)
    before = {path.name: os.lstat(path) for path in folder.iterdir()}
    done = invoke(COMMANDS[option], NODE=node, SCENE=scene, OUT=tmp_path / "o.tif", PAIRS=tmp_path)
    assert refused(done, node, kind.split()[-1])
    after = {path.name: os.lstat(path) for path in folder.iterdir()}
    assert {n: (s.st_ino, s.st_mode) for n, s in after.items()} == {
        n: (s.st_ino, s.st_mode) for n, s in before.items()
    }
    assert not (tmp_path / "o.tif").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without pipes that have names")
@pytest.mark.parametrize(
    "name",
    [
        *("clear.tif.aux.xml", "clear.tif.msk", "clear.tif.ovr", "clear.IMD"),
        *("clear.json", "bands/T33UXQ_20230625T104621_B04_10m.tif"),
        *("simulated/scene_clear.tif", "simulated/scene_opacity.tif"),
        *("batch/scene_decloud.tif", "batch/summary.csv"),
    ],
)
def test_files_with_names_of_their_own_replace_none_either(
    name: str, scene: Path, tmp_path: Path
) -> None:
    """Side files, the STAC Item, bands, simulated pairs, results and summary of a batch."""
    with rasterio.open(scene, "r+") as dst:
        dst.update_tags(ns="IMD", satId="WV02")  # GDAL writes this to a file of its own
    node = tmp_path / name
    node.parent.mkdir(exist_ok=True)
    os.mkfifo(node)
    if name.startswith("batch"):
        (tmp_path / "in").mkdir()
        scene.rename(tmp_path / "in" / "scene.tif")
        words = "batch IN --out-dir BATCH --overwrite --model identity"
    elif name.startswith("simulated"):
        words = "simulate SCENE --out SIMULATED --overwrite"
    elif name.startswith("bands"):
        words = "PRODUCT --out BANDS --layout bands --overwrite --model identity"
    else:
        words = f"{'PRODUCT' if name == 'clear.json' else 'SCENE'} --out OUT --overwrite --model identity"
    product = build_small(
        tmp_path / "S2A_MSIL2A_20230625T104621_N0509_R051_T33UXQ_20230625T170000.SAFE"
    )
    places = {key.upper(): tmp_path / key for key in ("in", "batch", "simulated", "bands")}
    done = invoke(words, SCENE=scene, PRODUCT=product, OUT=tmp_path / "clear.tif", **places)
    assert done.exit_code == 1
    assert "is a pipe" in done.output
    assert "Traceback" not in done.output
    assert stat.S_ISFIFO(os.lstat(node).st_mode)
    assert not list(tmp_path.glob(".*part"))


@pytest.mark.parametrize(
    "make",
    [Path.touch, lambda path: path.symlink_to(path.with_name("nowhere"))],
    ids=["file", "link"],
)
@pytest.mark.parametrize(
    "words", ["simulate SCENE --out NODE", "evaluate --data PAIRS --panels NODE"]
)
def test_a_folder_is_no_file_and_no_link_to_nowhere(
    words: str, make: Callable[[Path], None], scene: Path, tmp_path: Path
) -> None:
    node = tmp_path / "node"
    make(node)
    done = invoke(words, NODE=node, SCENE=scene, PAIRS=tmp_path)
    assert done.exit_code == 1
    assert f"Error: {node} is " in done.stderr
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(SceneIOError, match="cannot be made"):
        make_folder(scene / "below")


def test_no_folder_is_made_where_a_link_leads(scene: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.tif"
    link.symlink_to(tmp_path / "no" / "such.tif")
    done = invoke("SCENE --out NODE --model identity", SCENE=scene, NODE=link)
    assert done.exit_code == 1
    assert f"{link} is a link to {tmp_path / 'no' / 'such.tif'}, and the folder" in done.stderr
    assert not (tmp_path / "no").exists()
    (tmp_path / "no").mkdir()
    assert invoke("SCENE --out NODE --model identity", SCENE=scene, NODE=link).exit_code == 0
    assert link.is_symlink()
    assert rasterio.open(tmp_path / "no" / "such.tif").count == 4
    loop = tmp_path / "loop.tif"
    loop.symlink_to(loop)
    with pytest.raises(SceneIOError, match="symbolic links"):
        check_target(loop, overwrite=True)


def test_the_standard_output_takes_no_raster(
    scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for words in ("--out -", "--out o.tif --provenance -"):
        done = invoke(f"SCENE {words} --model identity", SCENE=scene)
        assert done.exit_code == 1
        assert "- stands for the standard output" in done.stderr
        assert sorted(path.name for path in tmp_path.iterdir()) == ["scene.tif"]


def test_a_folder_that_comes_while_it_runs_stays(tmp_path: Path) -> None:
    import dask.array as da
    import xarray as xr

    out = tmp_path / "out.tif"
    dn = textured_dn(4, 20, 30)

    def meddle(block: np.ndarray) -> np.ndarray:
        out.mkdir(exist_ok=True)
        return block

    lazy = da.from_array(dn).map_blocks(meddle, meta=dn[:0])
    array = xr.DataArray(lazy, dims=("band", "y", "x"), attrs={"long_name": BANDS})
    with pytest.raises(SceneIOError, match="is a folder"):
        geodecloud.raster.writer.write_scene(array, out, overwrite=True)
    assert list(tmp_path.rglob("*")) == [out]


def test_small_texts_replace_files_only(tmp_path: Path) -> None:
    write_text(tmp_path / "a.json", "1")
    write_text(tmp_path / "a.json", "2")
    assert (tmp_path / "a.json").read_text() == "2"
    os.mkfifo(tmp_path / "b.json")
    with pytest.raises(SceneIOError, match="is a pipe"):
        write_text(tmp_path / "b.json", "1")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "b.json"]


def test_links_to_files_are_written_through(tmp_path: Path) -> None:
    scene = write_raster(tmp_path / "scene.tif", textured_dn(2, 20, 30))
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "old.tif").write_text("older")
    (tmp_path / "out.tif").symlink_to(tmp_path / "disk" / "old.tif")
    done = invoke(
        "SCENE --out OUT --overwrite --model identity", SCENE=scene, OUT=tmp_path / "out.tif"
    )
    assert done.exit_code == 0, done.stderr
    with rasterio.open(tmp_path / "disk" / "old.tif") as dst, rasterio.open(scene) as src:
        np.testing.assert_array_equal(dst.read(), src.read())
