"""What `geodecloud bench` says is what was measured; no time is asserted here."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from geodecloud.backends.openvino_cpu import has_bf16
from geodecloud.bench.measure import REFERENCE, plan_scene_windows
from geodecloud.bench.scene import Stopwatch, write_scene
from geodecloud.cli.commands import main

pytestmark = pytest.mark.usefixtures("own_backend")

spans = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 12)), max_size=12)


@given(spans, spans)
def test_stopwatch_counts_moments_once(
    one: list[tuple[int, int]], other: list[tuple[int, int]]
) -> None:
    """Against sets of whole seconds."""
    watch = Stopwatch()
    for kind, found in (("one", one), ("other", other)):
        watch._spans[kind] = [(start, start + length) for start, length in found]
    seconds = [
        {t for start, length in found for t in range(start, start + length)}
        for found in (one, other)
    ]
    assert watch.seconds("one") == len(seconds[0])
    assert watch.seconds("one", "other") == len(seconds[0] | seconds[1])
    assert watch.seconds("nothing") == 0


def test_stopwatch_gives_back_what_the_function_does() -> None:
    watch = Stopwatch()
    assert watch.timed("adding", lambda a, b: a + b)(1, b=2) == 3
    with pytest.raises(ZeroDivisionError):
        watch.timed("dividing", lambda: 1 / 0)()
    assert watch.seconds("dividing") > 0


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("size", [64, 700, 2500])
def test_windows_timed_are_those_of_the_scene(size: int, shared: bool) -> None:
    """Every pixel is computed, and a few twice: chunks look a little beyond their edges."""
    count = np.zeros((size, size), np.uint8)
    for plan in plan_scene_windows(size, 384, 36, shared):
        count[plan.core.slices_yx] += 1
        grown = plan.core.grow(36, plan.padded)
        assert grown == plan.padded
    assert count.min() == 1
    assert count.mean() < 1.1


def test_synthetic_scene_is_what_it_says(tmp_path: Path) -> None:
    write_scene(tmp_path / "scene.tif", 600, ("B02", "B08"))
    with rasterio.open(tmp_path / "scene.tif") as src:
        dn = src.read()
        assert src.descriptions == ("B02", "B08")
    assert dn.shape == (2, 600, 600)
    assert dn.min() > 0
    assert dn[:, 512:].std() > 50  # the last strip, too


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reference and a peak that take no time."""
    monkeypatch.setattr("geodecloud.bench.measure._REFERENCE_PX", 48)
    monkeypatch.setattr("geodecloud.bench.machine._PRODUCTS", (64,))


@pytest.mark.usefixtures("small")
def test_bench_prints_what_it_measured(toy_model: Path) -> None:
    result = CliRunner().invoke(
        main, ["bench", "--model", str(toy_model), "--size", "96", "--precision", "fp32", "--json"]
    )
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["scene"] == "96 x 96 px, model toy"
    run = found["runs"]["fp32"]
    assert run["mpix_per_s"] == pytest.approx(96 * 96 / run["seconds"] / 1e6)
    assert 0.05 < run["peak_gb"] < 8
    parts = [run[k] for k in ("reading", "inferring", "writing", "finishing", "waiting")]
    assert all(part > 0 for part in parts)
    assert max(parts) < run["seconds"] <= sum(parts) + 1e-6
    reference, *rows = found["rows"]
    assert {row["name"] for row in rows} >= {"torch on cpu in fp32", "openvino on cpu in fp32"}
    for row in rows:
        assert row["ratio"] == pytest.approx(row["mpix_per_s"] / reference["mpix_per_s"])
        assert row["gross_mpix_per_s"] >= row["mpix_per_s"]
        assert row["psnr_db"] > 40
    exact = next(row for row in rows if row["name"] == "torch on cpu in fp32")
    assert exact["max_error"] == 0
    assert exact["psnr_db"] == math.inf


@pytest.mark.usefixtures("small")
def test_bench_prints_tables(toy_model: Path) -> None:
    words = ["bench", "--model", str(toy_model), "--size", "64", "--no-scene"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    assert "| inference | MPix/s net |" in result.stdout
    assert "| openvino on cpu in fp32 |" in result.stdout
    # a CPU without instructions for bf16 has no such rows, and that is no error
    assert ("| openvino on cpu in bf16 |" in result.stdout) == has_bf16()


def test_nothing_to_time_is_a_mistake_of_use() -> None:
    result = CliRunner().invoke(main, ["bench", "--model", "identity", "--size", "64"])
    assert result.exit_code == 2
    assert "Error: model identity has no network to time; name one of: rgb, s2-10m" in result.stderr


def test_reference_is_the_published_graph() -> None:
    """As many parameters as the checkpoints: 219 300, the convolution nobody calls apart."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("naive", REFERENCE)
    naive = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(naive)
    count = sum(p.numel() for p in naive.PublishedGenerator(3).parameters())
    never_called = 32 * 32 * 9
    assert count in (219_300 - never_called, 219_300)
