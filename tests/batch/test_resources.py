"""What a long batch holds on to: nothing of the scenes that are done. The oracle is the system's list of open files."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

import pytest
from conftest import textured_dn, write_raster
from products import build_small

import geodecloud
from geodecloud.batch import jobs

SAFE = "S2A_MSIL2A_202306{:02}T104621_N0510_R051_T33UXQ_20230625T170000.SAFE"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="open files are listed in /proc")
def test_scenes_that_are_done_are_closed(tmp_path: Path) -> None:
    scenes = tmp_path / "scenes"
    scenes.mkdir()
    for number in range(4):
        write_raster(scenes / f"scene_{number}.tif", textured_dn(4, 30, 40, seed=number))
    held: list[set[str]] = []

    def look(*_: object) -> None:
        places = (f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd"))
        found = {os.readlink(place) for place in places if os.path.islink(place)}
        held.append({Path(name).name for name in found if str(tmp_path) in name} - {"lock"})

    gc.collect()
    gc.disable()  # what is left to Python is closed by chance
    try:
        out = tmp_path / "out"
        geodecloud.decloud_folder(scenes, out, model="identity", references="none", on_outcome=look)
    finally:
        gc.enable()
    assert held == [set()] * 4


def test_a_product_is_looked_at_once_while_a_batch_is_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in (1, 11, 21):
        build_small(tmp_path / "in" / SAFE.format(day), size=24)
    asked: list[str] = []
    open_source = jobs.open_source

    def counted(path: str, *options: object) -> object:
        asked.append(path)
        return open_source(path, *options)

    monkeypatch.setattr(jobs, "open_source", counted)
    done = geodecloud.decloud_folder(
        tmp_path / "in", tmp_path / "out", dry_run=True, model="identity"
    )
    assert done.count("to do") == 3
    assert len(asked) == 3
