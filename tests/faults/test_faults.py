"""What can happen to a run, at any moment of it: nothing half is ever left, and the next run makes it good.

``make faults`` draws many more moments (`GEODECLOUD_FAULTS`). The oracle is a run that nothing happens to.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from conftest import make_toy_model, textured_dn, write_raster

if os.name == "nt":
    pytest.skip("Windows has no such signals", allow_module_level=True)

from faulty_run import End, Fault, _fill, run
from rasterio.windows import Window

from geodecloud.decloud_file import decloud_scene
from geodecloud.errors import SceneIOError
from geodecloud.raster.staging import Staging

#: How many moments are drawn; from 20 on, all combinations of what may happen are tried, too.
COUNT = int(os.environ.get("GEODECLOUD_FAULTS", "6"))
LONG = COUNT >= 20
SIGNALS = {"SIGKILL": -signal.SIGKILL, "SIGTERM": 143, "SIGINT": 130}
NOBODY = 65534


@dataclass
class Case:
    """A command line, its folders, and what it makes when nothing happens."""

    name: str
    folder: Path
    words: list[object]
    expected: dict[str, str]
    sources: dict[str, str]
    events: int = 0
    chunk_px: int = 0

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def run(self, fault: Fault | None = None, afresh: bool = True) -> End:
        """Run it with a fault, in an empty folder or in that of the run before."""
        if afresh:
            shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir(exist_ok=True)
        fault = replace(fault or Fault(), chunk_px=self.chunk_px)
        return run(self.words, self.folder, fault)

    def rasters(self) -> dict[str, str]:
        return {name: content for name, content in tree(self.out).items() if name.endswith(".tif")}


def tree(folder: Path) -> dict[str, str]:
    """Every visible file, with the hash of its content; GeoPackages hold the time of writing."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.suffix != ".gpkg"
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }


def temporaries(folder: Path) -> list[str]:
    """What hides in a folder and is not the journal of a batch."""
    return [
        path.relative_to(folder).as_posix()
        for path in sorted(folder.rglob(".*"))
        if path.name != ".geodecloud"
    ]


def make_case(name: str, folder: Path) -> Case:
    (folder / "in").mkdir()
    model = make_toy_model(folder / "toy.safetensors")
    scene = write_raster(folder / "in" / "scene.tif", textured_dn(4, 61, 83, nodata=0), nodata=0)
    out = folder / "out"
    if name == "batch":
        for number in (1, 2):
            dn = textured_dn(4, 30, 40, seed=number)
            write_raster(folder / "in" / f"small{number}.tif", dn)
        words: list[object] = ["batch", folder / "in", "--out-dir", out]
        words += ["--provenance", "--references", "none"]
    else:
        words = [scene, "--out", out / "clear.tif", "--provenance", out / "codes.tif"]
        words += ["--overwrite"]
    words += ["--model", model, "--window", 32]
    case = Case(name, folder, words, {}, tree(folder / "in"))
    if name == "long":  # one whose finished blocks survive a kill
        words += ["--resume"]
        case.chunk_px = 32
    end = case.run()
    assert end.code == 0, end.told
    return replace(case, expected=tree(out), events=end.events)


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    names = ("single", "batch", *(LONG * ("long",)))
    return {name: make_case(name, tmp_path_factory.mktemp(name)) for name in names}


def assert_nothing_half(case: Case, end: End) -> None:
    """Sources are untouched; what has its final name is whole, and is what it should be."""
    assert tree(case.folder / "in") == case.sources
    for name, content in case.rasters().items():
        assert case.expected[name] == content, (name, end)
    assert "Traceback" not in end.told, end.told


def assert_made_good(case: Case) -> None:
    """The same command again makes what it makes undisturbed, and leaves nothing else."""
    end = case.run(afresh=False)
    assert end.code == 0, end.told
    assert tree(case.out) == case.expected
    assert temporaries(case.out) == []
    for path in case.out.rglob("*.tif"):
        with rasterio.open(path) as src:
            src.read()


@pytest.mark.parametrize("number", range(COUNT))
def test_a_signal_at_any_moment(number: int, cases: dict[str, Case]) -> None:
    rng = random.Random(number)
    case = cases["batch" if number % 3 == 2 else "long" if LONG and number % 3 else "single"]
    kind = list(SIGNALS)[number % 2 and 1 + number // 2 % 2]  # every other one is SIGKILL
    # half of them between two events, some in the middle of what other threads do
    delay_s = rng.choice([0.0, rng.random() * 0.05])
    end = case.run(Fault(kind, at=rng.randint(1, case.events), delay_s=delay_s))
    # one that comes late finds the work done
    assert end.code in ({SIGNALS[kind], 0} if delay_s else {SIGNALS[kind]}), end
    assert_nothing_half(case, end)
    if kind != "SIGKILL":
        assert temporaries(case.out) == [], end
        assert "Interrupted." in end.told or end.code != 130
    assert_made_good(case)


@pytest.mark.parametrize("name", ["single", "batch"])
def test_kills_in_a_row_leave_no_more_than_one(name: str, cases: dict[str, Case]) -> None:
    case, rng = cases[name], random.Random(name)
    shutil.rmtree(case.out)
    for _ in range(max(2, COUNT // 10)):
        fault = Fault("SIGKILL", at=rng.randint(case.events // 3, case.events))
        end = case.run(fault, afresh=False)
        assert end.code in (-signal.SIGKILL, 0)  # a batch that goes on has fewer events
        assert_nothing_half(case, end)
        # one for each raster of one scene, or one small file
        assert len(temporaries(case.out)) <= 2
    assert_made_good(case)


#: What goes wrong in the middle of a run -> what is told.
TROUBLE = {
    "cannot be read": r"scene\.tif cannot be read, it may be cut off or damaged: Read failed",
    "no space": r"(clear|codes)\.tif cannot be written: .*No space left on device",
    "no memory": r"not enough memory.*Unable to allocate 3\.00 GiB.*--max-memory",
}


@pytest.mark.parametrize(
    ("name", "kind", "events"),
    [
        ("single", "cannot be read", "read"),
        ("single", "no space", "write"),
        ("single", "no memory", "predict"),
        ("batch", "no memory", "predict"),
        *(LONG * [("batch", "cannot be read", "read"), ("batch", "no space", "write")]),
    ],
)
def test_reader_writer_or_model_fail(
    name: str, kind: str, events: str, cases: dict[str, Case]
) -> None:
    case = cases[name]
    end = case.run(Fault(kind, at=2, events=events))
    assert end.code == 1, end.told
    message = TROUBLE[kind]
    if name == "batch":
        message = message.replace("clear|codes", "scene_decloud|scene_provenance")
    assert re.search(message, end.told, re.DOTALL), end.told
    assert_nothing_half(case, end)
    assert temporaries(case.out) == []
    assert len(case.rasters()) == (0 if name == "single" else 4)  # the other scenes are done
    assert_made_good(case)


def test_a_fault_of_ours_shows_itself_and_leaves_nothing(cases: dict[str, Case]) -> None:
    end = cases["single"].run(Fault("our fault", at=2, events="predict"))
    assert end.code == 1
    assert "RuntimeError: a fault of ours" in end.told
    assert tree(cases["single"].out) == {}
    assert temporaries(cases["single"].out) == []


@pytest.mark.parametrize(
    ("events", "name"),
    [("write", "single"), ("copy", "batch"), *(LONG * [("copy", "single"), ("write", "batch")])],
)
def test_the_target_folder_goes(events: str, name: str, cases: dict[str, Case]) -> None:
    case = cases[name]
    end = case.run(Fault("remove", at=2, events=events, path=str(case.out)))
    assert end.code == 1, end.told
    assert "cannot be written" in end.told
    assert_nothing_half(case, end)
    assert_made_good(case)


@pytest.mark.parametrize(
    ("events", "kind"),
    [
        *(("read", "rewrite"), ("read", "truncate"), ("copy", "replace")),
        *(LONG * [("read", "replace"), ("read", "unlink"), ("copy", "truncate")]),
        *(LONG * [("copy", "rewrite"), ("copy", "unlink")]),
    ],
)
def test_the_source_changes(events: str, kind: str, tmp_path: Path, cases: dict[str, Case]) -> None:
    """A result of two states of a file is none; once all is read it does not matter."""
    case = cases["single"]
    scene = case.folder / "in" / "scene.tif"
    kept = tmp_path / "kept.tif"
    shutil.copy2(scene, kept)
    if kind in ("replace", "rewrite"):
        dn = textured_dn(4, 61, 83, seed=1, nodata=0)
        other = write_raster(tmp_path / "other.tif", dn, nodata=0)
        shutil.copyfile(other, f"{scene}.other")
        assert other.stat().st_size == scene.stat().st_size
    try:
        end = case.run(Fault(kind, at=2 if events == "read" else 1, events=events, path=str(scene)))
    finally:
        shutil.copy2(kept, scene)
        (scene.parent / "scene.tif.other").unlink(missing_ok=True)
    if events == "copy":
        assert end.code == 0, end.told
        assert tree(case.out) == case.expected
        return
    assert end.code == 1, end.told
    what = "was removed" if kind == "unlink" else "changed"
    assert f"scene.tif {what} while it was read" in end.told
    assert_nothing_half(case, end)
    assert (case.rasters(), temporaries(case.out)) == ({}, [])
    assert_made_good(case)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users reach, too; those of pytest are private."""
    folder = Path(tempfile.mkdtemp(prefix="geodecloud-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("events", ["copy", *(LONG * ["write"])])
def test_the_target_folder_becomes_read_only(events: str, open_folder: Path) -> None:
    if os.geteuid() == 0 and sys.base_prefix.startswith("/root"):
        pytest.skip("root may write everywhere, and nobody else may read this Python")
    case, user = make_case("single", open_folder), 0
    if os.geteuid() == 0:
        user = NOBODY
        shutil.rmtree(case.out)
        case.out.mkdir()
        os.chown(case.out, NOBODY, -1)
    fault = Fault("read-only", at=1, events=events, path=str(case.out), user=user)
    end = run(case.words, case.folder, fault)
    case.out.chmod(0o755)
    assert end.code == 1, end.told
    assert "cannot be written: " in end.told
    assert "Permission denied" in end.told
    assert_nothing_half(case, end)
    assert case.rasters() == {}
    assert_made_good(case)


def test_files_of_limited_size(cases: dict[str, Case]) -> None:
    """What ulimit -f does: writing fails half-way, as on a disk that is full."""
    case = cases["single"]
    end = case.run(Fault(limit_bytes=20_000))
    assert end.code == 1, end.told
    assert re.search(r"clear\.tif (cannot be written|did not come out as computed)", end.told)
    assert_nothing_half(case, end)
    assert (case.rasters(), temporaries(case.out)) == ({}, [])
    assert_made_good(case)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("no command mount here")
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize(("events", "at"), [("copy", 1), *(LONG * [("write", 1), ("copy", 2)])])
def test_the_disk_becomes_full(events: str, at: int, small_disk: Path) -> None:
    case = make_case("single", small_disk)
    end = case.run(Fault("fill", at=at, events=events, path=str(case.folder)))
    (case.folder / "ballast").unlink()
    assert end.code == 1, end.told
    told = r"(clear|codes)\.tif (cannot be written|did not come out as computed)"
    assert re.search(told, end.told), end.told
    assert_nothing_half(case, end)
    assert (case.rasters(), temporaries(case.out)) == ({}, [])
    assert_made_good(case)


def test_the_disk_is_full_only_while_the_last_pixels_are_written(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GDAL keeps them until it closes the raw raster, and there is room again before the copy."""
    case = make_case("single", small_disk)
    shutil.rmtree(case.out)
    case.out.mkdir()
    finish, copy = Staging.finish, Staging._copy

    def fill(stage: Staging) -> None:
        _fill(str(small_disk))
        finish(stage)

    def make_room(stage: Staging, raw: Path, final: Path) -> None:
        (small_disk / "ballast").unlink()
        copy(stage, raw, final)

    monkeypatch.setattr(Staging, "finish", fill)
    monkeypatch.setattr(Staging, "_copy", make_room)
    with pytest.raises(SceneIOError, match=r"clear\.tif (did not come out|cannot be written)"):
        decloud_scene(case.words[0], case.out / "clear.tif", model="identity")
    assert (tree(case.out), temporaries(case.out)) == ({}, [])


@pytest.mark.parametrize("what", ["pixels", "the mask"])
def test_what_is_lost_before_the_copy_is_told(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As above, on any disk: the closed raw raster holds something else than was written."""
    dn = textured_dn(4, 61, 83)
    scene, out = write_raster(tmp_path / "scene.tif", dn), tmp_path / "out"
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(scene, "r+") as dst:
        dst.write_mask(dn[0] > 0)
    out.mkdir()
    copy = Staging._copy

    def lose(stage: Staging, raw: Path, final: Path) -> None:
        with rasterio.open(raw, "r+") as dst:
            if what == "pixels":
                dst.write(np.zeros((1, 1), dn.dtype), 2, window=Window(50, 40, 1, 1))
            else:
                dst.write_mask(np.zeros((1, 1), bool), window=Window(50, 40, 1, 1))
        copy(stage, raw, final)

    monkeypatch.setattr(Staging, "_copy", lose)
    said = rf"clear\.tif did not come out as computed \({what} of rows 0 to 61 did not come to the"
    with pytest.raises(SceneIOError, match=said):
        decloud_scene(scene, out / "clear.tif", model="identity")
    assert list(out.iterdir()) == []
