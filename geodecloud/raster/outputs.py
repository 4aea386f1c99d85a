"""Which files a scene becomes: one raster of all bands or one per band, and an Item beside them."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.array as da

from geodecloud.errors import OptionError, SceneIOError
from geodecloud.raster.staging import OutputRaster
from geodecloud.raster.storage import is_remote
from geodecloud.scene.metadata import Metadata

if TYPE_CHECKING:
    from geodecloud.pipeline import Declouded

LAYOUTS = ("stack", "bands")


def plan_images(
    band_names: Sequence[str],
    pixels: da.Array,
    metadata: Metadata,
    mask: da.Array | None,
    dst: str | Path,
    layout: str,
) -> list[OutputRaster]:
    """The rasters of the image: `dst` itself, or a file per band in the folder `dst`.

    Each has the mask in its file where its metadata says so; others say by an alpha band or a tag.

    Bands of one name have their number in the file's name, too.

    Raises
    ------
    OptionError
        If there is no such layout.
    """
    if layout not in LAYOUTS:
        raise OptionError(f"layout {layout!r} is unknown; use stack or bands")
    if layout == "stack":
        return [_image(dst, pixels, metadata, mask)]
    if is_remote(dst):
        raise OptionError(f"--layout bands writes a local folder, and {dst} is an address")
    names = [_short(re.sub(r"[^\w.-]+", "_", name)) for name in band_names]
    return [
        _image(Path(dst) / f"{name}.tif", pixels[i : i + 1], metadata.one_band(i), mask)
        for i, name in enumerate(_distinct(names))
    ]


def _short(name: str) -> str:
    """The name cut to what file systems allow, 255 bytes, less a number and GDAL's suffixes."""
    return name.encode()[:200].decode(errors="ignore")


def _image(
    path: str | Path, pixels: da.Array, metadata: Metadata, mask: da.Array | None
) -> OutputRaster:
    return OutputRaster(path, pixels, metadata, mask=mask if metadata.has_mask else None)


def _distinct(names: Sequence[str]) -> list[str]:
    """The names; those that file systems take for one another with their 1-based number."""
    numbered: set[int] = set()
    while True:
        distinct = [f"{n}_{i}" if i in numbered else n for i, n in enumerate(names, start=1)]
        # Windows and macOS see no case, macOS no difference between the ways to compose a letter
        seen = [unicodedata.normalize("NFC", name.casefold()) for name in distinct]
        counts = Counter(seen)
        clashing = {i for i, name in enumerate(seen, start=1) if counts[name] > 1}
        if not clashing:
            return distinct
        # a number may make another band's name; numbered ones differ, so this comes to an end
        numbered |= clashing


def plan_layers(
    metadata: Metadata,
    result: Declouded,
    provenance: str | Path | None,
    cloud_map: str | Path | None,
) -> list[OutputRaster]:
    """The rasters that say something about the image, where they are wanted."""
    layers = []
    if provenance is not None:
        about = metadata.single_band("uint8", 0, "provenance")
        layers.append(OutputRaster(provenance, result.provenance.data, about, "nearest"))
    if cloud_map is not None:
        about = metadata.single_band("float32", float("nan"), "cloud_map")
        layers.append(OutputRaster(cloud_map, result.cloud_map.data, about))
    return layers


def item_path(
    path: str, is_dated: bool, dst: str | Path, layout: str, stac: bool | None
) -> Path | None:
    """Where the STAC Item goes; None: there will be none.

    Parameters
    ----------
    path, is_dated : of the scene, and whether anything says when it was taken
    stac : whether one is wanted; None: of Sentinel-2 products

    Raises
    ------
    OptionError
        If one is wanted, and nothing says when the scene was taken.
    """
    if stac and not is_dated:
        raise OptionError(
            f"a STAC Item says when a scene was taken, and {path} does not; leave --stac out"
        )
    if stac and is_remote(dst):
        raise OptionError(f"a STAC Item is written beside a local result, and {dst} is an address")
    if not is_dated or stac is False or is_remote(dst):
        return None
    target = Path(dst)
    return target / f"{target.name}.json" if layout == "bands" else target.with_suffix(".json")


@contextmanager
def folder_for(dst: str | Path, layout: str) -> Iterator[None]:
    """The folder of single bands, which goes again if nothing came into it."""
    folder = Path(dst)
    if layout != "bands":
        yield
        return
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise SceneIOError(f"{folder} is a file; --layout bands needs a folder to write to")
    if not os.path.isdir(folder.parent):
        raise SceneIOError(f"the folder {folder.parent} does not exist; make it first")
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise SceneIOError(f"the folder {folder} cannot be made: {error.strerror}") from error
    try:
        yield
    finally:
        if not any(folder.iterdir()):
            folder.rmdir()


def written_files(products: list[OutputRaster], item: Path | None) -> tuple[str, ...]:
    """Paths of all that was written."""
    paths: list[Any] = [product.path for product in products]
    return tuple(str(path) for path in [*paths, *([item] if item else [])])
