from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

import geodecloud
from geodecloud.compute.memory import MemoryEstimate, WindowCost, fit, parse_limit
from geodecloud.errors import OptionError, WindowPlanError
from geodecloud.options import Options
from geodecloud.raster.reader import read_metadata
from geodecloud.restore.decisions import decide

pytestmark = pytest.mark.usefixtures("own_backend")


@pytest.mark.parametrize(
    ("text", "amount"), [("4GB", 4e9), ("800 m", 8e8), ("1.5g", 1.5e9), ("2e9", 2e9), ("7", 7)]
)
def test_amounts(text: str, amount: float) -> None:
    assert parse_limit(text) == amount


@pytest.mark.parametrize("text", ["", "much", "-1GB", "0", "4GiBs", "1.2.3G", "infGB"])
def test_no_amounts(text: str) -> None:
    with pytest.raises(OptionError, match='max_memory="4GB"'):
        parse_limit(text)


@given(
    st.integers(1, 64),
    st.floats(1e9, 1e11),
    st.integers(1, 13),
    st.sampled_from([1, 2, 4, 8]),
    st.booleans(),
    st.integers(0, 8),
)
def test_what_fits_is_within_the_limit(
    workers: int, limit: float, bands: int, itemsize: int, shared: bool, dates: int
) -> None:
    cost, width_px = WindowCost(2000, shared), 10_980
    wish = MemoryEstimate(workers, 1024, 384, cost, dates, width_px)
    try:
        found = fit(wish, limit, bands, itemsize, 128)
    except WindowPlanError:
        least = MemoryEstimate(1, 256, 128, cost, dates, width_px)
        assert least.bytes(bands, itemsize, 128) > limit
        return
    assert (found.dates, found.width_px) == (dates, width_px)
    assert found.bytes(bands, itemsize, 128) <= limit
    if wish.bytes(bands, itemsize, 128) <= limit:
        assert found == wish  # nothing is taken away without need


def test_the_result_is_the_same_within_less_memory(
    scene: Path, toy_model: Path, tmp_path: Path
) -> None:
    images = []
    for limit in (None, "1.2GB"):
        out = tmp_path / f"{limit}.tif"
        geodecloud.decloud_scene(scene, out, model=str(toy_model), max_memory=limit)
        images.append(rasterio.open(out).read().astype(int))
    np.testing.assert_array_equal(images[0], images[1])
    with pytest.raises(WindowPlanError, match=r"max_memory=.\d\.\dGB"):
        geodecloud.decloud_scene(scene, tmp_path / "o.tif", model="identity", max_memory="700MB")


def test_other_dates_count() -> None:
    """What waits of four dates of a tile: its network's ground and theirs in two rows, and a row of the dates."""
    cost = WindowCost(200, shared=True)
    alone = MemoryEstimate(2, 1024, 1536, cost)
    dated = dataclasses.replace(alone, dates=4, width_px=10_980)
    more = dated.bytes(4, 2, 128) - alone.bytes(4, 2, 128)
    row = 10_980 * 1024
    assert 2 * row * 20 + row * 44 < more < 2 * 2 * row * 20 + 2 * row * 44
    assert fit(dated, 3e9, 4, 2, 128) != dated
    assert fit(alone, 3e9, 4, 2, 128) == alone


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_windows_are_kept_where_there_is_memory_enough(
    device: str, scene: Path, toy_model: Path
) -> None:
    """A limit that is far away changes nothing, and a GPU has the windows it likes."""
    options = Options(model=str(toy_model), device=device, workers=2, max_memory="500GB")
    free = dataclasses.replace(options, max_memory=None)
    metadata = read_metadata(scene)
    assert decide(metadata, None, options) == decide(metadata, None, free)
    tight = dataclasses.replace(options, max_memory="1.2GB")
    assert decide(metadata, None, tight).window_px < 896
