"""Pictures that come to the network as light."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from conftest import Options, textured_dn, write_toy
from hypothesis import given
from hypothesis import strategies as st

from geodecloud.errors import WeightsError
from geodecloud.models.card import ModelCard
from geodecloud.models.spanet import SPANet
from geodecloud.pipeline import decloud
from geodecloud.scene.reflectance import Codec, Tone

BANDS = ("B02", "B03", "B04")
ARCHITECTURE = {"width": 4, "passes": "one-step", "direction_weights": False, "output": "blend"}
PICTURE = np.rint(textured_dn(3, 60, 70) / 1e4 * 255).astype(np.uint8)


@given(st.floats(0.4, 3), st.floats(0.1, 2), st.floats(-1, 2))
def test_light_is_a_power_of_the_value(gamma: float, white: float, value: float) -> None:
    tone = Tone(gamma, white)
    light = tone.light(np.array([value]))
    assert math.isclose(light[0], math.copysign(white * abs(value) ** gamma, value), abs_tol=1e-12)
    np.testing.assert_allclose(tone.values(light), [value], atol=1e-9)


@given(st.floats(0.4, 3), st.floats(0.1, 2))
def test_every_dn_of_a_picture_comes_back(gamma: float, white: float) -> None:
    codec = Codec((1 / 255,), (0.0,), "uint8", None, "", Tone(gamma, white))
    dn = np.arange(256, dtype=np.uint8)[None, None]
    np.testing.assert_array_equal(codec.encode(codec.decode(dn)), dn)


def write_model(path: Path, gamma: float, white: float) -> tuple[Path, SPANet]:
    torch.manual_seed(1)
    network = SPANet(3, 3, **ARCHITECTURE)
    write_toy(path, network, ARCHITECTURE, BANDS, picture_gamma=gamma, picture_white=white)
    return path, network.eval()


def restore(dn: np.ndarray, model: Path) -> np.ndarray:
    scene = xr.DataArray(dn, dims=("band", "y", "x"), attrs={"long_name": BANDS})
    return decloud(scene, Options(model=str(model), mask="none", precision="fp32")).image.values


def test_the_network_sees_light_and_its_light_becomes_a_picture(tmp_path: Path) -> None:
    model, network = write_model(tmp_path / "m.safetensors", 2.0, 0.6)
    with torch.inference_mode():
        light, _ = network(torch.from_numpy(0.6 * (PICTURE / 255) ** 2)[None].float())
    expected = np.rint(255 * np.sqrt(np.clip(light[0].numpy() / 0.6, 0, 1)))
    restored = restore(PICTURE, model)
    assert np.abs(restored - expected).max() <= 1
    assert (restored != expected).mean() < 1e-3
    assert (restored != PICTURE).mean() > 0.1


def test_reflectance_is_light_already(tmp_path: Path) -> None:
    dn = textured_dn(3, 60, 70)
    as_is, _ = write_model(tmp_path / "as_is.safetensors", 1.0, 1.0)
    squared, _ = write_model(tmp_path / "squared.safetensors", 2.0, 0.6)
    np.testing.assert_array_equal(restore(dn, squared), restore(dn, as_is))


def test_a_card_of_no_light_is_refused() -> None:
    card = ModelCard("dark", "", picture_white=1.0)
    text = dataclasses.replace(card, picture_gamma=0.0).to_json()
    with pytest.raises(WeightsError, match="gamma"):
        ModelCard.from_json(text)
