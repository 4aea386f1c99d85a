from __future__ import annotations

import functools
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import promises
import pytest
import rasterio
import torch
from hypothesis import HealthCheck, Phase, settings
from rasterio.transform import from_origin

import geodecloud
from geodecloud import options
from geodecloud.models.card import Channel, ModelCard
from geodecloud.models.spanet import SPANet
from geodecloud.models.weights import save_weights

# several suites or a training run beside this one must not fight over cores, and the arrays
# here are too small to gain from threads
torch.set_num_threads(1)

# OpenVINO compiles a graph for each size of window, which takes longer than all windows of a small
# scene; where the backend is not the point, torch runs the network
geodecloud.config.set(backend="torch")
#: For what takes its options as they are, without the defaults of the process.
Options = functools.partial(options.Options, backend="torch")

settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    max_examples=50,  # of which none is new in the next run
    suppress_health_check=[HealthCheck.too_slow],
)
# of a mutant it is enough to know that some example fails
settings.register_profile(
    "mutation",
    settings.get_profile("repeatable"),
    max_examples=25,
    phases=[Phase.explicit, Phase.generate],
    report_multiple_bugs=False,
)
settings.load_profile("repeatable")
# started in the background, this process ignores Ctrl-C, and so would the programs that tests interrupt
signal.signal(signal.SIGINT, signal.default_int_handler)

promises.watch()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """What the test wrote keeps its promises, with nothing patched any more."""
    yield
    promises.check(item)


@pytest.fixture(autouse=True)
def repeatable() -> None:
    """What a test draws without a seed of its own is the same in each run."""
    torch.manual_seed(0)


@pytest.fixture
def own_backend() -> Iterator[None]:
    """The backend that is chosen where nobody asks for one."""
    with geodecloud.config.set(backend="auto"):
        yield


BANDS = ("B02", "B03", "B04", "B08")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with real files; without it the tests that need it are skipped."""
    folder = os.environ.get("GEODECLOUD_TEST_DATA")
    if not folder:
        pytest.skip("GEODECLOUD_TEST_DATA is not set to the folder of real files")
    return Path(folder)


def make_toy_model(path: Path, **changes: object) -> Path:
    """Weights of a tiny random network; its attention crosses the threshold here and there."""
    torch.manual_seed(4)
    architecture = {
        "width": 4,
        "passes": "one-step",
        "direction_weights": True,
        "output": "blend",
    } | changes
    network = SPANet(4, 4, **architecture)
    with torch.no_grad():
        network.conv_out.weight.abs_()  # reflectance above 0, so that no DN is clipped
    write_toy(path, network, architecture, BANDS, cloud_threshold=0.64, opaque_threshold=0.65)
    return path


def write_toy(
    path: Path,
    network: SPANet,
    architecture: dict[str, object],
    bands: Sequence[str],
    veil: dict[str, torch.Tensor] | None = None,
    **fields: object,
) -> ModelCard:
    """Write a network of random weights and its card."""
    card = ModelCard(
        name="toy",
        summary="random, for tests",
        architecture=architecture,
        channels=tuple(Channel(band) for band in bands),
        halo_px=network.reach_px,
        has_cloud_map=True,
        **fields,
    )
    return save_weights(network, card, path, veil)


@pytest.fixture(scope="session")
def toy_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_toy_model(tmp_path_factory.mktemp("toy") / "toy.safetensors")


def textured_dn(
    count: int, height: int, width: int, seed: int = 0, nodata: int | None = None
) -> np.ndarray:
    """DN without symmetry: smooth, different in every band, 200 to about 6000."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    bands = [
        1500 + 900 * np.sin(x / (7 + b)) * np.cos(y / (11 - b % 9)) + 4 * x + 2 * y
        for b in range(count)
    ]
    dn = np.stack(bands) + rng.normal(0, 120, (count, height, width))
    dn = np.clip(np.rint(dn), 200, 10000).astype(np.uint16)
    if nodata is not None:
        dn[:, x + 2 * y < 60] = nodata
    return dn


def write_raster(path: Path, dn: np.ndarray, **profile: object) -> Path:
    """Write a small georeferenced GeoTIFF, band names included where there are four bands."""
    count, height, width = dn.shape
    place = {
        "driver": "GTiff",
        "crs": "EPSG:32719",
        "transform": from_origin(399960, 6300040, 10, 10),
        "dtype": dn.dtype,
    } | profile
    with rasterio.open(path, "w", count=count, height=height, width=width, **place) as dst:
        dst.write(dn)
        if count == len(BANDS):
            dst.descriptions = BANDS
    return path


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """A 4-band Sentinel-2-like scene of awkward size with an empty corner."""
    return write_raster(tmp_path / "scene.tif", textured_dn(4, 101, 203, nodata=0), nodata=0)
