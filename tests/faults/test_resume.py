"""A long run that was killed goes on where it was. The oracle is a run that nothing happens to, with no word of going on.

One run is killed in a process of its own, in the middle of a small scene of six chunks; each test then begins with a
copy of what it left.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import rasterio
from conftest import make_toy_model, textured_dn, write_raster

if os.name == "nt":
    pytest.skip("Windows has no such signals", allow_module_level=True)

from faulty_run import End, Fault, run
from test_faults import temporaries, tree

import geodecloud
from geodecloud.decloud_file import Report, decloud_scene
from geodecloud.raster.finished import Finished
from geodecloud.raster.temporaries import FINISHED, LOCK, PartFolder

SIDE = 100
FILES = {"provenance": "codes.tif", "cloud_map": "opacity.tif"}
SAID = "continues a run that was killed"


@dataclass
class Killed:
    """A run that was killed: its folder, and what it would have made."""

    folder: Path
    words: list[object]
    expected: dict[str, str]
    pixels: dict[str, int]
    calls: int

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def parts(self, name: str = "") -> list[Path]:
        return sorted(self.out.glob(f".{name}*.part"))


def start(folder: Path) -> Killed:
    """Make a scene and a model; one run from beginning to end, and one that is killed at half."""
    (folder / "out").mkdir()
    scene = write_raster(folder / "scene.tif", textured_dn(4, 200, 300, nodata=65535), nodata=65535)
    model = make_toy_model(folder / "toy.safetensors")
    words: list[object] = [scene, "--out", folder / "out" / "clear.tif", "--model", model]
    for name, file in FILES.items():
        words += [f"--{name.replace('_', '-')}", folder / "out" / file]
    words += ["--window", 64, "--workers", 1, "--json", "--mask", "none"]
    words += ["--scale", 1e-4, "--offset", 0]
    whole = run([*words, "--no-resume"], folder, Fault("none", events="predict", chunk_px=SIDE))
    assert whole.code == 0, whole.told
    case = Killed(folder, words, tree(folder / "out"), pixels(whole.told), whole.events)
    shutil.rmtree(case.out)
    case.out.mkdir()
    words.append("--resume")
    at = whole.events * 2 // 3
    end = run(words, folder, Fault("SIGKILL", at=at, events="predict", chunk_px=SIDE))
    assert end.code == -signal.SIGKILL, end.told
    return case


def pixels(told: str) -> dict[str, int]:
    return json.loads(next(line for line in told.splitlines() if line.startswith("{")))["pixels"]


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Killed:
    return start(tmp_path_factory.mktemp("killed"))


@pytest.fixture
def killed(left: Killed, monkeypatch: pytest.MonkeyPatch) -> Iterator[Killed]:
    """What was left, to begin with; runs within this process have the same chunks."""
    kept = left.folder / "kept"
    shutil.copytree(left.folder, kept, ignore=shutil.ignore_patterns("kept", "*.log"))
    monkeypatch.setattr("geodecloud.restore.decisions.chunk_px", lambda shape_yx: SIDE)
    monkeypatch.setattr("geodecloud.restore.decisions._choose_layout", lambda *_: None)
    yield left
    shutil.rmtree(left.out)
    for path in kept.iterdir():
        if path.is_dir():
            shutil.copytree(path, left.folder / path.name)
        else:
            shutil.copy2(path, left.folder / path.name)
    shutil.rmtree(kept)


def again(case: Killed, **changes: object) -> Report:
    """The same command within this process, with some changes."""
    words: dict[str, object] = {
        "model": case.folder / "toy.safetensors",
        "window": 64,
        "workers": 1,
        "mask": "none",
        "scale": 1e-4,
        "offset": 0.0,
        "resume": True,
        **{name: case.out / file for name, file in FILES.items()},
    }
    scene, out = case.folder / "scene.tif", case.out / "clear.tif"
    return decloud_scene(scene, out, **words | changes)


def test_the_same_command_goes_on(killed: Killed) -> None:
    """The network is asked for what is missing only, and all counts are those of the whole scene."""
    assert len(killed.parts()) == 3
    assert all((part / FINISHED).is_file() for part in killed.parts())
    end = run(killed.words, killed.folder, Fault("none", events="predict", chunk_px=SIDE))
    assert end.code == 0, end.told
    share = re.search(rf"clear\.tif: {SAID}: (\d+) % is there", end.told)
    assert share is not None, end.told
    assert int(share[1]) in (
        33,
        50,
        67,
    )  # of six chunks, some were half done, or waited for their turn
    assert 0 < end.events <= killed.calls * 2 // 3
    assert tree(killed.out) == killed.expected
    assert pixels(end.told) == killed.pixels
    assert temporaries(killed.out) == []


def test_progress_begins_with_what_is_there(killed: Killed) -> None:
    done: list[int] = []
    again(killed, progress=done.append)
    assert done[0] in (20_000, 30_000, 40_000)
    assert sum(done) == 60_000


@pytest.mark.parametrize("what", ["nothing", "format", "workers"])
def test_what_changes_no_pixel_goes_on(
    what: str, killed: Killed, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    changes = {"format": {"format": "gtiff"}, "workers": {"workers": 2}}.get(what, {})
    assert again(killed, **changes).pixels == killed.pixels
    assert SAID in caplog.text
    if what != "format":
        assert tree(killed.out) == killed.expected


@pytest.mark.parametrize("what", ["input", "option", "weights", "version", "no resume"])
def test_what_changes_pixels_begins_anew(
    what: str, killed: Killed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    changes: dict[str, object] = {}
    if what == "input":
        dn = textured_dn(4, 200, 300, seed=1, nodata=65535)
        write_raster(killed.folder / "scene.tif", dn, nodata=65535)
    elif what == "weights":
        make_toy_model(killed.folder / "toy.safetensors", width=6)
    elif what == "version":
        monkeypatch.setattr("geodecloud.restore.circumstances.__version__", "0")
    else:
        changes = {"offset": -0.01} if what == "option" else {"resume": False}
    again(killed, **changes)
    assert SAID not in caplog.text
    found = tree(killed.out)
    assert temporaries(killed.out) == []
    shutil.rmtree(killed.out)
    killed.out.mkdir()
    again(killed, **changes | {"resume": False})
    assert found == tree(killed.out)


def test_half_a_line_does_not_count(killed: Killed) -> None:
    for part in killed.parts():
        with (part / FINISHED).open("ab") as file:
            file.write(b'["pixels", [[0, 4], [100, 200], [200, 3')
    again(killed)
    assert tree(killed.out) == killed.expected


def test_lines_after_half_a_line_count(tmp_path: Path) -> None:
    blocks = [((0, 4), (0, 100), (row, row + 100)) for row in (0, 100)]
    for block in blocks:
        finished = Finished("clear.tif", "this")
        finished.folder = tmp_path
        if finished.is_in(tmp_path):
            finished.read()
        finished.pending.append(("pixels", block, 7))
        finished.save()
        with (tmp_path / FINISHED).open("ab") as file:
            file.write(b'["pixels", [[0, 4], [100')
    finished.read()
    assert finished.blocks["pixels"] == dict.fromkeys(blocks, 7)
    assert not Finished("clear.tif", "that").is_in(tmp_path)
    (tmp_path / FINISHED).write_text(
        json.dumps(finished.head)
    )  # killed before the line had its end
    assert not finished.is_in(tmp_path)


def test_a_block_that_is_not_what_was_written_is_made_again(killed: Killed) -> None:
    """As after a power cut, when lines came to the disk and pixels did not."""
    (part,) = killed.parts("clear.tif")
    with (part / "raw" / "raw.tif").open("rb+") as file:
        file.seek(100 * 512 * 8)  # within the only tile
        file.write(bytes(50_000))
    again(killed)
    assert tree(killed.out) == killed.expected


@pytest.mark.parametrize("end", [0, 300])
def test_a_raw_raster_that_is_none_is_made_again(end: int, killed: Killed) -> None:
    for part in killed.parts():
        os.truncate(part / "raw" / "raw.tif", end)
    again(killed)
    assert tree(killed.out) == killed.expected
    assert temporaries(killed.out) == []


def test_of_two_runs_at_once_one_goes_on(killed: Killed) -> None:
    """The other begins anew, for each raster of its own, and both end whole."""
    (part,) = killed.parts("clear.tif")
    head = json.loads((part / FINISHED).read_bytes().splitlines()[0])

    def is_same(folder: Path) -> bool:
        return json.loads((folder / FINISHED).read_bytes().splitlines()[0]) == head

    first, second = (PartFolder(killed.out / "clear.tif") for _ in range(2))
    assert first.take_over(is_same)
    assert first.path == part
    assert not second.take_over(is_same)
    assert str(os.getpid()) in (part / LOCK).read_text()
    again(killed)
    assert tree(killed.out) == killed.expected
    assert killed.parts() == [part]
    first.leave()


@pytest.mark.parametrize("days", [-400, 400])
def test_the_clock_jumps(
    days: int, killed: Killed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Between two runs, and within one: the result is the same. A week later by the clock, the work is done anew."""
    caplog.set_level(logging.INFO)
    now, jumps = time.time, itertools.cycle((0, days * 24 * 3600))
    monkeypatch.setattr(time, "time", lambda: now() + next(jumps))
    for part in killed.parts():
        os.utime(part / FINISHED, (now() - days * 24 * 3600,) * 2)
    again(killed)
    assert (SAID in caplog.text) == (days < 7)
    assert tree(killed.out) == killed.expected
    assert temporaries(killed.out) == []


def test_other_targets_leave_it_alone(killed: Killed) -> None:
    scene = write_raster(killed.folder / "small.tif", textured_dn(4, 20, 30))
    before = killed.parts()
    geodecloud.decloud_scene(scene, killed.out / "small_clear.tif", model="identity")
    assert killed.parts() == before
    (killed.out / "small_clear.tif").unlink()
    again(killed)
    assert tree(killed.out) == killed.expected


def test_killed_again_and_again_it_comes_to_its_end(killed: Killed) -> None:
    calls = []
    for _ in range(9):
        fault = Fault("SIGKILL", at=killed.calls // 3, events="predict", chunk_px=SIDE)
        end = run(killed.words, killed.folder, fault)
        calls.append(end.events)
        if end.code == 0:
            break
    assert end.code == 0, calls
    assert tree(killed.out) == killed.expected
    assert pixels(end.told) == killed.pixels


def test_the_first_pass_is_not_made_again(tmp_path: Path) -> None:
    """What it saw of the whole scene is taken from the folder; where that is gone, the result is the same."""
    scene = write_raster(
        tmp_path / "scene.tif", textured_dn(4, 200, 1024)
    )  # chunks are wider than the context
    model = make_toy_model(
        tmp_path / "toy.safetensors", blocks=4, prior=True, direction_weights=False
    )
    out = tmp_path / "out"
    words = [
        scene,
        "--out",
        out / "clear.tif",
        "--model",
        model,
        "--window",
        128,
        "--workers",
        1,
        "--backend",
        "torch",
    ]
    words += ["--scale", 1e-4, "--offset", 0, "--resume"]

    def end(kind: str = "none", at: int = 0) -> End:
        return run(words, tmp_path, Fault(kind, at=at, events="predict", chunk_px=256))

    out.mkdir()
    whole = end()
    assert whole.code == 0, whole.told
    expected = tree(out)
    (out / "clear.tif").unlink()
    killed = end("SIGKILL", whole.events * 2 // 3)
    assert killed.code == -signal.SIGKILL, killed.told
    (part,) = out.glob(".clear.tif*.part")
    assert list((part / "shelf").iterdir())
    shutil.copytree(out, tmp_path / "kept")
    again = end()
    assert tree(out) == expected
    assert temporaries(out) == []
    shutil.rmtree(out)
    shutil.move(tmp_path / "kept", out)
    shutil.rmtree(out / part.name / "shelf")
    without = end()
    assert tree(out) == expected
    assert SAID in again.told
    assert SAID in without.told
    assert 0 < again.events < without.events < whole.events


def test_a_killed_batch_goes_on_inside_a_scene(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_raster(tmp_path / "in" / "scene.tif", textured_dn(4, 200, 300))
    model = make_toy_model(tmp_path / "toy.safetensors")
    out = tmp_path / "out"
    words = ["batch", tmp_path / "in", "--out-dir", out, "--model", model, "--window", 64]
    words += ["--workers", 1, "--references", "none", "--mask", "none", "--resume"]
    whole = run(words, tmp_path, Fault("none", events="predict", chunk_px=SIDE))
    expected = tree(out)
    shutil.rmtree(out)
    at = whole.events * 2 // 3
    run(words, tmp_path, Fault("SIGKILL", at=at, events="predict", chunk_px=SIDE))
    end = run(words, tmp_path, Fault("none", events="predict", chunk_px=SIDE))
    assert end.code == 0, end.told
    assert 0 < end.events <= whole.events * 2 // 3
    assert tree(out)["scene_decloud.tif"] == expected["scene_decloud.tif"]
    assert tree(out)["summary.csv"] == expected["summary.csv"]
    assert temporaries(out) == []


def write_kind(kind: str, path: Path) -> Path:
    """A scene with what a raw raster has to carry besides pixels."""
    dn = textured_dn(4, 130, 170, nodata=0)
    if kind == "nan":
        return write_raster(path, dn.astype("float32") / 10000, nodata=float("nan"))
    if kind == "alpha":
        write_raster(path, (dn // 40).clip(0, 255).astype("uint8"), photometric="RGB", alpha="YES")
        return path
    if kind == "mask":
        write_raster(path, dn)
        with rasterio.open(path, "r+") as dst:
            dst.write_mask(np.indices((130, 170)).sum(0) > 60)
        return path
    write_raster(path, (dn[:1] // 40).clip(0, 255).astype("uint8"), nodata=9)
    with rasterio.open(path, "r+") as dst:
        dst.update_tags(1, STATISTICS_MEAN="4")
        dst.scales, dst.offsets = (0.5,), (3.0,)
    return path


@pytest.mark.parametrize("layout", ["stack", "bands"])
@pytest.mark.parametrize("kind", ["nan", "alpha", "mask", "one band"])
def test_what_may_be_gone_on_with_has_the_same_bytes(
    kind: str, layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where each block is flushed and read back."""
    monkeypatch.setattr("geodecloud.raster.raw.SAVE_S", 0.0)
    scene = write_kind(kind, tmp_path / "scene.tif")
    for name, resume in (("a", False), ("b", True)):
        (tmp_path / name).mkdir()
        out = tmp_path / name / ("clear.tif" if layout == "stack" else "clear")
        codes = tmp_path / name / "codes.tif"
        geodecloud.decloud_scene(
            scene, out, model="identity", layout=layout, provenance=codes, resume=resume
        )
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    assert temporaries(tmp_path) == []
