"""Client, workers and scheduler killed in the middle of a run on a cluster, and the same command once more.

The oracle is a run on that cluster that nothing happens to.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import dask
import pytest
from cluster_processes import Processes
from conftest import make_toy_model, textured_dn, write_raster

if os.name == "nt":
    pytest.skip("Windows has no such signals", allow_module_level=True)

from faulty_run import Fault, run
from test_faults import temporaries, tree

from geodecloud.compute.arrivals import SETTING
from geodecloud.decloud_file import decloud_scene
from geodecloud.errors import ClusterLostError

SIDE = 100


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    processes = Processes(tmp_path_factory.mktemp("cluster"))
    yield processes
    processes.stop()


def test_each_of_them_is_killed(
    processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one test: what takes long is to start them."""
    scene = write_raster(tmp_path / "scene.tif", textured_dn(4, 200, 300, nodata=0), nodata=0)
    model, out = make_toy_model(tmp_path / "toy.safetensors"), tmp_path / "out"
    out.mkdir()
    processes.add_workers(1)
    words: list[object] = [scene, "--out", out / "clear.tif", "--model", model, "--window", 64]
    words += ["--mask", "none", "--provenance", out / "codes.tif"]
    words += ["--scheduler", processes.address]
    whole = run([*words, "--no-resume"], tmp_path, Fault("none", events="write", chunk_px=SIDE))
    assert whole.code == 0, whole.told
    expected = tree(out)
    assert expected.keys() == {"clear.tif", "codes.tif"}

    # the client, by SIGKILL: what was finished is there for the next
    shutil.rmtree(out)
    out.mkdir()
    words.append("--resume")
    fault = Fault("SIGKILL", at=whole.events * 2 // 3, events="write", chunk_px=SIDE)
    assert run(words, tmp_path, fault).code == -signal.SIGKILL
    assert (tree(out), len(temporaries(out))) != ({}, 0)
    end = run(words, tmp_path, Fault("none", events="write", chunk_px=SIDE))
    assert end.code == 0, end.told
    assert "continues a run that was killed" in end.told
    assert 0 < end.events <= whole.events * 2 // 3
    assert (tree(out), temporaries(out)) == (expected, [])

    # all workers, and then the scheduler: the run fails, and leaves what it found
    monkeypatch.setattr("geodecloud.restore.decisions.chunk_px", lambda _: SIDE)
    asked = {"model": model, "scheduler": processes.address, "mask": "none", "overwrite": True}
    for kill, message in (
        (processes.kill_a_worker, "has no workers, and none came within 2 s"),
        (processes.kill_the_scheduler, "is gone, and its work with it"),
    ):
        once = iter([kill])
        with (
            dask.config.set({SETTING: "2s"}),
            pytest.raises(ClusterLostError, match=message),
        ):
            decloud_scene(
                *(scene, out / "clear.tif"),
                progress=lambda pixels, once=once: next(once, lambda: None)(),
                **asked,
            )
        assert (tree(out), temporaries(out)) == (expected, [])
        processes.workers.clear()
        if kill == processes.kill_a_worker:
            processes.add_workers(1)
