"""A cluster without workers: they may come, and whoever waits for them does not wait for ever.

Scheduler and workers are in this process. The oracle is a run on threads; of the errors, that there is one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import dask
import numpy as np
import pytest
import rasterio
from conftest import textured_dn, write_raster

import geodecloud
from geodecloud.compute.arrivals import SETTING, WAIT_S, longest_wait
from geodecloud.errors import ClusterLostError, OptionError

distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.usefixtures("own_backend")

NONE = r"scheduler at inproc.* has no workers, and none came within 0.2 s; start some with: dask worker inproc"


@pytest.fixture
def empty() -> Iterator[object]:
    """A cluster without workers, and little patience."""
    local = {"n_workers": 0, "threads_per_worker": 1, "processes": False}
    with (
        distributed.LocalCluster(**local, dashboard_address=None) as cluster,
        dask.config.set({SETTING: "200ms"}),
    ):
        yield cluster


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of six chunks."""
    monkeypatch.setattr("geodecloud.restore.decisions.chunk_px", lambda _: 100)
    monkeypatch.setattr("geodecloud.compute.arrivals._LOOK_S", 0.1)
    (tmp_path / "in").mkdir()
    return write_raster(tmp_path / "in" / "scene.tif", textured_dn(4, 200, 220), nodata=0)


def assert_is_scene(out: Path, scene: Path) -> None:
    with rasterio.open(out) as dst, rasterio.open(scene) as src:
        np.testing.assert_array_equal(dst.read(), src.read())


def test_no_worker_comes(empty: object, scene: Path, tmp_path: Path) -> None:
    """Neither to an address, nor to a client of the caller's."""
    out = tmp_path / "clear.tif"
    with pytest.raises(ClusterLostError, match=NONE):
        geodecloud.decloud_scene(scene, out, model="identity", scheduler=empty.scheduler_address)
    with distributed.Client(empty), pytest.raises(ClusterLostError, match=NONE):
        geodecloud.decloud_scene(scene, out, model="identity")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_worker_comes(
    empty: object, scene: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Work is sent before it is waited for: an adaptive cluster starts nothing without any."""
    caplog.set_level(logging.WARNING, "geodecloud")
    empty.adapt(minimum=0, maximum=1, interval="500ms", wait_count=100)
    with dask.config.set({SETTING: "99s"}):
        address = empty.scheduler_address
        out = tmp_path / "clear.tif"
        geodecloud.decloud_scene(scene, out, model="identity", scheduler=address)
    assert_is_scene(out, scene)
    said = f"{address} has no workers: waiting for some, 99 s at most. Start one with: dask worker"
    assert said in caplog.text


@pytest.mark.parametrize("what", ["a scene", "a folder"])
def test_all_workers_go(what: str, empty: object, scene: Path, tmp_path: Path) -> None:
    """In the middle of the work; a batch does not wait anew for each of its scenes, and goes on where it was."""
    empty.scale(1)
    out = tmp_path / "out"
    write_raster(scene.with_name("first.tif"), textured_dn(4, 60, 70), nodata=0)

    def go(_: object) -> None:
        empty.scale(0)

    words = {"model": "identity", "scheduler": empty.scheduler_address}
    if what == "a scene":
        with pytest.raises(ClusterLostError, match=NONE):
            geodecloud.decloud_scene(scene, tmp_path / "clear.tif", progress=go, **words)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]
        return
    with pytest.raises(ClusterLostError, match=NONE):
        geodecloud.decloud_folder(scene.parent, out, on_outcome=go, references="none", **words)
    assert [path.name for path in out.glob("*.tif")] == ["first_decloud.tif"]
    empty.scale(1)
    again = geodecloud.decloud_folder(scene.parent, out, references="none", **words)
    assert (again.count("skipped"), again.count("done")) == (1, 1)
    assert_is_scene(out / "scene_decloud.tif", scene)


def test_the_scheduler_may_lose_patience_itself(scene: Path, tmp_path: Path) -> None:
    """The same setting, where it was started: it fails what waits."""
    local = {"n_workers": 0, "processes": False, "dashboard_address": None}
    with dask.config.set({SETTING: "200ms"}), distributed.LocalCluster(**local) as cluster:
        address = cluster.scheduler_address
        with (
            dask.config.set({SETTING: "100s"}),
            pytest.raises(ClusterLostError, match="no workers, and none came"),
        ):
            geodecloud.decloud_scene(
                scene, tmp_path / "clear.tif", model="identity", scheduler=address
            )


@pytest.mark.parametrize(("asked", "seconds"), [(None, WAIT_S), ("10 minutes", 600), (7, 7)])
def test_how_long_is_dasks_own_setting(asked: object, seconds: float) -> None:
    with dask.config.set({SETTING: asked}):
        assert longest_wait() == seconds


def test_a_setting_that_is_no_time() -> None:
    with (
        dask.config.set({SETTING: "soon"}),
        pytest.raises(OptionError, match=r"'soon'.*10 minutes"),
    ):
        longest_wait()


def test_the_environment_is_read() -> None:
    """Under the name that the message tells."""
    from geodecloud.compute import arrivals

    found: Callable[..., dict[str, object]] = dask.config.collect_env
    with dask.config.set(found({arrivals._VARIABLE: "1 hour"})):
        assert longest_wait() == 3600
