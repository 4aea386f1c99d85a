"""The check that every result of the tests goes through: it fails a test, and can be told not to."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import promises
import pytest
import rasterio

import geodecloud


def damaged(scene: Path, tmp_path: Path) -> None:
    """A result with a clear pixel that is not the scene's, noted down as if it had left a run like that."""
    out, codes = tmp_path / "out.tif", tmp_path / "codes.tif"
    geodecloud.decloud_scene(scene, out, model="identity", format="gtiff", provenance=codes)
    with rasterio.open(out, "r+") as dst:
        band = dst.read(2)
        band[50, 60] += 1
        dst.write(band, 2)
    (noted,) = promises._written.values()
    state = promises._state(noted.source, noted.out, noted.provenance)
    promises._written[noted.out] = dataclasses.replace(noted, state=state)


def test_a_result_that_breaks_a_promise_fails_its_test(
    scene: Path, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEODECLOUD_VERIFY", "all")
    damaged(scene, tmp_path)
    with pytest.raises(pytest.fail.Exception, match=r"pixels +band 2, row 50, column 60"):
        promises.check(request.node)


@pytest.mark.breaks_results
def test_of_one_that_is_to_do_so_nothing_is_said(
    scene: Path, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEODECLOUD_VERIFY", "all")
    damaged(scene, tmp_path)
    assert promises._written
    promises.check(request.node)  # the same damage as above, and no failure
    assert not promises._written
