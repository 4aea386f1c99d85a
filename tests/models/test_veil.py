"""Veils over whole pictures: told, lifted, and learnt."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
import xarray as xr
from conftest import Options, textured_dn, write_raster, write_toy
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from geodecloud.errors import BandError, OptionError
from geodecloud.models.card import Channel, ModelCard
from geodecloud.models.catalogue import choose_model, find_weights
from geodecloud.models.spanet import SPANet
from geodecloud.models.tensors import read_tensors
from geodecloud.models.veil import LEAST_OPACITY, NUMBERS, Veil, describe, find_veil, guess
from geodecloud.models.weights import load_model
from geodecloud.pipeline import Declouded, decloud
from geodecloud.restore.composite import Provenance
from geodecloud.training.chips import Chip
from geodecloud.training.config import Config
from geodecloud.training.dataset import SimulatedClouds
from geodecloud.training.sources import read_sources
from geodecloud.training.veil import draw_veiled, learn_veils, moments, squared_error

BANDS = ("B02", "B03", "B04")
GROUND = (textured_dn(3, 70, 90) / 1e4).astype(np.float32)
ARCHITECTURE = {"width": 4, "passes": "one-step", "direction_weights": False, "output": "blend"}


def logit(share: float) -> float:
    return float(np.log(share / (1 - share)))


def constant(opacity: float, colour: float) -> dict[str, torch.Tensor]:
    """Layers that guess the same veil over every picture."""
    bias = torch.tensor([logit(opacity), *[logit(colour)] * 3])
    return {"veil.0.0.weight": torch.zeros(4, NUMBERS), "veil.0.0.bias": bias}


def write_model(
    path: Path, veil: dict[str, torch.Tensor], sees_cloud: bool = False, gamma: float = 1.0
) -> Path:
    """Random weights whose cloud map is 0 everywhere, or crosses the threshold here and there."""
    torch.manual_seed(1)
    network = SPANet(3, 3, **ARCHITECTURE)
    with torch.no_grad():
        network.conv_out.weight.abs_()
        if not sees_cloud:
            network.attention.conv_out.weight.zero_()  # the sigmoid of 0 is a half
    threshold = 0.5 if sees_cloud else 0.6
    fields = {"picture_gamma": gamma, "cloud_threshold": threshold}
    assert write_toy(path, network, ARCHITECTURE, BANDS, veil, **fields).lifts_veil
    return path


def picture(dn: np.ndarray, **attrs: object) -> xr.DataArray:
    return xr.DataArray(dn, dims=("band", "y", "x"), attrs={"long_name": BANDS} | attrs)


def run(dn: np.ndarray, model: Path, **options: object) -> Declouded:
    return decloud(picture(dn), Options(model=str(model), **options))


PICTURE = np.rint(255 * (0.6 * GROUND + 0.4 * 0.5)).astype(np.uint8)


@given(opacity=st.floats(0.05, 0.9), colour=st.lists(st.floats(0, 1), min_size=3, max_size=3))
def test_lifting_a_veil_undoes_it(opacity: float, colour: list[float]) -> None:
    seen = (1 - opacity) * GROUND + opacity * np.array(colour, np.float32)[:, None, None]
    lifted = Veil(opacity, tuple(colour)).lift(seen.astype(np.float32))
    np.testing.assert_allclose(lifted, GROUND, atol=2e-5)


def test_the_numbers_are_those_of_the_pixels_in_any_order() -> None:
    pixels = GROUND.reshape(3, -1)
    numbers = describe(pixels)
    assert numbers.shape == (NUMBERS,)
    mixed = pixels[:, np.random.default_rng(0).permutation(pixels.shape[1])]
    np.testing.assert_allclose(describe(mixed), numbers, atol=1e-5)
    np.testing.assert_allclose(numbers[3], np.median(pixels[0]), atol=1e-6)
    np.testing.assert_allclose(numbers[-3], np.corrcoef(pixels)[0, 1], atol=0.05)


def test_the_guess_is_the_mean_of_the_trained_networks() -> None:
    torch.manual_seed(0)
    networks = [
        nn.Sequential(nn.Linear(NUMBERS, 16), nn.ReLU(), nn.Linear(16, 4), nn.Sigmoid())
        for _ in range(3)
    ]
    tensors = {
        f"veil.{member}.{new}.{kind}": getattr(network[old], kind).detach().numpy()
        for member, network in enumerate(networks)
        for new, old in enumerate((0, 2))
        for kind in ("weight", "bias")
    }
    numbers = np.random.default_rng(0).normal(size=(5, NUMBERS)).astype(np.float32)
    with torch.no_grad():
        expected = np.mean([network(torch.from_numpy(numbers)).numpy() for network in networks], 0)
    np.testing.assert_allclose(guess(tensors, numbers), expected, atol=1e-6)


def test_a_thin_veil_is_none() -> None:
    numbers = {name: tensor.numpy() for name, tensor in constant(0.19, 0.5).items()}
    assert find_veil(numbers, GROUND.reshape(3, -1)) is None
    assert LEAST_OPACITY > 0.19
    assert find_veil(numbers, GROUND.reshape(3, -1)[:, :0]) is None


@pytest.mark.parametrize("gamma", [1.0, 2.0])
def test_a_veil_over_the_picture_is_lifted_everywhere(gamma: float, tmp_path: Path) -> None:
    """It lies over the picture as it is seen, whatever light the network is shown."""
    model = write_model(tmp_path / "m.safetensors", constant(0.4, 0.5), gamma=gamma)
    result = run(PICTURE, model)
    expected = np.clip(np.rint((PICTURE - 0.4 * 0.5 * 255) / 0.6), 0, 255)
    np.testing.assert_array_equal(result.image.values, expected)
    assert (result.provenance.values == Provenance.RESTORED).all()
    np.testing.assert_allclose(result.cloud_map.values, 0.4, atol=1e-6)


def test_without_a_veil_nothing_changes(tmp_path: Path) -> None:
    result = run(PICTURE, write_model(tmp_path / "m.safetensors", constant(0.1, 0.5)))
    np.testing.assert_array_equal(result.image.values, PICTURE)


def seeing(number: int, below: float) -> dict[str, torch.Tensor]:
    """Layers that guess a veil of 0.8 and more where one of the 48 numbers is small, else none."""
    weight = torch.zeros(4, NUMBERS)
    weight[0, number] = -200.0
    bias = torch.tensor([200.0 * below, *[logit(0.5)] * 3])
    return {"veil.0.0.weight": weight, "veil.0.0.bias": bias}


@pytest.mark.parametrize("gamma", [1.0, 2.0])
@pytest.mark.parametrize(("number", "level"), [(3, 40), (17, 200)])  # medians of blue and red
def test_the_picture_is_looked_at_as_it_is_seen(
    number: int, level: int, gamma: float, tmp_path: Path
) -> None:
    """In blue, green, red, 0 to 1, whatever light the network is shown; without its gaps."""
    dn = np.empty((3, 60, 70), np.uint8)
    for band, value in enumerate((40, 120, 200)):
        dn[band] = value + textured_dn(1, 60, 70)[0] % 5
    dn[:, :50] = 255  # nodata: without the gaps no number would be far from 1
    median = float(np.median(dn[0 if number == 3 else 2, 50:])) / 255
    assert abs(255 * median - level) < 6
    for near, lifted in ((0.02, True), (-0.02, False)):
        model = write_model(
            tmp_path / f"{near}.safetensors", seeing(number, median + near), gamma=gamma
        )
        scene = picture(dn, _FillValue=255).rio.write_nodata(255)
        result = decloud(scene, Options(model=str(model)))
        assert (result.provenance.values[50:] == Provenance.RESTORED).all() == lifted
        assert (result.provenance.values[:50] == Provenance.NODATA).all()


def test_a_mask_of_the_users_says_where_the_veil_is_lifted(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.safetensors", constant(0.4, 0.5))
    mask = np.zeros((1, 70, 90), np.uint8)
    mask[:, 20:50, 30:60] = 1
    path = write_raster(tmp_path / "mask.tif", mask)
    write_raster(tmp_path / "scene.tif", PICTURE)
    with rasterio.open(tmp_path / "scene.tif") as src:
        grid = {"crs": src.crs, "transform": src.transform}
    scene = picture(PICTURE).rio.write_crs(grid["crs"]).rio.write_transform(grid["transform"])
    result = decloud(scene, Options(model=str(model), mask=str(path)))
    changed = (result.image.values != PICTURE).any(axis=0)
    assert changed[20:50, 30:60].mean() > 0.95
    assert not changed[~(mask[0] > 0)].any()


def test_nodata_stays_under_a_veil(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.safetensors", constant(0.4, 0.5))
    dn = PICTURE.copy()
    dn[:, :20, :30] = 0
    scene = picture(dn, _FillValue=0).rio.write_nodata(0)
    result = decloud(scene, Options(model=str(model)))
    np.testing.assert_array_equal(result.image.values[:, :20, :30], 0)
    assert (result.provenance.values[:20, :30] == Provenance.NODATA).all()
    assert (result.image.values[:, 40:] != dn[:, 40:]).mean() > 0.9


def test_reflectance_has_no_veil_over_all(tmp_path: Path) -> None:
    dn = (GROUND * 1e4).astype(np.uint16)
    lifting = write_model(tmp_path / "m.safetensors", constant(0.4, 0.5))
    np.testing.assert_array_equal(run(dn, lifting).image.values, dn)


@pytest.mark.parametrize("opacity", [0.4, 0.1])
def test_how_it_is_cut_does_not_matter(opacity: float, tmp_path: Path) -> None:
    """Whether a veil is lifted, or there is none and the network restores here and there."""
    model = write_model(tmp_path / "m.safetensors", constant(opacity, 0.5), sees_cloud=True)
    dn = np.rint(255 * (textured_dn(3, 150, 190) / 1e4)).astype(np.uint8)
    whole = run(dn, model)
    assert (whole.provenance.values == Provenance.RESTORED).mean() > 0.05
    lazy = picture(dn).chunk({"y": 70, "x": 90})
    parts = decloud(lazy, Options(model=str(model), window=40))
    difference = parts.image.values.astype(int) - whole.image.values
    assert np.abs(difference).max() <= 1
    assert (difference != 0).mean() < 1e-3
    np.testing.assert_array_equal(parts.provenance.values, whole.provenance.values)


def test_a_stack_of_dates_is_refused(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.safetensors", constant(0.4, 0.5))
    stack = xr.concat([picture(PICTURE)] * 2, "time", join="override")
    with pytest.raises(OptionError, match=r"stack of 2 dates.*isel\(time=0\)"):
        decloud(stack, Options(model=str(model)))


def test_such_a_model_is_never_chosen_but_named(monkeypatch: pytest.MonkeyPatch) -> None:
    card = ModelCard("veils", "", channels=tuple(map(Channel, BANDS)), lifts_veil=True)
    monkeypatch.setattr("geodecloud.models.catalogue.shipped_cards", lambda: {"veils": card})
    with pytest.raises(BandError, match='only when asked for: model="veils"'):
        choose_model(BANDS)


def test_the_weights_load_as_a_network_too(tmp_path: Path) -> None:
    model = load_model(write_model(tmp_path / "m.safetensors", constant(0.4, 0.5)))
    assert model.card.lifts_veil


def test_the_error_is_that_of_the_lifted_picture() -> None:
    seen = 0.55 * GROUND + 0.45 * 0.4
    guessed = torch.tensor([[0.3, 0.5, 0.6, 0.4]])
    found = torch.from_numpy(moments(seen, GROUND))[None]
    lifted = Veil(0.3, (0.5, 0.6, 0.4)).lift(seen.astype(np.float32))
    expected = np.mean((lifted - GROUND) ** 2, axis=(1, 2))
    np.testing.assert_allclose(squared_error(guessed, found)[0].numpy(), expected, rtol=1e-3)


def examples() -> SimulatedClouds:
    rng = np.random.default_rng(3)
    chips = [
        Chip(
            (textured_dn(3, 200, 200, seed) / 1e4 * rng.uniform(0.3, 1)).astype(np.float32), "here"
        )
        for seed in range(6)
    ]
    return SimulatedClouds(chips, [], Config(bands=BANDS, display_share=1.0), 1)


def test_drawn_veils_take_contrast_and_leave_256_levels() -> None:
    veiled = 0
    for index in range(40):
        seen, bare = draw_veiled(examples(), 5, index)
        np.testing.assert_allclose(seen * 255, np.rint(seen * 255), atol=1e-3)
        if not np.array_equal(seen, bare):
            veiled += 1
            assert seen.std() < bare.std()
    assert 10 < veiled < 34  # 55 %


def errors(
    tensors: dict[str, np.ndarray], drawn: SimulatedClouds, seed: int
) -> tuple[float, float]:
    """Mean over 150 pictures of the error before and after."""
    before, after = [], []
    for index in range(150):
        seen, bare = draw_veiled(drawn, seed, index)
        veil = find_veil(tensors, seen.reshape(3, -1))
        before.append(np.sqrt(np.mean((seen - bare) ** 2)))
        after.append(np.sqrt(np.mean(((veil.lift(seen) if veil else seen) - bare) ** 2)))
    return float(np.mean(before)), float(np.mean(after))


def real_ground(real_data: Path) -> SimulatedClouds:
    config = Config.read(Path(__file__).parents[2] / "examples/train_rgb.toml")
    drawn = read_sources(config, real_data / "clear", None, None).examples
    assert isinstance(drawn, SimulatedClouds)
    return drawn


def test_it_learns_the_veils_it_is_shown(real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geodecloud.training.veil._MEMBERS", 1)
    drawn = real_ground(real_data)
    tensors = {k: v.numpy() for k, v in learn_veils(drawn, 150, seed=1).items()}
    before, after = errors(tensors, drawn, 1)
    assert after < 0.6 * before


def test_the_shipped_model_lifts_veils_it_has_not_seen(real_data: Path) -> None:
    _, tensors = read_tensors(find_weights("rgb"))
    before, after = errors(tensors, real_ground(real_data), 99)
    assert after < 0.85 * before


def test_a_card_without_veil_stays_readable() -> None:
    card = ModelCard(name="old", summary="")
    text = card.to_json().replace('"lifts_veil": false, ', "")
    assert "lifts_veil" not in text
    assert ModelCard.from_json(text) == dataclasses.replace(card, lifts_veil=False)
