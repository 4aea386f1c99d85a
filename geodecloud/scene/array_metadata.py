"""What a DataArray says besides its pixels: where it lies, its nodata, the names of its bands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine

if TYPE_CHECKING:
    import xarray as xr


def array_nodata(array: xr.DataArray) -> float | None:
    """The nodata number of a DataArray as rioxarray knows it; None where its pixels cannot take it.

    Ask the very object that came in: what ``.rio.set_nodata`` said is lost with the next operation.
    """
    told = _told_nodata(array)
    integer = array.dtype.kind in "ui"
    if told is not None:
        nodata: Any = told
    else:
        rio = array.copy(deep=False).rio
        try:
            # integers that declare it for their file are not masked: it still stands in the pixels
            nodata = rio.encoded_nodata if integer else None
            nodata = rio.nodata if nodata is None else nodata
        except (OverflowError, ValueError):  # rioxarray's way of saying that they cannot
            return None
    if nodata is not None and integer:
        limits = np.iinfo(array.dtype)
        nodata = nodata if limits.min <= nodata <= limits.max else None
    return None if nodata is None else float(nodata)


def _told_nodata(array: xr.DataArray) -> float | None:
    """What ``.rio.set_nodata`` said of this very object; None: nothing beyond its attrs.

    rioxarray keeps it in no attrs: only the object itself answers otherwise than a copy of it.
    """
    import rioxarray  # noqa: F401  registers .rio

    told, declared = (_answer(obj) for obj in (array, array.copy(deep=False)))
    if declared is not None and str(told) == str(declared):  # as text, NaN is like NaN
        told = None
    if told is None:
        # rioxarray remembers its first answer, and would not see attrs that are set later
        array.rio.set_nodata(None)
    return told


def _answer(array: xr.DataArray) -> float | None:
    """The nodata number as rioxarray says it; None, too, where pixels cannot take it."""
    try:
        nodata: float | None = array.rio.nodata
        return nodata
    except (OverflowError, ValueError):
        return None


def array_transform(array: xr.DataArray) -> Affine:
    """The transform of a ([time,] band, y, x) DataArray.

    Thinning, cropping and sorting change coordinates and leave the stored transform as it was, so
    coordinates win, if they differ by more than their rounding.
    """
    x, y = array.dims[-1], array.dims[-2]
    bare = array.drop_vars((x, y), errors="ignore")  # else rioxarray mixes stored and recalculated
    stored: Affine = spatial(bare).transform()
    axes = [array.coords[dim] for dim in (x, y) if dim in array.coords]
    plain = len(axes) == 2 and all(a.ndim == 1 and a.dtype.kind in "iuf" for a in axes)
    if stored.b or stored.d or not plain:
        return stored
    fresh: Affine = spatial(array).transform(recalc=True)
    if not fresh.a or not fresh.e:  # coordinates that stand still tell nothing
        return stored
    xs, ys = (axis.values for axis in axes)
    moved = _is_moved(xs, fresh.c - stored.c, fresh.a - stored.a, stored.a) or _is_moved(
        ys, fresh.f - stored.f, fresh.e - stored.e, stored.e
    )
    return fresh if moved else stored


def spatial(array: xr.DataArray) -> Any:
    """The accessor of rioxarray; what has no place on Earth may have any names of dims."""
    import rioxarray  # noqa: F401  registers .rio

    # said to a copy that shares the pixels: rioxarray's own would double them
    shared = array.copy(deep=False)
    return shared.rio.set_spatial_dims(array.dims[-1], array.dims[-2], inplace=True).rio


def _is_moved(values: Any, shift: float, stretch: float, step: float) -> bool:
    """Whether either end of an axis moved by more than 0.01 px and the rounding of `values`."""
    rounding = float(np.spacing(np.abs(values).max()))
    apart = max(abs(shift), abs(shift + len(values) * stretch))
    return apart > 0.01 * abs(step) + rounding


def kept_values(array: xr.DataArray, values: Sequence[Any]) -> tuple[Any, ...] | None:
    """One value for each band of a DataArray, from a list made for the file's bands.

    Selecting bands (``da.sel(band=[4, 3, 2])``) keeps the attrs of all bands; rioxarray's band
    coordinate, 1-based, then says which are left. None where the list cannot be matched.
    """
    count = array.sizes[array.dims[-3]]
    coordinate = array.coords.get(array.dims[-3])
    if coordinate is not None and coordinate.ndim == 1 and coordinate.dtype.kind in "iu":
        numbers = coordinate.values
        if numbers.min() >= 1 and numbers.max() <= len(values):
            return tuple(values[number - 1] for number in numbers)
    return tuple(values) if len(values) == count else None


def array_descriptions(array: xr.DataArray, count: int) -> tuple[str | None, ...]:
    """Band names of a DataArray: ``long_name`` as rioxarray writes it, or a text coordinate."""
    coordinate = array.coords.get(array.dims[-3])
    if coordinate is not None and coordinate.ndim == 1 and coordinate.dtype.kind in "OUT":
        return tuple(str(n) for n in coordinate.values)
    names = array.attrs.get("long_name")
    if isinstance(names, str):
        names = [names]
    if isinstance(names, tuple | list) and (matched := kept_values(array, names)) is not None:
        return tuple(str(n) if n else None for n in matched)
    return (None,) * count
