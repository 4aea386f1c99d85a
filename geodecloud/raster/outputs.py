"""Which files a scene becomes: one raster of all bands or one per band, layers, and an Item beside them."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import dask.array as da

from geodecloud.errors import OptionError, SceneIOError
from geodecloud.raster.reader import source_files
from geodecloud.raster.staging import OutputRaster
from geodecloud.raster.targets import make_folder
from geodecloud.scene.address import is_remote
from geodecloud.scene.metadata import Metadata

PathLike = str | Path

#: Further rasters: dtype, nodata, resampling of the overviews.
LAYERS: dict[str, tuple[str, float | None, str]] = {
    "provenance": ("uint8", 0, "nearest"),
    "cloud_map": ("float32", float("nan"), "average"),
    "source_date": ("uint16", 0, "nearest"),
    "confidence": ("float32", float("nan"), "average"),
}


@dataclass(frozen=True)
class Outputs:
    """Where all that a run writes will go; known, and checked, before the work begins.

    Attributes
    ----------
    dst : the image: a file, or the folder of single bands
    bands : the file of each band; None: `dst` is one file of all bands
    layers : further rasters on the same grid, by the name of what they hold, see `LAYERS`
    item : the STAC Item, or None
    quicklook : a picture of before and after, or None
    """

    dst: PathLike
    bands: tuple[Path, ...] | None = None
    layers: Mapping[str, PathLike] = field(default_factory=dict)
    item: Path | None = None
    quicklook: Path | None = None

    @property
    def beside(self) -> list[Path]:
        """Local files that are written after the rasters."""
        return [path for path in (self.item, self.quicklook) if path is not None]

    @property
    def paths(self) -> list[PathLike]:
        """All files that will be written."""
        images: Sequence[PathLike] = [self.dst] if self.bands is None else self.bands
        return [*images, *self.layers.values(), *self.beside]

    def rasters(
        self,
        image: da.Array,
        layers: dict[str, da.Array],
        metadata: Metadata,
        mask: da.Array | None,
    ) -> list[OutputRaster]:
        """The rasters to write, the image first.

        Parameters
        ----------
        image : (band, y, x)
        layers : (y, x) by name, at least those of `self.layers`
        metadata : of the image
        mask : (y, x) bool, for files whose metadata says that they have a mask of their own
        """
        if self.bands is None:
            rasters = [_image(self.dst, image, metadata, mask)]
        else:
            rasters = [
                _image(path, image[i : i + 1], metadata.one_band(i), mask)
                for i, path in enumerate(self.bands)
            ]
        for name, path in self.layers.items():
            dtype, nodata, resampling = LAYERS[name]
            about = metadata.single_band(dtype, nodata, name)
            rasters.append(OutputRaster(path, layers[name], about, resampling))
        return rasters

    @contextmanager
    def folder(self) -> Iterator[None]:
        """The folder of single bands, which goes again if nothing came into it."""
        if self.bands is None:
            yield
            return
        folder = Path(self.dst)
        _make_folder(folder)
        try:
            yield
        finally:
            with suppress(OSError):  # something is in it, or somebody else has removed it
                folder.rmdir()


def plan_outputs(
    dst: PathLike,
    layout: str,
    band_names: Sequence[str],
    layers: Mapping[str, PathLike | None],
    item: Path | None,
    inputs: Sequence[PathLike | None],
    quicklook: PathLike | None = None,
) -> Outputs:
    """Decide where files go, and refuse what would write over an input or another output.

    Parameters
    ----------
    layout : "stack": `dst` is one file of all bands; "bands": a folder with a file per band
    band_names : names of the files of single bands. Bands of one name have their number in it, too
    layers : files of further rasters, by name; None where one is not wanted
    inputs : files, masks, areas of interest and models that are read; None is skipped
    quicklook : a PNG of before and after, or None

    Raises
    ------
    OptionError
        If single bands or a quicklook are to be written to an address, or that is to be no PNG.
    SceneIOError
        If a path is named twice.
    """
    bands = None
    if layout == "bands":
        if is_remote(dst):
            raise OptionError(f'layout="bands" writes a local folder, and {dst} is an address')
        names = [_short(re.sub(r"[^\w.-]+", "_", name)) for name in band_names]
        bands = tuple(Path(dst) / f"{name}.tif" for name in _distinct(names))
    wanted = {name: path for name, path in layers.items() if path is not None}
    outputs = Outputs(dst, bands, wanted, item, _picture_path(quicklook))
    _refuse_clashes(inputs, [*([] if bands is None else [dst]), *outputs.paths])
    return outputs


def _picture_path(quicklook: PathLike | None) -> Path | None:
    if quicklook is None:
        return None
    if is_remote(quicklook) or Path(quicklook).suffix.lower() != ".png":
        raise OptionError(
            f"a quicklook is a local PNG, and {quicklook} is not; such as quicklook='clear.png'"
        )
    return Path(quicklook)


def item_path(
    path: str, is_dated: bool, dst: PathLike, layout: str, stac: bool | None
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
            f"a STAC Item says when a scene was taken, and {path} does not; leave stac=True out"
        )
    if stac and is_remote(dst):
        raise OptionError(f"a STAC Item is written beside a local result, and {dst} is an address")
    if not is_dated or stac is False or is_remote(dst):
        return None
    target = Path(dst)
    return target / f"{target.name}.json" if layout == "bands" else target.with_suffix(".json")


def _image(
    path: PathLike, pixels: da.Array, metadata: Metadata, mask: da.Array | None
) -> OutputRaster:
    """Each has the mask in its file where its metadata says so; others say by an alpha band or a tag."""
    return OutputRaster(path, pixels, metadata, mask=mask if metadata.has_mask else None)


def _short(name: str) -> str:
    """The name cut to what file systems allow, 255 bytes, less a number and GDAL's suffixes."""
    return name.encode()[:200].decode(errors="ignore")


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


def _refuse_clashes(inputs: Sequence[PathLike | None], targets: Sequence[PathLike]) -> None:
    """No target may be an input, under whatever name, or another target."""
    taken = [
        Path(os.path.realpath(f)) for path in inputs if path is not None for f in source_files(path)
    ]
    for target in targets:
        path = Path(os.path.realpath(target))
        # os.path, not Path: it takes a name that is too long for one that is not there
        there = [f for f in taken if os.path.exists(f)] if os.path.exists(path) else []
        if path in taken or any(path.samefile(f) for f in there):
            raise SceneIOError(f"{target} is named twice; inputs and outputs must all differ")
        taken.append(path)


def _make_folder(folder: Path) -> None:
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise SceneIOError(f'{folder} is a file; layout="bands" needs a folder to write to')
    if not os.path.isdir(folder.parent):
        raise SceneIOError(f"the folder {folder.parent} does not exist; make it first")
    make_folder(folder)
