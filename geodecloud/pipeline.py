"""The story: a scene goes in, the same scene without clouds comes out.

`decloud` is the one path. `remove_clouds` is its image alone, and the accessor calls it;
`geodecloud.decloud_file.decloud_scene` is open + `decloud` + write, and the command line calls that.
"""

from __future__ import annotations

import datetime
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from geodecloud.compute.engine import engine
from geodecloud.compute.shelf import Shelf
from geodecloud.errors import OptionError
from geodecloud.masks.sources import open_masks
from geodecloud.options import Options
from geodecloud.restore.decisions import Decisions, decide
from geodecloud.restore.graph import restore_scene
from geodecloud.restore.other_dates import Reference, date_of
from geodecloud.restore.references import Candidate, pick_references
from geodecloud.scene.cube import Cube, Scene, SceneT
from geodecloud.scene.metadata import Metadata
from geodecloud.windows.tiler import chunk_px

if TYPE_CHECKING:
    import xarray as xr

    from geodecloud.keywords import OptionKeywords
    from geodecloud.pictures.notebook import Picture, View

log = logging.getLogger(__name__)

#: Pixels along the longer side of a scene in memory that the sample looks at.
_SAMPLE_PX = 256
#: Side of the part of a lazy result that is computed to be shown.
_SHOWN_PX = 256


@dataclass(frozen=True)
class Declouded:
    """The result on the scene's grid, lazy where the scene was lazy.

    Attributes
    ----------
    image : what the scene was, DataArray or Dataset, with its dims, dtype, coords and attrs
    cloud_map : (y, x), or (time, y, x), float32, opacity of cloud and shadow in [0, 1]; NaN where there is no
        data or nothing was computed
    provenance : like `cloud_map`, uint8, codes of `geodecloud.restore.composite.Provenance`
    source_date : like `provenance`, uint16, days since 1970-01-01 of the date that a filled pixel comes from,
        0 elsewhere; None where there are no references
    confidence : like `cloud_map`, expected absolute error of replaced pixels in reflectance, NaN elsewhere: of the
        network's by the card of the model, of filled ones by how well the dates explain the scene. None where neither
        card nor references tell it. It waits to be computed, of a scene in memory too, where the card asks for another
        run of the network
    decisions : what was decided
    shelf : of a lazy scene, see `geodecloud.compute.shelf.Shelf`: a run gives it a folder to go on from after a kill
    scene : what went in
    options, references : how it was asked for
    ground : of a lazy scene with a first pass, what that saw: a 0-d array that holds a
        `geodecloud.restore.ground_around.GroundAround`, or one for each date
    mirrored : of a lazy scene, what the confidence compares the image with: see
        `geodecloud.restore.expected_error.see_mirrored`
    """

    image: Any
    cloud_map: xr.DataArray
    provenance: xr.DataArray
    source_date: xr.DataArray | None = None
    confidence: xr.DataArray | None = None
    decisions: Decisions = field(kw_only=True)
    ground: da.Array | None = field(default=None, kw_only=True, repr=False)
    mirrored: da.Array | None = field(default=None, kw_only=True, repr=False)
    shelf: Shelf = field(default_factory=Shelf, kw_only=True, repr=False)
    scene: Any = field(kw_only=True, repr=False)
    options: Options = field(kw_only=True, repr=False)
    references: Sequence[Reference] = field(default=(), kw_only=True, repr=False)

    @property
    def is_lazy(self) -> bool:
        """Whether it waits to be computed."""
        return isinstance(self.provenance.data, da.Array)

    def middle(self, side_px: int = _SHOWN_PX) -> Declouded:
        """The middle of the scene in memory, restored as a scene of its own by the same decisions.

        It costs the same however large the scene is. Of a series it is the first date, without the others; an area
        of interest is left out.
        """
        array = Cube.of(self.scene, self.options.bands or ()).array
        first = array.isel(dict.fromkeys(array.dims[:-3], 0))
        cut = {
            dim: slice(max(0, (size - side_px) // 2), (size + side_px) // 2)
            for dim, size in zip(first.dims[-2:], first.shape[-2:], strict=True)
        }
        part = first.isel(cut).compute()
        asked = replace(self.options, references=None, aoi=None)
        decisions = replace(self.decisions, layout=None)
        return decloud(part, asked, None, decisions, self.references)

    def plot_before_after(self, width_px: int = 1200) -> Picture:
        """The scene before and after, side by side, for a notebook or `Picture.save`; lazy: its `middle`.

        Parameters
        ----------
        width_px : of both together, at most
        """
        return self._view().picture(width_px)

    def _repr_html_(self) -> str:
        return self._view().html(f"restored by the model {self.decisions.card.name}")

    def _view(self) -> View:
        from geodecloud.pictures.notebook import View  # only notebooks look at results

        bands = self.options.bands or ()
        cube, shown = Cube.of(self.scene, bands), self
        height, width = cube.array.shape[-2:]
        note = f"All of the {width} x {height} px."
        if self.is_lazy:
            shown = self.middle()
            note = (
                f"Not computed yet: the middle {min(width, _SHOWN_PX)} x {min(height, _SHOWN_PX)} px of "
                f"{width} x {height} px, restored as a scene of its own."
            )
            note += "" if self.options.aoi is None else " The area of interest is left out."
        if cube.array.ndim > 3:
            note += f" The first of {len(cube.array)} dates."
        return View.of(shown.scene, shown.image, shown.provenance, bands, note)


def remove_clouds(scene: SceneT, **options: Unpack[OptionKeywords]) -> SceneT:
    """Remove clouds from a DataArray or Dataset: lazy in, lazy out.

    Parameters
    ----------
    scene : DataArray with the dims y and x, a band dim and perhaps a time dim, in any order; or
        Dataset with one such variable per band (other variables come back as they are). DN or
        reflectance, following rioxarray's conventions. Where it has a bool coordinate
        ``geodecloud_valid`` (y, x) or (time, y, x), False is treated as nodata.
    **options : see `geodecloud.options.Options`

    Returns
    -------
    DataArray or Dataset
        The same dims, coords, attrs, encoding, dtype and chunks; only cloud pixels differ.
        A model that lifts veils looks at some pixels of all chunks at once; all others wait.

    Raises
    ------
    GeodecloudError
        If no model fits the bands, or an option makes no sense.
    """
    return decloud(scene, Options.of(options)).image  # type: ignore[no-any-return,unused-ignore]


def decloud(
    scene: Scene,
    options: Options,
    metadata: Metadata | None = None,
    decisions: Decisions | None = None,
    references: Sequence[Reference] | None = None,
) -> Declouded:
    """Remove clouds and say where: image, cloud map and provenance, see `Declouded`.

    Parameters
    ----------
    metadata, decisions : what a file says of the scene, and what was decided about it by a sample of its
        pixels. None: what the array itself says; a lazy one keeps its chunks, and each chunk looks
        at its own values
    references : other dates that were opened for the caller; None: those of the options
    """
    if isinstance(options.references, str) and options.references == "time" and references is None:
        return _decloud_series(scene, options)
    references = given_references(options, references)
    cube = Cube.of(scene, options.bands or ())
    data = cube.array.data
    lazy = isinstance(data, da.Array)
    metadata = metadata or cube.metadata
    decisions = decisions or decide_array(cube, options, metadata)
    pixels = data if lazy else _in_chunks(data, metadata)
    scale, offset = decisions.formula
    asked = replace(options, scale=scale, offset=offset)
    masks = open_masks(cube, (pixels, cube.index), metadata, asked)
    restored = restore_scene((pixels, cube.index), masks, metadata, decisions, options, references)
    image, layers = restored.image, restored.layers
    if not lazy:
        # what is in memory here is computed here, unless a cluster is asked for by name
        now = {
            name: layer
            for name, layer in layers.items()
            if name != "confidence" or restored.mirrored is None
        }
        with engine(options.scheduler or "threads", options.workers) as computer:
            image, *planes = computer.compute([image, *now.values()])
        layers = layers | dict(zip(now, planes, strict=True))
    return Declouded(
        cube.image(image),
        **{name: cube.plane(layer, name) for name, layer in layers.items()},
        decisions=decisions,
        scene=scene,
        options=options,
        references=references,
        ground=restored.around[0] if lazy and restored.around is not None else None,
        mirrored=restored.mirrored if lazy else None,
        shelf=restored.shelf,
    )


def decide_array(cube: Cube, options: Options, metadata: Metadata) -> Decisions:
    """Every decision about an array: by some of its pixels where they are in memory, else by what it says."""
    data = cube.array.data
    lazy = isinstance(data, da.Array)
    return decide(metadata, None if lazy else _sample(data), options, own_chunks=lazy)


def given_references(
    options: Options, references: Sequence[Reference] | None
) -> Sequence[Reference]:
    """Other dates as they were opened, or as arrays of the caller's."""
    asked = options.references
    if references is not None or asked is None:
        return references or ()
    if isinstance(asked, str) or any(isinstance(one, str | Path) for one in asked):
        raise OptionError(
            f"references={asked!r} are no arrays: open files first, with geodecloud.open_scene(path); "
            'references="time" is for a stack of dates'
        )
    return [Reference.of(one, n) for n, one in enumerate(asked, 1)]  # type: ignore[arg-type]


def _decloud_series(scene: Scene, options: Options) -> Declouded:
    """Each date of a stack, its holes filled from those of the other dates that are nearest."""
    cube = Cube.of(scene, options.bands or ())
    if cube.array.ndim != 4:
        raise OptionError('references="time" is for a stack of dates, and this scene has one')
    time = cube.array.dims[0]
    single = [cube.array.isel({time: i}) for i in range(cube.array.shape[0])]
    days = [
        date_of(one) or datetime.date(1970, 1, 1) + datetime.timedelta(i)
        for i, one in enumerate(single)
    ]
    parts = []
    for i, day in enumerate(days):
        others = [j for j in range(len(single)) if j != i]
        chosen = pick_references(day, [Candidate(days[j]) for j in others])
        named = [
            Reference(single[others[k]], f"date {others[k] + 1}", days[others[k]]) for k in chosen
        ]
        parts.append(decloud(single[i], replace(options, references=None), references=named))
    stack = da.stack if isinstance(cube.array.data, da.Array) else np.stack
    found = {
        name: [getattr(part, name) for part in parts]
        for name in ("cloud_map", "provenance", "source_date", "confidence")
    }
    planes: dict[str, Any] = {
        name: cube.plane(stack([layer.data for layer in layers]), name)
        for name, layers in found.items()
        if all(layer is not None for layer in layers)  # a stack of one date has no other dates
    }
    image = cube.image(stack([part.image.data for part in parts]))
    own = parts[0].decisions
    return Declouded(image, **planes, decisions=own, scene=scene, options=options)


def _in_chunks(data: NDArray[Any], metadata: Metadata) -> da.Array:
    """Pixels in memory as dask chunks, so that all cores have something to do."""
    side = chunk_px(metadata.grid.shape_yx)
    return da.from_array(data, chunks=(*(1,) * (data.ndim - 3), -1, side, side))


def _sample(data: NDArray[Any]) -> NDArray[Any]:
    """Some pixels (band, y, x) of a scene in memory, of its first date, spread over it."""
    step = max(1, max(data.shape[-2:]) // _SAMPLE_PX)
    first: NDArray[Any] = data if data.ndim == 3 else data[0]
    return first[:, ::step, ::step]
