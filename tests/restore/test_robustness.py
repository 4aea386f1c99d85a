"""Scenes at the edge of what is one, and networks that give no numbers. The oracle is the input itself."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from conftest import BANDS, textured_dn, write_raster
from dask.base import tokenize

import geodecloud
from geodecloud.backends.torch_device import TorchBackend
from geodecloud.compute.once import Once
from geodecloud.errors import GeodecloudWarning
from geodecloud.restore.chunk import ChunkRestorer

FLOAT = textured_dn(4, 61, 83).astype(np.float32) * np.float32(1e-4)


def changed(dn: np.ndarray, value: float, where: tuple[slice, ...]) -> np.ndarray:
    dn = dn.copy()
    dn[where] = value
    return dn


def one_valid() -> np.ndarray:
    dn = np.zeros((4, 40, 50), np.uint16)
    dn[:, 17, 23] = 1500, 1600, 1700, 2600
    return dn


SPOT = np.s_[:, 20:31, 30:47]
#: Kind of scene -> its pixels, and the number that stands for no data.
SCENES: dict[str, tuple[np.ndarray, float | None]] = {
    "NaN, said": (changed(FLOAT, np.nan, SPOT), np.nan),
    "NaN, not said": (changed(FLOAT, np.nan, SPOT), None),
    "NaN in one band": (changed(FLOAT, np.nan, np.s_[2, 20:31, 30:47]), np.nan),
    "inf": (changed(FLOAT, np.inf, SPOT), None),
    "-inf in one band": (changed(FLOAT, -np.inf, np.s_[1, 20:31, 30:47]), None),
    "negative reflectance": (changed(FLOAT, -0.02, SPOT), None),
    "negative DN": (changed(textured_dn(4, 61, 83).astype(np.int16), -300, SPOT), None),
    "bright": (changed(textured_dn(4, 61, 83), 19000, SPOT), 0),
    "saturated in one band": (changed(textured_dn(4, 61, 83), 65535, np.s_[3, 20:31, 30:47]), 0),
    "saturated": (changed(textured_dn(4, 61, 83), 65535, SPOT), 0),
    "constant": (np.full((4, 61, 83), 2000, np.uint16), None),
    "all nodata": (np.zeros((4, 61, 83), np.uint16), 0),
    "all NaN": (np.full((4, 61, 83), np.nan, np.float32), np.nan),
    "one valid pixel": (one_valid(), 0),
    "one row": (textured_dn(4, 1, 203), None),
    "one column": (textured_dn(4, 203, 1), None),
    "one pixel": (textured_dn(4, 1, 1), None),
}


def decloud(
    dn: np.ndarray, folder: Path, nodata: float | None = None, **options: object
) -> tuple[np.ndarray, np.ndarray]:
    """The pixels (C, H, W) that come out, and their codes (H, W)."""
    scale = {} if dn.dtype.kind == "f" else {"scale": 1e-4, "offset": 0.0}
    scene = write_raster(folder / "scene.tif", dn, nodata=nodata)
    out, codes = folder / "out.tif", folder / "codes.tif"
    geodecloud.decloud_scene(scene, out, provenance=codes, **{**scale, **options})
    with rasterio.open(out) as dst, rasterio.open(codes) as src:
        assert dst.descriptions == BANDS
        return dst.read(), src.read(1)


@pytest.mark.parametrize("mask", ["auto", "none"])
@pytest.mark.parametrize("kind", SCENES)
def test_scenes_at_the_edge_of_what_is_one(
    kind: str, mask: str, toy_model: Path, tmp_path: Path
) -> None:
    dn, nodata = SCENES[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GeodecloudWarning)  # that it looks odd may be told
        out, codes = decloud(dn, tmp_path, nodata, model=toy_model, mask=mask)
    assert out.dtype == dn.dtype
    missing = ~np.isfinite(dn) | (dn == nodata if nodata is not None else False)
    if kind == "saturated":  # what no sensor measured is no measurement, and says so
        missing |= dn == 65535
    same = (out == dn) | (np.isnan(out) & np.isnan(dn))
    assert same[missing].all()  # nodata, NaN and infinite numbers stay, number by number
    assert same[:, (codes <= 1) | (codes == 4)].all()  # and so does all that is not replaced
    np.testing.assert_array_equal(codes == 0, missing.all(axis=0))
    assert np.isfinite(out[~missing]).all()
    if nodata is not None and np.isfinite(nodata):
        assert (out[~missing] != nodata).all()
    whole = ~missing.any(axis=0)
    if mask == "none":
        assert np.isin(codes[whole], (2, 3)).all()
        assert (codes[missing.any(axis=0) & ~missing.all(axis=0)] == 4).all()


def test_a_scene_of_nothing_but_cloud(toy_model: Path, tmp_path: Path) -> None:
    dn = textured_dn(4, 61, 83)
    cloud = write_raster(tmp_path / "cloud.tif", np.ones((1, 61, 83), np.uint8))
    with pytest.warns(GeodecloudWarning, match="covers 100 % of the scene"):
        out, codes = decloud(dn, tmp_path, model=toy_model, mask=cloud)
    assert np.isin(codes, (2, 3)).all()
    assert (out != dn).any(axis=0).mean() > 0.99


Breaker = Callable[[np.ndarray, np.ndarray], None]
WHERE = np.s_[20:31, 30:47]


def _set(number: float, bands: slice) -> Breaker:
    def breaks(restored: np.ndarray, opacity: np.ndarray) -> None:
        restored[0, bands, *WHERE] = number

    return breaks


def _no_opacity(restored: np.ndarray, opacity: np.ndarray) -> None:
    opacity[0, *WHERE] = np.nan


@pytest.mark.parametrize(
    "breaks",
    [
        _set(np.nan, np.s_[:]),
        _set(np.inf, np.s_[1:2]),
        _set(-np.inf, np.s_[:]),
        _no_opacity,
    ],
    ids=["NaN", "inf in one band", "-inf", "opacity"],
)
@pytest.mark.parametrize("mask", ["auto", "none"])
def test_numbers_of_the_network_that_are_none_change_nothing(
    mask: str,
    breaks: Breaker,
    toy_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The oracle is the run of the whole network: elsewhere, beyond the soft edge, nothing differs."""
    dn = textured_dn(4, 61, 83)
    whole, known = decloud(dn, tmp_path, model=toy_model, mask=mask, overwrite=True)
    run = TorchBackend.run

    def broken(self: object, *arguments: object) -> tuple[np.ndarray, np.ndarray]:
        restored, opacity = (array.copy() for array in run(self, *arguments))
        breaks(restored, opacity)
        return restored, opacity

    monkeypatch.setattr(TorchBackend, "run", broken)
    with pytest.warns(
        GeodecloudWarning, match="gave no finite numbers for 187 of the 83 x 61 px"
    ) as told:
        out, codes = decloud(dn, tmp_path, model=toy_model, mask=mask, overwrite=True)
    assert len([one for one in told if "finite" in str(one.message)]) == 1
    assert (codes[WHERE] == 4).all()
    np.testing.assert_array_equal(out[:, *WHERE], dn[:, *WHERE])
    # the margin of a mask reaches 5 px, its soft edge 4
    far = np.ones(codes.shape, bool)
    far[20 - 10 : 31 + 10, 30 - 10 : 47 + 10] = False
    np.testing.assert_array_equal(codes[far], known[far])
    np.testing.assert_array_equal(out[:, far], whole[:, far])


def test_one_warning_a_run_however_many_chunks_ask_for_it() -> None:
    """Each chunk has the restorer of its scene, or a copy with other options: one is the first to ask."""
    restorer = ChunkRestorer(None, None, None, (), None, "none", False, None)  # type: ignore[arg-type]
    chunks = [restorer, replace(restorer, check=True)] * 50
    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(lambda chunk: chunk.warned.first(), chunks)) == 1
    assert pickle.loads(
        pickle.dumps(restorer)
    ).warned.first()  # of another process: it says so there
    assert tokenize(restorer.warned) == tokenize(Once())  # and no result depends on it


@pytest.mark.parametrize("shape", [(3, 30_000), (30_000, 2)], ids=["wide", "high"])
def test_a_strip_far_longer_than_any_window(shape: tuple[int, int], tmp_path: Path) -> None:
    dn = (
        (np.arange(shape[0] * shape[1], dtype=np.uint32) % 9973)
        .astype(np.uint16)
        .reshape(1, *shape)
    )
    scene, out = write_raster(tmp_path / "scene.tif", dn), tmp_path / "out.tif"
    geodecloud.decloud_scene(scene, out, model="identity", mask="none")
    with rasterio.open(out) as dst:
        np.testing.assert_array_equal(dst.read(), dn)
