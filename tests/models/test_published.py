"""Parity with the authors' published result, through import and command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from rasterio.transform import from_origin

from geodecloud.cli.commands import main
from geodecloud.models.catalogue import get_card

pytestmark = pytest.mark.usefixtures("own_backend")


#: A corner of the picture, and the part of it that does not depend on the rest of the picture.
SIDE, SURE = 256, np.s_[:, : 256 - 36, : 256 - 36]


def panel(folder: Path, index: int) -> np.ndarray:
    """A corner of one of the panels (cloudy, attention, output, truth): RGB uint8."""
    with rasterio.open(folder / "published/RICE2/panels_test_0000.png") as src:
        return src.read(window=rasterio.windows.Window(512 * index, 0, SIDE, SIDE))


@pytest.fixture(scope="module")
def weights(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("published") / "rice2.safetensors"
    checkpoint = real_data / "published/RICE2/gen_model_epoch_200.pth"
    result = CliRunner().invoke(main, ["models", "import", str(checkpoint), "--out", str(out)])
    assert result.exit_code == 0, result.output
    return out


def write(path: Path, image: np.ndarray) -> Path:
    options = {"crs": "EPSG:32650", "transform": from_origin(5e5, 3.4e6, 30, 30)}
    with rasterio.open(
        path, "w", driver="GTiff", width=SIDE, height=SIDE, count=3, dtype=image.dtype, **options
    ) as dst:
        dst.write(image)
    return path


def run(scene: Path, out: Path, weights: Path, window: int) -> np.ndarray:
    # the file is red, green, blue; the model's channels are blue, green, red
    command = [str(scene), "--out", str(out), "--model", str(weights), "--bands", "3,2,1"]
    command += ["--mask", "none", "--window", str(window), "--quiet"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    with rasterio.open(out) as dst:
        assert dst.crs.to_epsg() == 32650
        return dst.read()


@pytest.mark.parametrize("window", [128, 4096])
def test_published_output_is_reproduced(
    real_data: Path, weights: Path, tmp_path: Path, window: int
) -> None:
    cloudy, published = panel(real_data, 0), panel(real_data, 2).astype(float)
    scene = write(tmp_path / "cloudy.tif", cloudy)
    restored = run(scene, tmp_path / "clear.tif", weights, window)
    assert np.abs(restored - published)[SURE].max() <= 1


def test_published_output_before_rounding(real_data: Path, weights: Path, tmp_path: Path) -> None:
    cloudy, published = panel(real_data, 0), panel(real_data, 2).astype(float)
    scene = write(tmp_path / "cloudy.tif", (cloudy / np.float32(255)).astype(np.float32))
    restored = run(scene, tmp_path / "clear.tif", weights, 4096)
    assert np.abs(restored * 255 - published)[SURE].max() <= 0.51


def test_card_says_what_the_checkpoint_is(weights: Path) -> None:
    card = get_card(weights)
    assert card.channel_names == ("B02", "B03", "B04")
    assert card.halo_px == 36
    assert not card.has_cloud_map
    assert card.architecture["passes"] == "one-step"
    assert card.architecture["direction_weights"] is False
