"""What a run leaves when it is killed, and who removes it. The oracle is the system: live and dead processes."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import rasterio
from conftest import textured_dn, write_raster
from rasterio.env import get_gdal_config
from rio_cogeo.cogeo import cog_validate

import geodecloud
from geodecloud.errors import SceneIOError
from geodecloud.raster import temporaries
from geodecloud.raster.temporaries import FINISHED, LOCK, PartFolder, part_folder, remove_leftovers
from geodecloud.raster.whole_files import replacing, write_text

OWNER = """
import sys, time
from pathlib import Path
from geodecloud.raster.temporaries import PartFolder
folder = PartFolder(Path(sys.argv[1])).make()
(folder / "deep").mkdir()
(folder / "deep" / "raw.tif").write_text("half")
print(folder, flush=True)
time.sleep(600)
"""


@contextmanager
def owner(target: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process that has a hidden folder beside a target, and the folder."""
    command = [sys.executable, "-c", OWNER, str(target)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process, Path(process.stdout.readline().strip())
    finally:
        process.kill()
        process.communicate()


def test_what_a_killed_process_leaves_goes_and_what_a_live_one_has_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    target = tmp_path / "out.tif"
    with owner(target) as (process, folder), part_folder(target) as ours:
        assert remove_leftovers(tmp_path) == []
        assert (folder / "deep" / "raw.tif").is_file()
        process.kill()
        process.wait()
        assert remove_leftovers(tmp_path) == [folder]
        assert sorted(tmp_path.iterdir()) == [ours]
    assert f"removed {folder}, left by process {process.pid} on " in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_the_next_run_of_a_target_removes_what_killed_ones_left(tmp_path: Path) -> None:
    scene = write_raster(tmp_path / "scene.tif", textured_dn(1, 20, 30))
    out = tmp_path / "clear" / "out.tif"
    out.parent.mkdir()
    for _ in range(2):
        with owner(out):
            pass
    assert len(list(out.parent.iterdir())) == 2
    geodecloud.decloud_scene(scene, out, model="identity")
    assert list(out.parent.iterdir()) == [out]


def test_what_a_run_can_go_on_with_waits_for_it_for_a_week(tmp_path: Path) -> None:
    """The first line of its journal names its target; names of folders are cut off, and may be those of several."""
    target = tmp_path / f"{'long' * 20}_clear.tif"
    other = tmp_path / f"{'long' * 20}_codes.tif"

    def left() -> Path:
        folder = PartFolder(target)
        path = folder.make()
        (path / FINISHED).write_text(f'{{"target": "{target.name}"}}\n')
        folder.leave()
        return path

    path = left()
    assert remove_leftovers(tmp_path) == []
    assert remove_leftovers(tmp_path, target=other) == []
    write_text(other, "whole")
    assert path.is_dir()
    assert remove_leftovers(tmp_path, target=target) == [path]
    path = left()
    week_ago = time.time() - 7 * 24 * 3600 - 60
    os.utime(path / FINISHED, (week_ago, week_ago))
    assert remove_leftovers(tmp_path) == [path]


@pytest.mark.parametrize("said", ["", "{", "[]", '{"target": 3', "null"])
def test_a_journal_that_cannot_be_read_keeps_nothing(said: str, tmp_path: Path) -> None:
    folder = PartFolder(tmp_path / "out.tif")
    (folder.make() / FINISHED).write_text(said)
    folder.leave()
    assert remove_leftovers(tmp_path) == [folder.path]


@pytest.mark.parametrize("kind", ["text", "weights"])
def test_small_files_look_for_leftovers_too(kind: str, toy_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "file"
    with owner(path):
        pass
    if kind == "text":
        write_text(path, "whole")
    else:
        model = geodecloud.load_model(toy_model)
        from geodecloud.models.weights import save_weights

        save_weights(model.network, model.card, path)
    assert list(tmp_path.iterdir()) == [path]


def test_only_our_own_folders_go(tmp_path: Path) -> None:
    strangers = tmp_path / ".book.odt.0a1b2c3d.part"
    strangers.mkdir()
    (strangers / "chapter").write_text("theirs")
    link = tmp_path / ".link.0a1b2c3d.part"
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / LOCK).touch()
    link.symlink_to(tmp_path / "kept")
    unlocked_yet = tmp_path / ".out.tif.0a1b2c3d.part"  # killed between the folder and its lock
    unlocked_yet.mkdir()
    assert remove_leftovers(tmp_path) == [unlocked_yet]
    assert (strangers / "chapter").is_file()
    assert (tmp_path / "kept" / LOCK).is_file()
    assert link.is_symlink()


def test_a_removal_that_was_cut_off_is_brought_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with owner(tmp_path / "out.tif") as (_, folder):
        pass

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            remove_leftovers(tmp_path)
    assert (folder / LOCK).is_file()
    # the interrupted process still holds the lock: this stands for its end
    monkeypatch.setattr(temporaries, "_take", lambda number: None)
    assert remove_leftovers(tmp_path) == [folder]
    assert list(tmp_path.iterdir()) == []


def test_without_locks_nothing_is_removed_and_nothing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_locks(number: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    caplog.set_level(logging.INFO)
    monkeypatch.setattr(temporaries, "_take", no_locks)
    with owner(tmp_path / "a.txt") as (process, folder):
        pass
    write_text(tmp_path / "a.txt", "whole")
    assert sorted(tmp_path.iterdir()) == [folder, tmp_path / "a.txt"]
    assert f"whether process {process.pid} on " in caplog.text


def test_making_and_sweeping_at_once_takes_nobodys_folder(tmp_path: Path) -> None:
    """Sweepers may see a folder before its owner has the lock."""
    done = threading.Event()

    def sweep() -> None:
        while not done.is_set():
            remove_leftovers(tmp_path)

    def make(number: int) -> None:
        folder = PartFolder(tmp_path / f"{number}.tif")
        (folder.make() / "raw.tif").write_text("half")
        assert (folder.path / "raw.tif").is_file()
        assert (folder.path / LOCK).is_file()
        folder.remove()

    with ThreadPoolExecutor(4) as pool:
        sweepers = [pool.submit(sweep) for _ in range(2)]
        try:
            list(pool.map(make, range(300)))
        finally:
            done.set()
        for sweeper in sweepers:
            sweeper.result()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows removes no open file")
def test_a_lock_is_given_back_when_its_file_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else whoever has just made the folder could lock it, and own what is being removed."""
    own, left = PartFolder(tmp_path / "own.tif"), PartFolder(tmp_path / "left.tif")
    own.make()
    left.make()
    left.leave()
    close, there = os.close, []

    def watched(number: int) -> None:
        there.append([(folder.path / LOCK).exists() for folder in (own, left)])
        close(number)

    monkeypatch.setattr(os, "close", watched)
    remove_leftovers(tmp_path)
    # that of `own` could not be had, then that of `left` was given back
    assert [True, False] in there
    assert not left.path.exists()
    own.remove()
    assert there[-1] == [False, False]
    assert not own.path.exists()


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write_half() -> None:
        with replacing(path) as part:
            part.write_text("ne")
            raise ValueError("half-way")

    with pytest.raises(ValueError, match="half-way"):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(SceneIOError, match=r"a\.txt cannot be written: .*No such file"),
        replacing(tmp_path / "a.txt"),
    ):
        pass  # nothing was written


@pytest.mark.parametrize("overwrite", [True, False])
def test_two_runs_of_one_target_both_end_whole(overwrite: bool, tmp_path: Path) -> None:
    """Each writes in a folder of its own; who comes second replaces the first, or says that it may not."""
    scene = write_raster(tmp_path / "scene.tif", textured_dn(4, 101, 203))
    out = tmp_path / "out.tif"
    command = [sys.executable, "-m", "geodecloud", str(scene), "--out", str(out)]
    command += ["--model", "identity", *(["--overwrite"] if overwrite else [])]
    runs = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    told = [run.communicate()[1] for run in runs]
    codes = sorted(run.returncode for run in runs)
    assert codes == ([0, 0] if overwrite else [0, 1]), told
    assert overwrite or "give --overwrite to replace it" in "".join(told)
    assert cog_validate(out)[0]
    with rasterio.open(out) as dst, rasterio.open(scene) as src:
        assert (dst.read() == src.read()).all()
    assert sorted(tmp_path.iterdir()) == [out, scene]


def test_a_target_made_meanwhile_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the last look and the rename, too: both are one step."""
    scene = write_raster(tmp_path / "scene.tif", textured_dn(1, 20, 30))
    out = tmp_path / "out.tif"
    publish = geodecloud.raster.staging.Staging._publish_raster

    def meanwhile(self: object) -> None:
        out.write_text("theirs")
        publish(self)

    monkeypatch.setattr("geodecloud.raster.staging.Staging._publish_raster", meanwhile)
    with pytest.raises(SceneIOError, match=r"out\.tif was written by another run meanwhile"):
        geodecloud.decloud_scene(scene, out, model="identity")
    assert out.read_text() == "theirs"
    assert sorted(tmp_path.iterdir()) == [out, scene]


def test_what_gdal_puts_aside_goes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder that the user has named for it, of which GDAL itself says what it takes."""
    scene = write_raster(tmp_path / "scene.tif", textured_dn(1, 20, 30))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("CPL_TMPDIR", str(scratch))
    with owner(scratch / "out.tif"):
        pass
    copy, taken = rasterio.shutil.copy, []

    def look(*arguments: object, **options: object) -> None:
        if options["driver"] == "COG":
            taken.append(Path(get_gdal_config("CPL_TMPDIR", normalize=False)))
            assert list(scratch.iterdir()) == [taken[-1]]
        copy(*arguments, **options)

    monkeypatch.setattr("rasterio.shutil.copy", look)
    geodecloud.decloud_scene(scene, tmp_path / "out.tif", model="identity")
    assert [folder.parent for folder in taken] == [scratch]
    assert list(scratch.iterdir()) == []
