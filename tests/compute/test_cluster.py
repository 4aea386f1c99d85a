"""A real scheduler and worker processes on the loopback address, against local threads."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import dask.array as da
import numpy as np
import psutil
import pytest
import rasterio
from click.testing import CliRunner
from cluster_processes import Processes, forkserver
from conftest import BANDS, textured_dn, write_raster
from dask_process import decloud_in_a_task

import geodecloud
from geodecloud.cli.commands import main
from geodecloud.compute.blocks import without_blocks
from geodecloud.compute.cluster import Cluster
from geodecloud.errors import ClusterError, OptionError
from geodecloud.restore.composite import Provenance

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    processes = Processes(tmp_path_factory.mktemp("cluster"))
    yield processes
    processes.stop()


@pytest.fixture
def cluster(processes: Processes) -> Processes:
    """With two workers, whatever the test before left: without any, work waits for ever."""
    processes.workers = [worker for worker in processes.workers if worker.is_alive()]
    processes.add_workers(max(0, 2 - len(processes.workers)))
    return processes


@pytest.fixture
def big(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of twenty chunks, for the workers to share out."""
    monkeypatch.setattr("geodecloud.restore.decisions.chunk_px", lambda _: 50)
    return write_raster(tmp_path / "big.tif", textured_dn(4, 200, 220, nodata=0), nodata=0)


COMPUTED = {"backend", "device", "precision"}


def same_pixels(first: Path, second: Path) -> bool:
    """Tags too, but for what ran the network: on a cluster its workers choose."""
    with rasterio.open(first) as a, rasterio.open(second) as b:
        tags = [src.tags() for src in (a, b)]
        for own in tags:
            assert json.loads(own.pop("GEODECLOUD_COMPUTED")).keys() == COMPUTED
        return np.array_equal(a.read(), b.read()) and tags[0] == tags[1]


def test_a_scene_on_a_cluster_equals_threads(
    cluster: Processes, big: Path, toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def count_loads() -> None:
        """Note each model that this worker loads."""
        from geodecloud.backends.declouder import ModelHandle

        load, ModelHandle.loads = ModelHandle._open, 0

        def counted(handle: ModelHandle, threads: int) -> object:
            ModelHandle.loads += 1
            return load(handle, threads)

        ModelHandle._open = counted

    def loads() -> int:
        from geodecloud.backends.declouder import ModelHandle

        return ModelHandle.loads

    local, remote = tmp_path / "local.tif", tmp_path / "remote.tif"
    cluster.client.run(count_loads)
    maps = tmp_path / "local_map.tif", tmp_path / "remote_map.tif"
    geodecloud.decloud_scene(big, local, model=str(toy_model), cloud_map=maps[0], window=128)
    monkeypatch.chdir(tmp_path)  # the workers are elsewhere: paths must not depend on it
    command = ["big.tif", "--out", "remote.tif", "--cloud-map", "remote_map.tif"]
    command += ["--model", str(toy_model), "--window", "128", "--scheduler", cluster.address]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.stderr
    assert same_pixels(local, remote)
    np.testing.assert_array_equal(*(rasterio.open(path).read() for path in maps))
    # once per worker process, by whichever task came first
    assert max(cluster.client.run(loads).values()) == 1


def test_the_callers_own_client_is_used(
    cluster: Processes, big: Path, toy_model: Path, tmp_path: Path
) -> None:
    with distributed.Client(cluster.address):
        lazy = geodecloud.open_scene(big, 80).geodecloud.remove_clouds(model=str(toy_model))
        computed = lazy.compute()
        geodecloud.decloud_scene(big, tmp_path / "client.tif", model=str(toy_model))
    eager = geodecloud.open_scene(big).compute().geodecloud.remove_clouds(model=str(toy_model))
    np.testing.assert_array_equal(computed, eager)
    np.testing.assert_array_equal(rasterio.open(tmp_path / "client.tif").read(), eager)


def test_provenance_from_a_cluster_equals_threads(
    cluster: Processes, big: Path, toy_model: Path, tmp_path: Path
) -> None:
    """Its blocks have two takers: the file, and the count in the report."""
    options = {"model": str(toy_model), "window": 128}
    reports = [
        geodecloud.decloud_scene(
            *(big, tmp_path / f"{name}.tif"),
            provenance=tmp_path / f"{name}_codes.tif",
            scheduler=scheduler,
            **options,
        )
        for name, scheduler in (("local", "threads"), ("remote", cluster.address))
    ]
    local, remote = (rasterio.open(report.provenance).read(1) for report in reports)
    np.testing.assert_array_equal(remote, local)
    assert reports[0].pixels == reports[1].pixels
    counts = np.bincount(remote.ravel(), minlength=len(Provenance))
    assert list(counts) == list(reports[1].pixels.values())
    assert np.count_nonzero(counts) > 1


@pytest.fixture
def series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Four dates with a classification, cloudy in part, of nine chunks each; the first is the scene."""
    monkeypatch.setattr("geodecloud.restore.decisions.chunk_px", lambda _: 80)
    rng, ground = np.random.default_rng(5), textured_dn(4, 200, 220).astype(float)
    y, x = np.mgrid[:200, :220]
    paths = []
    for number, (gain, row, col) in enumerate(
        [(1, 90, 100), (0.8, 20, 30), (1.2, 150, 180), (0.9, 95, 140)]
    ):
        cloud = np.hypot(y - row, x - col) < 35
        dn = ground * gain + 60 * number + rng.normal(0, 40, ground.shape)
        dn = np.where(cloud, 8000 + dn / 10, dn).clip(1).astype(np.uint16)
        path = tmp_path / f"T33_2020060{number + 1}.tif"
        classes = np.where(cloud, 9, 4).astype(np.uint16)
        write_raster(path, np.concatenate([dn, classes[None]]), nodata=0)
        with rasterio.open(path, "r+") as dst:
            dst.descriptions, dst.scales = (*BANDS, "SCL"), (1e-4,) * 4 + (1.0,)
        paths.append(path)
    return paths


@pytest.mark.filterwarnings("ignore:model toy does not restore")
def test_other_dates_fill_the_same_through_every_door(
    cluster: Processes, series: list[Path], toy_model: Path, tmp_path: Path
) -> None:
    """From file to file by windows, workers, memory and processes of any number, and as an array of any chunks."""
    scene, *others = series
    asked = {"model": str(toy_model)}
    doors: dict[str, dict[str, object]] = {
        "plain": {},
        "windows": {"window": 64},
        "one worker": {"workers": 1},
        "many workers": {"workers": 5, "window": 96},
        "little memory": {"max_memory": "1.1GB"},
        "processes": {"scheduler": cluster.address},
    }
    pixels, codes = {}, {}
    for name, door in doors.items():
        out, told = tmp_path / f"{name}.tif", tmp_path / f"{name}_codes.tif"
        geodecloud.decloud_scene(scene, out, references=others, provenance=told, **asked, **door)
        pixels[name], codes[name] = rasterio.open(out).read(), rasterio.open(told).read(1)
    command = [str(scene), "--out", str(tmp_path / "cli.tif"), "--window", "128"]
    command += ["--model", str(toy_model), "--scheduler", cluster.address]
    done = CliRunner().invoke(main, [*command, *(w for p in others for w in ("--reference", p))])
    assert done.exit_code == 0, done.stderr
    pixels["command line"] = rasterio.open(tmp_path / "cli.tif").read()
    for side in (None, 70):
        dates = [geodecloud.open_scene(path, side) for path in series]
        first, *rest = dates if side else [date.compute() for date in dates]
        lazy = first.geodecloud.remove_clouds(references=rest, **asked)
        pixels[f"accessor, {side}"] = lazy.compute().values
    for name, found in pixels.items():
        np.testing.assert_array_equal(found, pixels["plain"], err_msg=name)
    for name, found in codes.items():
        np.testing.assert_array_equal(found, codes["plain"], err_msg=name)
    assert (codes["plain"] == Provenance.OTHER_DATE).sum() > 1000
    assert (codes["plain"] == Provenance.OBSERVED).sum() > 10_000


def test_a_mask_from_a_cluster_is_in_the_file_of_every_band(
    cluster: Processes, tmp_path: Path
) -> None:
    src = write_raster(tmp_path / "masked.tif", textured_dn(4, 300, 410))
    valid = np.random.default_rng(0).random((300, 410)) > 0.3
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(src, "r+") as dst:
        dst.write_mask(valid)
    report = geodecloud.decloud_scene(
        *(src, tmp_path / "bands"),
        layout="bands",
        model="identity",
        scheduler=cluster.address,
    )
    assert len(report.files) == 4
    for number, path in enumerate(report.files, start=1):
        with rasterio.open(path) as one, rasterio.open(src) as whole:
            np.testing.assert_array_equal(one.dataset_mask() > 0, valid)
            np.testing.assert_array_equal(one.read(1)[valid], whole.read(number)[valid])


def test_an_array_stored_twice_is_computed_once(cluster: Processes, tmp_path: Path) -> None:
    folder = tmp_path / "calls"
    folder.mkdir()

    def note(block: np.ndarray, folder: str) -> np.ndarray:
        Path(folder, str(time.time_ns())).touch()
        return block + 1

    source = da.ones((4, 6), chunks=(2, 3)).map_blocks(
        note, str(folder), dtype=float, meta=np.empty((0, 0))
    )
    first, second, other = (np.zeros((4, 6)) for _ in range(3))
    Cluster(cluster.client).store([source, source, source * 2], [first, second, other])
    assert len(list(folder.iterdir())) == 4
    np.testing.assert_array_equal(first, np.full((4, 6), 2))
    np.testing.assert_array_equal(second, first)
    np.testing.assert_array_equal(other, 2 * first)


def test_what_is_left_out_is_neither_computed_nor_written(
    cluster: Processes, tmp_path: Path
) -> None:
    folder = tmp_path / "calls"
    folder.mkdir()

    def note(block: np.ndarray, folder: str) -> np.ndarray:
        Path(folder, str(time.time_ns())).touch()
        return block + 1

    source = da.ones((4, 6), chunks=(2, 3)).map_blocks(
        note, str(folder), dtype=float, meta=np.empty((0, 0))
    )
    target = np.zeros((4, 6))
    rest = without_blocks(source, {((0, 2), (3, 6)), ((2, 4), (0, 3))})
    Cluster(cluster.client).store([rest], [target])
    assert len(list(folder.iterdir())) == 2
    assert (target == np.kron([[2, 0], [0, 2]], np.ones((2, 3)))).all()


def test_a_task_of_the_callers_own_does_not_wait_for_itself(
    big: Path, toy_model: Path, tmp_path: Path
) -> None:
    """One thread, client and worker in one process: no thread is left for tasks within a task."""
    task = forkserver.Process(
        target=decloud_in_a_task, args=(big, tmp_path / "task.tif", str(toy_model))
    )
    task.start()
    task.join(60)
    waits = task.is_alive()
    task.kill()
    assert not waits
    assert task.exitcode == 0
    geodecloud.decloud_scene(big, tmp_path / "plain.tif", model=str(toy_model))
    assert same_pixels(tmp_path / "task.tif", tmp_path / "plain.tif")


def test_a_worker_may_die(cluster: Processes, big: Path, toy_model: Path, tmp_path: Path) -> None:
    killed = []

    def kill(pixels: int) -> None:
        if not killed:
            killed.append(cluster.kill_a_worker())

    options = {"model": str(toy_model)}
    geodecloud.decloud_scene(big, tmp_path / "local.tif", **options)
    geodecloud.decloud_scene(
        big, tmp_path / "remote.tif", scheduler=cluster.address, progress=kill, **options
    )
    assert same_pixels(tmp_path / "local.tif", tmp_path / "remote.tif")
    assert killed == [-signal.SIGKILL]
    cluster.add_workers(1)


def test_a_folder_on_a_cluster_equals_threads(
    cluster: Processes, toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight scenes, one worker killed on the way; the scheduler holds no pixels."""
    (tmp_path / "in" / "more").mkdir(parents=True)
    for seed in range(8):
        name = f"{'more/' * (seed % 2)}s{seed}.tif"
        write_raster(tmp_path / "in" / name, textured_dn(4, 90, 100 + seed, seed))
    monkeypatch.chdir(tmp_path)
    options = {"model": str(toy_model), "provenance": True}
    local = geodecloud.decloud_folder("in", "local", **options)
    scheduler, rss, killed = psutil.Process(cluster.scheduler.pid), [], []

    def kill(outcome: object) -> None:
        rss.append(scheduler.memory_info().rss)
        if not killed:
            killed.append(cluster.kill_a_worker())

    remote = geodecloud.decloud_folder(
        "in", "remote", scheduler=cluster.address, on_outcome=kill, **options
    )
    assert killed == [-signal.SIGKILL]
    assert remote.outcomes == local.outcomes
    assert remote.count("done") == 8

    def files(folder: str) -> dict[str, bytes]:
        found = [*sorted(Path(folder).rglob("*.tif")), Path(folder, "summary.csv")]
        return {str(path.relative_to(folder)): path.read_bytes() for path in found}

    assert files("local") == files("remote")
    assert len(files("remote")) == 17
    assert max(rss[2:]) - min(rss[2:]) < 10e6  # once it has imported what the tasks name
    cluster.add_workers(1)
    again = geodecloud.decloud_folder("in", "remote", scheduler=cluster.address, **options)
    assert again.count("skipped") == 8


def test_an_interrupt_leaves_no_file(
    cluster: Processes, big: Path, toy_model: Path, tmp_path: Path
) -> None:
    def interrupt(pixels: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        geodecloud.decloud_scene(
            *(big, tmp_path / "out.tif"),
            model=str(toy_model),
            scheduler=cluster.address,
            progress=interrupt,
        )
    assert {path.name for path in tmp_path.iterdir()} == {"big.tif"}


def test_an_interrupt_cancels_the_clusters_work(cluster: Processes, tmp_path: Path) -> None:
    class Interrupted:
        def __setitem__(self, place: object, block: object) -> None:
            raise KeyboardInterrupt

    def note(block: np.ndarray, folder: str) -> np.ndarray:
        time.sleep(0.05)
        Path(folder, str(time.time_ns())).touch()
        return block

    source = da.ones(100, chunks=1).map_blocks(
        note, str(tmp_path), dtype=float, meta=np.empty((0,))
    )
    with pytest.raises(KeyboardInterrupt) as interrupt:
        Cluster(cluster.client).store([source], [Interrupted()])
    deadline = time.monotonic() + 60
    while (left := any(cluster.client.processing().values())) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left
    assert 0 < len(list(tmp_path.iterdir())) < 90
    del interrupt  # until here the results are asked for


def test_errors_of_workers_keep_their_words(
    cluster: Processes, big: Path, toy_model: Path, tmp_path: Path
) -> None:
    """Whether there is a GPU is for the workers to say."""
    with pytest.raises(geodecloud.GeodecloudError, match="device 'cuda:99' was asked for"):
        geodecloud.decloud_scene(
            *(big, tmp_path / "out.tif"),
            model=str(toy_model),
            device="cuda:99",
            scheduler=cluster.address,
        )
    assert {path.name for path in tmp_path.iterdir()} == {"big.tif"}


def test_a_scheduler_that_is_not_there(
    big: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geodecloud.compute.cluster._CONNECT_SECONDS", 0.5)
    with pytest.raises(ClusterError, match="no Dask scheduler answers at tcp:"):
        geodecloud.decloud_scene(big, tmp_path / "out.tif", scheduler="tcp://127.0.0.1:9")
    with pytest.raises(OptionError, match="neither 'threads' nor an address"):
        geodecloud.decloud_scene(big, tmp_path / "out.tif", scheduler="cluster")
