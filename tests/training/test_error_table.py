"""The table of expected errors: found again where it is planted, and right in the mean on other clouds."""

from __future__ import annotations

import dataclasses
import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from conftest import make_toy_model, textured_dn, write_raster
from safetensors.numpy import load_file
from torch import Tensor, nn

from geodecloud.models.architecture import Architecture
from geodecloud.models.card import Channel, ModelCard
from geodecloud.models.catalogue import read_card
from geodecloud.models.expected_error import Evidence
from geodecloud.models.weights import Model, load_model, save_weights
from geodecloud.training.chips import Chip
from geodecloud.training.config import Config
from geodecloud.training.dataset import SimulatedClouds
from geodecloud.training.expected_error import draw_pair, find_replaced, fit_table, measure_errors
from geodecloud.training.finish import BEST, begin_card, finish, new_network
from geodecloud.training.pairs import Pair
from geodecloud.training.sources import Sources, learnt_grounds

ROOT = Path(__file__).parents[2]
BANDS = ("B02", "B03")
CARD = ModelCard(
    name="stub",
    summary="",
    architecture={"output": "blend"},
    channels=tuple(Channel(band) for band in BANDS),
    has_cloud_map=True,
    cloud_threshold=0.25,
    opaque_threshold=0.6,
)


class Flat(nn.Module):
    """Restores to the mean of the ground; its map is how bright it is."""

    architecture = Architecture(output="blend")
    reach_px = 0

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        return torch.full_like(image, 0.12), image[:, :1].clamp(0, 1)


def grounds(count: int, seed: int) -> list[Pair]:
    """Rough clear ground around 0.12, (2, 96, 96)."""
    rng = np.random.default_rng(seed)
    images = 0.12 + rng.uniform(0.02, 0.05) * rng.standard_normal((count, 2, 96, 96))
    return [Pair(f"p{i}", x, x, BANDS) for i, x in enumerate(images.clip(0.01).astype(np.float32))]


def test_planted_factors_are_found_again() -> None:
    """The nodes are known to the test by what lies between: errors that halve and double along each axis."""
    rng = np.random.default_rng(3)
    highs = (1, 1, 0.4, 0.3, 0.2, 0.05, 0.1)

    def planted(s: list[np.ndarray]) -> np.ndarray:
        steep = zip(s, highs, (0.8, 0.4, 0, 1.0, 0, 0.7, 0.6), strict=True)
        return 0.02 * np.exp(sum(effect * x / high for x, high, effect in steep))

    def drawn(count: int) -> list[np.ndarray]:
        return [rng.uniform(0, high, count).astype(np.float32) for high in highs]

    found = []
    for _ in range(30):
        seen = drawn(3000)
        error = planted(seen) * rng.exponential(size=3000)
        found.append((Evidence(*seen), error.astype(np.float32)))
    table = fit_table(found)
    seen = drawn(500)
    apart = np.abs(table.at(Evidence(*seen)) / planted(seen) - 1)
    assert apart.mean() < 0.08
    assert np.quantile(apart, 0.98) < 0.25
    alike = fit_table(found, knows_around=False)
    assert alike.unknown is None
    assert alike.spread is not None


def test_ground_that_was_learnt_lends_the_shape_and_not_the_mean() -> None:
    """Only learnt ground tells that the error doubles with the spread, and errors on it are three times as large."""
    rng = np.random.default_rng(4)

    def drawn(most: float, mean: float) -> list[tuple[Evidence, np.ndarray]]:
        parts = []
        for _ in range(20):
            spread = rng.uniform(0, most, 3000).astype(np.float32)
            error = mean * 2 ** (spread / 0.02) * rng.exponential(size=3000)
            rest = [np.full(3000, 0.1, np.float32)] * 5
            parts.append((Evidence(*rest, spread, rest[0]), error.astype(np.float32)))
        return parts

    table = fit_table(drawn(0.001, 0.01), learnt=drawn(0.02, 0.03))
    planes = [np.full(2, 0.1, np.float32)] * 5
    told = table.at(Evidence(*planes, np.array([0, 0.02], np.float32), planes[0]))
    np.testing.assert_allclose(told, [0.01, 0.02], rtol=0.08)


def test_what_differs_from_date_to_date_by_chance_is_not_told_of_new_ones() -> None:
    """Errors rise with the spread in all dates; each date has a brightness and an error of its own that have nothing to do with each other."""
    rng = np.random.default_rng(6)

    def drawn(dates: int) -> list[tuple[Evidence, np.ndarray]]:
        parts = []
        for _ in range(dates):
            planes = [np.full(3000, 0.1, np.float32)] * 7
            planes[5] = rng.uniform(0, 0.02, 3000).astype(np.float32)
            planes[3] = np.full(3000, rng.uniform(0, 0.4), np.float32)
            mean = 0.02 * np.exp(rng.normal(0, 0.6)) * 2 ** (planes[5] / 0.02)
            parts.append(
                (Evidence(*planes), (mean * rng.exponential(size=3000)).astype(np.float32))
            )
        return parts

    found = drawn(10)
    naive, cautious = fit_table(found), fit_table(found, dates=range(10))
    assert np.ptp(cautious.shortest.effects) < 0.7 * np.ptp(naive.shortest.effects)
    one = [fit_table(found, dates=[0] * 10), naive]
    assert one[0] == one[1]  # of one date nothing can be left out


def test_of_each_place_that_is_learnt_one_large_piece_is_taken() -> None:
    shapes = {"a": (40, 60), "b": (60, 70), "c": (90, 64)}
    chips = [Chip(np.full((2, *shape), 0.1, np.float32), place) for place, shape in shapes.items()]
    found = learnt_grounds([*chips, *chips], BANDS, 60)
    assert [one.name for one in found] == ["b", "c"]
    assert [one.clear.shape for one in found] == [(2, 60, 70), (2, 90, 64)]
    assert found[0].bands == BANDS


def test_a_large_scene_counts_as_a_small_one() -> None:
    """Of two kinds of scenes, off by 0.01 and 0.04, the mean lies between however many pixels each has."""
    told = []
    for count in (20_000, 200_000):
        parts = []
        for size, error in ((20_000, 0.01), (count, 0.04)):
            plane = np.full(size, 0.1, np.float32)
            parts.append((Evidence(*[plane] * 7), np.full(size, error, np.float32)))
        told.append(fit_table(parts).at(parts[0][0])[0])
    np.testing.assert_allclose(told, 0.025, rtol=0.02)


def test_on_clouds_and_ground_not_measured_on_it_is_right_in_the_mean() -> None:
    card = measure_errors(Flat(), CARD, grounds(4, 1), (), (), 12)
    table = card.expected_error
    assert table is not None
    assert "12 scenes" in table.measured
    assert "4 clear dates" in table.measured
    assert dataclasses.replace(card, expected_error=None) == CARD
    assert measure_errors(Flat(), card, [], (), (), 12) == CARD
    model = Model(card, Flat(), "stub")
    told, true = [], []
    for number, ground in enumerate(grounds(8, 2)):
        found = find_replaced(draw_pair(ground, (99, number)), model)
        told.append(found.confidence)
        true.append(found.error)
    told, true = np.concatenate(told), np.concatenate(true)
    assert told.size > 5000
    assert np.isfinite(told).all()
    assert abs(told.mean() / true.mean() - 1) < 0.2


def test_the_error_is_that_of_the_result_against_the_clear_ground() -> None:
    """The ground is even, so what the stub restores is off by as much wherever its weight is 1."""
    even = np.full((2, 64, 64), 0.15, np.float32)
    even[1] = 0.1
    model, seen = Model(CARD, Flat(), "stub"), 0
    for number in range(8):
        found = find_replaced(draw_pair(Pair("even", even, even, BANDS), (1, number)), model)
        assert np.isnan(found.confidence).all()
        assert (found.seen.unknown == 1).all()
        inner = found.seen.opacity > 0.7
        np.testing.assert_allclose(found.error[inner], (0.03 + 0.02) / 2, atol=2e-4)
        np.testing.assert_allclose(found.seen.brightness[inner], 0.12, atol=2e-4)
        seen += inner.sum()
    assert seen > 50


def test_a_pair_is_drawn_in_the_bands_that_are_there_and_asked_for() -> None:
    names = ("B02", "B03", "B04", "B08")
    image = np.random.default_rng(1).uniform(0.05, 0.3, (4, 80, 90)).astype(np.float32)
    image[2] = 0
    image[:, :20, :30] = 0
    pair = draw_pair(Pair("p", image, image, names), (2, 2), [image], ("B02", "B04", "B08"), 64)
    assert pair.bands == ("B02", "B08")
    assert pair.clear.shape == (2, 64, 64)
    assert pair.codec.dtype == "uint16"
    there = [
        np.array_equal(pair.clear, image[[0, 3], y : y + 64, x : x + 64])
        for y in range(17)
        for x in range(27)
    ]
    assert sum(there) == 1
    again = draw_pair(Pair("p", image, image, names), (2, 2), [image], ("B02", "B04", "B08"), 64)
    np.testing.assert_array_equal(again.cloudy, pair.cloudy)


def test_a_finished_run_has_the_table_on_its_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config(name="mine", bands=BANDS, width=4, error_scenes=3)
    ground = grounds(2, 5)
    examples = SimulatedClouds([Chip(one.clear, "here") for one in ground], [], config, 2)
    sources = Sources(examples, ground, examples)
    card = begin_card(config, sources)
    # a fresh network sees no cloud at any threshold that is worth choosing
    found = dataclasses.replace(card, cloud_threshold=0.0, opaque_threshold=0.5)
    monkeypatch.setattr("geodecloud.training.finish.calibrate", lambda *about: found)
    torch.manual_seed(1)
    save_weights(new_network(config), card, tmp_path / BEST)
    made = finish(config, sources, card, tmp_path)
    assert read_card(tmp_path / "mine.safetensors") == made
    assert made.expected_error is not None
    assert made.expected_error.measured.startswith("3 scenes")
    none = finish(dataclasses.replace(config, error_scenes=0), sources, card, tmp_path)
    assert none.expected_error is None


def test_the_tool_writes_a_table_on_the_card_and_leaves_the_tensors(tmp_path: Path) -> None:
    weights = make_toy_model(tmp_path / "toy.safetensors")
    before, tensors = read_card(weights), load_file(weights)
    for seed, name in enumerate(("a", "b")):
        for kind in ("clear", "cloudy"):
            write_raster(tmp_path / f"{name}_{kind}.tif", textured_dn(4, 70, 80, seed))
    config = tmp_path / "config.toml"
    config.write_text('select_pairs = ["b"]\ntexture_pairs = ["a"]\nerror_scenes = 2\n')
    tool = runpy.run_path(str(ROOT / "tools/measure_card.py"))["main"]
    words = [str(weights), str(config), "--pairs", str(tmp_path)]
    done = CliRunner().invoke(tool, [*words, "--dry-run"], catch_exceptions=False)
    assert read_card(weights) == before
    done = CliRunner().invoke(tool, words, catch_exceptions=False)
    after = read_card(weights)
    assert json.loads(done.output)["measured"] == after.expected_error.measured
    assert "1 clear dates" in after.expected_error.measured
    assert dataclasses.replace(after, expected_error=None) == before
    assert load_model(weights).card == after
    for key, tensor in load_file(weights).items():
        np.testing.assert_array_equal(tensor, tensors[key])
