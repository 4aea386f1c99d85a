"""Scenes that lack bands a model can do without, and pictures whose bands only have colours."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
import xarray as xr
from conftest import BANDS, Options, make_toy_model, textured_dn, write_raster
from rasterio.enums import ColorInterp

from geodecloud.errors import BandError, GeodecloudWarning
from geodecloud.models.catalogue import choose_model
from geodecloud.models.weights import load_model, read_weights, save_weights
from geodecloud.pipeline import decloud
from geodecloud.raster.reader import read_metadata


@pytest.fixture(scope="module")
def lenient(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy model with a card that lets B03 and B08 be absent."""
    path = make_toy_model(tmp_path_factory.mktemp("lenient") / "lenient.safetensors")
    card, _ = read_weights(path)
    card = dataclasses.replace(card, name="lenient", optional=("B03", "B08"))
    save_weights(load_model(path).network, card, path)
    return path


def as_array(dn: np.ndarray, names: tuple[str, ...]) -> xr.DataArray:
    return xr.DataArray(dn, dims=("band", "y", "x"), attrs={"long_name": names})


def test_a_lacking_band_is_a_plane_of_zeros(lenient: Path) -> None:
    """Against the network itself, run on the whole scene."""
    dn = textured_dn(3, 60, 70)
    array = as_array(dn, ("B08", "QA60", "B02"))
    with pytest.raises(BandError, match="B04"):
        decloud(array, Options(model=str(lenient)))
    array = as_array(dn, ("B04", "B08", "B02"))
    result = decloud(array, Options(model=str(lenient), mask="none"))
    image = np.zeros((1, 4, 60, 70), np.float32)
    image[0, [2, 3, 0]] = dn * np.float32(1e-4)
    with torch.no_grad():
        restored, attention = load_model(lenient).network(torch.from_numpy(image))
    expected = np.clip(np.rint(restored[0, [2, 3, 0]].numpy() * 1e4), 0, None)
    assert np.abs(result.image.values.astype(int) - expected).max() <= 1
    np.testing.assert_allclose(result.cloud_map, attention[0, 0], atol=1e-5)


def test_bands_asked_for_by_name_may_lack_the_optional_ones(lenient: Path) -> None:
    dn = textured_dn(4, 40, 50)
    whole = as_array(dn, BANDS)
    options = {"model": str(lenient), "mask": "none"}
    with pytest.warns(GeodecloudWarning, match="does not restore bands B03, B08"):
        some = decloud(whole, Options(bands=("B04", "B02"), **options)).image.values
    alone = as_array(dn[[0, 2]], ("B02", "B04"))
    np.testing.assert_array_equal(some[[0, 2]], decloud(alone, Options(**options)).image.values)
    np.testing.assert_array_equal(some[[1, 3]], dn[[1, 3]])


def test_the_model_that_restores_most_bands_is_chosen(
    lenient: Path, toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cards = {path.stem: read_weights(path)[0] for path in (lenient, toy_model)}
    monkeypatch.setattr("geodecloud.models.catalogue.shipped_cards", lambda: cards)
    assert choose_model(["B02", "B04"]).name == "lenient"
    assert choose_model(["B08", "B02", "B04", "B11"]).reason.endswith("B02 B04 B08")
    with pytest.raises(BandError, match="lenient: B02 B04\n"):
        choose_model(["B02", "B03"])


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_bands_of_a_picture_are_named_by_colour(order: tuple[int, ...], tmp_path: Path) -> None:
    path = write_raster(tmp_path / "picture.tif", textured_dn(3, 20, 30).astype(np.uint8))
    colours = [ColorInterp.red, ColorInterp.green, ColorInterp.blue]
    with rasterio.open(path, "r+") as dst:
        dst.colorinterp = [colours[i] for i in order]
    names = ("B04", "B03", "B02")
    assert read_metadata(path).names == tuple(names[i] for i in order)
