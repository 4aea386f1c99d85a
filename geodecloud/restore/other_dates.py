"""Other dates of the same ground on the scene's grid: what they reflect, and where they show ground.

Each reference is brought to reflectance by what it says of itself, then to the scene's grid by odc-geo,
lazily and window by window. Its clouds are found as those of a scene are: by the classification it
carries, else by the model's cloud map.
"""

from __future__ import annotations

import datetime
import functools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import DTypeLike, NDArray

from geodecloud.compute.blocks import read_again
from geodecloud.compute.chunks import map_chunks_with_halo
from geodecloud.errors import BandError, GeodecloudWarning, SceneError
from geodecloud.masks.classes import classify
from geodecloud.masks.sources import open_masks
from geodecloud.options import Options
from geodecloud.restore.build import chunk_restorer, look_first
from geodecloud.restore.clear_ground import ground_of
from geodecloud.restore.composite import MARGIN_PX
from geodecloud.restore.decisions import decide
from geodecloud.restore.first_pass import clear_pixels
from geodecloud.restore.radiometry import choose_formula
from geodecloud.restore.references import GAP, pack
from geodecloud.scene.bands import canonical_name
from geodecloud.scene.cube import Cube
from geodecloud.scene.gaps import Gaps, gap_rules
from geodecloud.scene.grid import Grid
from geodecloud.scene.metadata import SCL, VALID, Metadata
from geodecloud.scene.reflectance import FEW_PX, Codec, check_values

Array = NDArray[np.float32]

#: Side of the blocks in which a reference is brought to another grid.
_BLOCK_PX = 512
#: Bands that stand in for each other where a sensor has but one of them.
_STAND_IN = {"B08": "B8A", "B8A": "B08"}
#: Names of bands that are classifications, with their kind in `geodecloud.masks.classes`.
_CLASSES = {"SCL": "scl", "QA_PIXEL": "qa_pixel", "FMASK": "fmask"}


@dataclass(frozen=True)
class Reference:
    """Another date of the same ground, as it was opened.

    Attributes
    ----------
    array : (band, y, x), DN or reflectance, following rioxarray's conventions
    name : for people
    date : of acquisition; None: it does not say
    sample : (band, y, x), some of its pixels, where they may be read before it is computed
    clear : (1, y, x), where it shows ground, if that is known and it carries no classification
    """

    array: xr.DataArray
    name: str
    date: datetime.date | None = None
    sample: NDArray[Any] | None = None
    clear: xr.DataArray | None = None

    @classmethod
    def of(cls, array: xr.DataArray | xr.Dataset, number: int) -> Reference:
        """A reference given as an array; its time is that of its coordinate ``time``, if it has one."""
        cube = Cube.of(array)
        if cube.array.ndim != 3:
            raise SceneError(
                f"reference {number} has the dims {cube.array.dims}; give one date at a time, such as "
                "[stack.isel(time=0), stack.isel(time=2)]"
            )
        pixels = cube.array.data
        sample = pixels if isinstance(pixels, np.ndarray) else None
        return cls(cube.array, f"reference {number}", date_of(cube.array), sample)


def date_of(array: xr.DataArray) -> datetime.date | None:
    """The day an array was acquired, by its scalar coordinate ``time``."""
    time = array.coords.get("time")
    if time is None or time.ndim or time.dtype.kind != "M" or np.isnat(time.values):
        return None
    day: datetime.date = time.values.astype("datetime64[D]").item()
    return day


@dataclass(frozen=True)
class OtherDates:
    """Other dates on the scene's grid, lazy.

    Attributes
    ----------
    values : of each date (B, y, x) int16, packed reflectance, see `geodecloud.restore.references.unpack`
    usable : of each date (y, x) bool, ground is seen
    names, days : of each date; days since 1970-01-01, 0 where it is not known
    bands : names of the B bands
    looked : what a first pass saw of those that carry no classification
    """

    values: tuple[da.Array, ...]
    usable: tuple[da.Array, ...]
    names: tuple[str, ...]
    days: tuple[int, ...]
    bands: tuple[str, ...]
    looked: tuple[da.Array, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def read_again(self, seed: str) -> OtherDates:
        """The same, read once more and not held from one use to the next; no network runs once more for it."""
        return replace(
            self,
            values=tuple(read_again(each, seed) for each in self.values),
            usable=tuple(read_again(each, seed, self.looked) for each in self.usable),
        )


def open_other_dates(
    references: Sequence[Reference],
    grid: Grid,
    chunks_yx: Any,
    bands: Sequence[str],
    options: Options,
) -> OtherDates:
    """Bring references to the grid of a scene.

    Parameters
    ----------
    grid : of the scene
    chunks_yx : heights and widths of the scene's chunks
    bands : canonical names of the scene's restored bands
    options : of the run: what finds the clouds of references that carry no classification

    Raises
    ------
    SceneError, BandError
        If a reference has no place on Earth, does not overlap the scene, has none of the bands, or its DN
        mean nothing we know.
    """
    used = _common_bands(references, bands)
    values, usable, looked = [], [], []
    for reference in references:
        _check_overlap(reference, grid)
        pixels = _packed(reference, used, grid, chunks_yx)
        values.append(pixels)
        if reference.clear is None and not carries_classes(reference):
            seen, clear = look_at(reference, options)
            looked.append(seen)
            reference = replace(reference, clear=clear)
        usable.append(_usable(reference, pixels, grid, chunks_yx))
    epoch = datetime.date(1970, 1, 1)
    return OtherDates(
        tuple(values),
        tuple(usable),
        tuple(reference.name for reference in references),
        tuple(0 if r.date is None else (r.date - epoch).days for r in references),
        tuple(used),
        tuple(looked),
    )


def _band_of(metadata: Metadata, wanted: str) -> int | None:
    """0-based band of a reference that shows what a band of the scene does."""
    names = [canonical_name(name) for name in metadata.names]
    for name in (wanted, _STAND_IN.get(wanted)):
        if name is not None and names.count(name) == 1:
            return names.index(name)
    return None


def _common_bands(references: Sequence[Reference], bands: Sequence[str]) -> list[str]:
    """Bands of the scene that all references have."""
    used = list(bands)
    for reference in references:
        metadata = Metadata.of_array(reference.array)
        has = [band for band in used if _band_of(metadata, band) is not None]
        if not has:
            raise BandError(
                f"{reference.name} has none of the scene's bands {' '.join(bands)}: its bands are "
                f"{', '.join(str(name) for name in metadata.names)}"
            )
        used = has
    return used


def _packed(reference: Reference, bands: Sequence[str], grid: Grid, chunks_yx: Any) -> da.Array:
    """(B, y, x) packed reflectance of a reference on the scene's grid."""
    decoder = _Decoder.of(reference, bands)
    if Metadata.of_array(reference.array).grid == grid:
        return da.asarray(_decoded(reference, decoder, decoder.packed, np.int16).data)
    own = _decoded(reference, decoder, decoder.reflectance, np.float32)
    return _on_grid(own, grid, chunks_yx, "bilinear").map_blocks(pack, dtype=np.int16)


def _decoded(
    reference: Reference, decoder: _Decoder, how: Callable[..., Any], dtype: DTypeLike
) -> xr.DataArray:
    """(B, y, x) reflectance of a reference on its own grid, by one of the ways of its decoder."""
    array, channels = reference.array, list(decoder.channels)
    data = da.asarray(array.data)
    data = data.rechunk({0: -1})
    valid = Cube.of(array).coordinate(VALID)
    args = [data] if valid is None else [data, da.asarray(valid[0].data)[None]]
    decoded = da.map_blocks(
        how,
        *args,
        dtype=dtype,
        chunks=((len(channels),), *data.chunks[1:]),
        meta=np.empty((0, 0, 0), dtype),
    )
    kept = array.isel({array.dims[0]: channels}).copy(data=decoded)
    kept.attrs, kept.encoding = {}, {}
    return kept


@dataclass(frozen=True)
class _Decoder:
    """DN of a reference to reflectance, block by block; no number in any band where one holds no measurement.

    Attributes
    ----------
    codec, gaps : of the bands that are used
    channels : their 0-based places in the reference
    name : of the reference, for people
    """

    codec: Codec
    gaps: Gaps
    channels: tuple[int, ...]
    name: str

    @classmethod
    def of(cls, reference: Reference, bands: Sequence[str]) -> _Decoder:
        """What a reference, or else its numbers, say of them.

        Raises
        ------
        SceneError
            If nothing says what its DN mean.
        """
        metadata = Metadata.of_array(reference.array)
        channels = [found for band in bands if (found := _band_of(metadata, band)) is not None]
        some = None if reference.sample is None else reference.sample[channels]
        formula = choose_formula(metadata, tuple(channels), Options(), some, reference.name)
        try:
            codec = metadata.codec(channels, *formula)
        except SceneError as error:
            raise SceneError(f"{reference.name}: {error}") from error
        return cls(codec, gap_rules(codec, None), tuple(channels), reference.name)

    def reflectance(self, dn: NDArray[Any], valid: NDArray[np.bool_] | None = None) -> Array:
        """Float32, NaN where there is none."""
        codec, dn = self.codec, dn[list(self.channels)]
        image = codec.decode(dn).astype(np.float32)
        missing = self.gaps.find(dn) | ~np.isfinite(image)
        if codec.nodata is not None:
            missing |= dn == codec.nodata
        if valid is not None:
            missing |= ~valid.astype(bool)
        if dn.dtype.kind == "f":  # these may be scaled already, or be DN
            bright = self.gaps.with_bright(codec).find(dn).any(axis=0)
            nothing = bright | ~np.isfinite(image).all(axis=0)
            if np.count_nonzero(~nothing) >= FEW_PX:
                check_values(dn[:, ~nothing][:, None], codec, self.name)
        image[np.broadcast_to(missing.any(axis=0), image.shape)] = np.nan
        return image

    def packed(self, dn: NDArray[Any], valid: NDArray[np.bool_] | None = None) -> NDArray[np.int16]:
        """The same, packed: whole numbers are looked up, which is many times as quick."""
        if dn.dtype.kind not in "ui" or dn.dtype.itemsize > 2:
            return pack(self.reflectance(dn, valid))
        dn = dn[list(self.channels)]
        out, table = np.empty(dn.shape, np.int16), _packed_numbers(self.codec, dn.dtype)
        for numbers, band, there in zip(table, dn, out, strict=True):
            unsigned = band.view(f"u{dn.itemsize}")
            np.take(numbers, unsigned, out=there, mode="wrap")  # never beyond it
        missing = (self.gaps.find(dn) | (out == GAP)).any(axis=0)
        if valid is not None:
            missing |= ~valid[0].astype(bool)
        out[:, missing] = GAP
        return out


@functools.lru_cache(maxsize=64)
def _packed_numbers(codec: Codec, dtype: np.dtype[Any]) -> NDArray[np.int16]:
    """Packed reflectance (B, n) of each number of a dtype of one or two bytes, by what its bytes are unsigned."""
    unsigned = np.arange(1 << 8 * dtype.itemsize, dtype=f"u{dtype.itemsize}")
    dn = np.broadcast_to(unsigned.view(dtype), (len(codec.scales), 1, unsigned.size))
    values = codec.decode(dn).astype(np.float32)
    values[dn == codec.nodata] = np.nan
    return pack(values[:, 0])


def _on_grid(array: xr.DataArray, grid: Grid, chunks_yx: Any, resampling: str) -> da.Array:
    """The pixels of a (band, y, x) array on the grid of the scene, in blocks.

    They are no larger than they need be: the fit looks at patches, and reads no more than the blocks they touch.
    """
    own = Metadata.of_array(array).grid
    if own == grid:
        return da.asarray(array.data)
    from odc.geo.geobox import GeoBox
    from odc.geo.xr import xr_reproject

    assert grid.crs is not None
    target = GeoBox(grid.shape_yx, grid.transform, grid.crs.to_wkt())
    plain = array.rename(dict(zip(array.dims[-2:], ("y", "x"), strict=True)))
    nodata = np.nan if array.dtype.kind == "f" else 0
    plain.attrs["nodata"] = nodata
    side = tuple(min(max(sizes), _BLOCK_PX) for sizes in chunks_yx)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # odc-geo 0.5 beside shapely 2.2
        moved = xr_reproject(plain, target, resampling=resampling, dst_nodata=nodata, chunks=side)
    return da.asarray(moved.data)


def _usable(reference: Reference, pixels: da.Array, grid: Grid, chunks_yx: Any) -> da.Array:
    """Where a reference shows ground (y, x): no cloud, shadow, snow or gap."""
    seen = (pixels != GAP).all(axis=0)
    classes = _classes(reference)
    if classes is None:
        assert reference.clear is not None
        there = _on_grid(reference.clear, grid, chunks_yx, "nearest")[0]
        return seen & (there > 0)
    array, kind = classes
    there = _on_grid(array, grid, chunks_yx, "nearest")[0]
    meanings = da.map_blocks(classify, there, kind, dtype=np.uint8, meta=np.empty((0, 0), np.uint8))
    (ground,) = map_chunks_with_halo(
        ground_of, [(meanings, "yx")], MARGIN_PX, [(None, bool)], pixels.chunks[-2:]
    )
    return seen & ground


def look_at(reference: Reference, options: Options) -> tuple[da.Array, xr.DataArray]:
    """What the first pass of a run over a date alone sees of it, and where that shows ground, lazily.

    Returns
    -------
    seen : see `geodecloud.restore.first_pass.look`
    clear : (1, y, x) uint8 on the date's own grid, 1 where it is clear

    Raises
    ------
    BandError
        If no model that makes a cloud map fits its bands.
    """
    plain = Options(
        **{
            name: getattr(options, name)
            for name in (
                *("model", "halo", "device", "precision", "backend", "workers", "scheduler"),
                "max_memory",
            )
        }
    )
    cube = Cube.of(reference.array)
    metadata = cube.metadata
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GeodecloudWarning)  # of bands that are not restored
        try:
            decisions = decide(metadata, reference.sample, plain, own_chunks=True)
            if decisions.mask_kind != "auto":
                raise BandError(f"model {decisions.card.name} makes no cloud map")
        except BandError as error:
            raise BandError(
                f"the clouds of {reference.name} cannot be found, and it carries no classification (a band SCL, "
                f"QA_PIXEL or Fmask): {error}"
            ) from error
    data = da.asarray(cube.array.data)
    scale, offset = decisions.formula
    masks = open_masks(
        cube, (data, cube.index), metadata, replace(plain, scale=scale, offset=offset)
    )
    restorer = chunk_restorer(data, masks.valid, metadata, decisions, plain)
    seen = look_first(restorer, [(data, cube.index), *masks], metadata, decisions, plain)
    pixels = clear_pixels(seen)[None].astype(np.uint8)
    clear = reference.array.isel({reference.array.dims[0]: [0]}).copy(data=pixels)
    clear.attrs, clear.encoding = {}, {}
    return seen, clear


def carries_classes(reference: Reference) -> bool:
    """Whether a reference says itself where it is clear."""
    return _classes(reference) is not None


def _classes(reference: Reference) -> tuple[xr.DataArray, str] | None:
    """The classification a reference carries, (1, y, x), and its kind."""
    array = reference.array
    found = Cube.of(array).coordinate(SCL)
    if found is not None:
        classes = found[0].expand_dims("band")
        classes.attrs = {}
        if array.rio.crs is not None:
            classes = classes.rio.write_crs(array.rio.crs)
        return classes.rio.write_transform(array.rio.transform()), "scl"
    names = Metadata.of_array(array).names
    for index, name in enumerate(names):
        kind = _CLASSES.get(str(name).strip().upper())
        if kind is not None:
            return array.isel({array.dims[0]: [index]}), kind
    return None


def _check_overlap(reference: Reference, grid: Grid) -> None:
    own = Metadata.of_array(reference.array).grid
    if own == grid or (own.shape_yx == grid.shape_yx and not grid.has_place and not own.has_place):
        return
    if not (own.has_place and grid.has_place):
        raise SceneError(
            f"{reference.name} is {own} and the scene is {grid}: without a georeference on both they "
            "must have the same size"
        )
    from pyproj import Transformer
    from pyproj.exceptions import ProjError
    from shapely import transform

    try:
        to_scene = Transformer.from_crs(own.crs.to_wkt(), grid.crs.to_wkt(), always_xy=True)  # type: ignore[union-attr]
    except ProjError as error:  # CRSError is one too
        raise SceneError(
            f"the CRS of {reference.name} cannot be brought to the scene's: {error}"
        ) from error
    outline = transform(
        own.footprint.segmentize(own.footprint.length / 80), to_scene.transform, interleaved=False
    )
    if not outline.intersects(grid.footprint):
        raise SceneError(
            f"{reference.name} does not overlap the scene: it is {own}, the scene is {grid}"
        )
