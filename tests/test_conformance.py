"""Real files with every oddity of the field: kept whole, or refused in one sentence.

The oracle is rasterio reading source and result side by side, and rio-cogeo's validator.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rio_cogeo.cogeo import cog_validate

import geodecloud

FOLDER = Path(os.environ.get("GEODECLOUD_TEST_DATA", "")) / "conformance"
SIDECARS = (".ovr", ".msk", "LICENSE")
FILES = sorted(p for p in FOLDER.glob("*/*") if not p.name.endswith(SIDECARS))

#: File -> what the refusal says. Everything else has to pass with all it carries.
REFUSED = {
    "corrupt.tif": "may be cut off or damaged",
    "slc.tif": "complex numbers",
    "cint16.tif": "complex numbers",
    "PLANET_SCOPE_3D.nc": "container",
    "sentinel_2_L1C_geographic.nc": "container",
}


def colormap(src: Any, index: int) -> Any:
    try:
        return src.colormap(index)
    except ValueError:
        return None


def tags(src: Any) -> dict[tuple[int, str], dict[str, str]]:
    """All tags but those on how the old file was stored."""
    storage = {"IMAGE_STRUCTURE", "DERIVED_SUBDATASETS", "rio_creation_kwds"}
    return {
        (index, namespace): src.tags(index, ns=namespace or None)
        for index in range(src.count + 1)
        for namespace in ["", *src.tag_namespaces(index)]
        if namespace not in storage
    }


def assert_same_raster(source: Path, result: Path) -> None:
    """Pixels, masks and every piece of metadata are equal."""
    with rasterio.open(source) as a, rasterio.open(result) as b:
        for name in (
            *("width", "height", "count", "crs", "transform", "dtypes", "descriptions"),
            *("scales", "offsets", "units", "colorinterp", "rpcs"),
        ):
            assert getattr(a, name) == getattr(b, name), name
        assert str(a.nodata) == str(b.nodata)
        points = [[(p.row, p.col, p.x, p.y, p.z) for p in src.gcps[0]] for src in (a, b)]
        assert points[0] == points[1]
        assert a.gcps[1] == b.gcps[1]
        found = tags(b)
        for key, expected in tags(a).items():
            assert expected.items() <= found.get(key, {}).items(), key
        for index in a.indexes:
            assert colormap(a, index) == colormap(b, index)
        pixels = a.read()
        equal_nan = pixels.dtype.kind == "f"
        assert np.array_equal(pixels, b.read(), equal_nan=equal_nan)
        np.testing.assert_array_equal(a.read_masks(), b.read_masks())


@pytest.mark.skipif(not FILES, reason="GEODECLOUD_TEST_DATA holds no conformance files")
@pytest.mark.parametrize("mask", ["auto", "none"])
@pytest.mark.parametrize("path", FILES, ids=[f"{p.parent.name}/{p.name}" for p in FILES])
def test_identity_keeps_everything_or_refuses(path: Path, mask: str, tmp_path: Path) -> None:
    out = tmp_path / "out.tif"
    if path.name in REFUSED:
        with pytest.raises(geodecloud.GeodecloudError, match=REFUSED[path.name]):
            geodecloud.decloud_scene(path, out, model="identity", mask=mask)
        assert list(tmp_path.iterdir()) == []
        return
    geodecloud.decloud_scene(path, out, model="identity", mask=mask)
    assert_same_raster(path, out)
    valid, errors, warnings = cog_validate(out)
    assert valid, errors + warnings
    assert list(tmp_path.iterdir()) == [out]
