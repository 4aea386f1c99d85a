"""Every decision about a scene, made once, before the first pixel is restored.

`decide` takes what the scene says of itself, a thin sample of its pixels and the caller's options.
What comes out is frozen, can be printed and written as JSON, and is what all later stations follow:
nothing is chosen again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from geodecloud.backends import Runner, choose_runner
from geodecloud.compute.engine import find_place
from geodecloud.compute.memory import MemoryEstimate, fit, parse_limit
from geodecloud.errors import OptionError, SceneError, WindowPlanError
from geodecloud.models.card import ModelCard
from geodecloud.models.catalogue import FoundModel, find_model
from geodecloud.options import Options
from geodecloud.restore.channels import choose_channels
from geodecloud.restore.composite import MASK_REACH_PX
from geodecloud.restore.radiometry import (
    check_sample,
    choose_codec,
    choose_formula,
    choose_gaps,
    warn,
)
from geodecloud.scene.bands import SENTINEL2_NM, match_bands
from geodecloud.scene.gaps import Gaps
from geodecloud.scene.metadata import CLASS_BAND, Metadata
from geodecloud.scene.reflectance import Codec
from geodecloud.windows.tiler import ChunkLayout, check_window, chunk_px, plan_chunks

if TYPE_CHECKING:
    from geodecloud.models.weights import Model

log = logging.getLogger(__name__)

#: More context than this changes nothing but the time.
MAX_HALO_PX = 1024


@dataclass(frozen=True)
class Decisions:
    """What was decided about one scene, with the reasons in words.

    Attributes
    ----------
    card : the model's card
    model : the model's name or path, or the loaded model itself
    why : why this model
    channels : 0-based bands it restores, in the model's order
    slots : which of the model's channels each of them feeds; all, unless the scene lacks some
    formula : scale and offset that win over what the scene says; None: its own word holds
    codec : DN <-> reflectance of these bands
    gaps : which of their numbers are no measurements, besides nodata
    first_pass : model that finds the clouds of the whole scene first, so that what is clear around them can stand
        in for hidden ground; "mask": the given one does; None: nothing does
    sun_azimuth_deg : where the sun stood, clockwise from the top of the image; None: nobody says
    mask_kind : "auto": where the model sees cloud, and where `geodecloud.masks` knows of it; "given": the
        latter alone; "none": every valid pixel
    device, precision, backend : what runs the network; on a cluster "auto" is left to each worker
    computed_by : the same for tags, by these names; the identity model is alike wherever it is
    window_px : side of a window; None: as the backend of each worker likes it
    halo_px : context around a window
    align_px : windows begin at multiples of it, counted from the scene's corner
    chunk_px : side of the chunks that a file is read in
    layout : the chunks to compute; None: those of the scene
    workers : threads
    cores : that a network may use here; None: other processes compute, and each has its own
    checked : whether a sample of the pixels was held against the codec; if not, each chunk does it
    """

    card: ModelCard
    model: str | Model
    why: str
    channels: tuple[int, ...]
    slots: tuple[int, ...]
    formula: tuple[float | None, float | None]
    codec: Codec
    gaps: Gaps
    mask_kind: str
    first_pass: str | None
    sun_azimuth_deg: float | None
    device: str
    precision: str
    backend: str
    computed_by: Mapping[str, str]
    window_px: int | None
    halo_px: int
    align_px: int
    chunk_px: int
    layout: ChunkLayout | None
    workers: int
    cores: int | None
    checked: bool

    @property
    def model_ref(self) -> str:
        """The model's name or path."""
        return self.model if isinstance(self.model, str) else self.model.model_ref

    @property
    def usual_ground(self) -> tuple[float, ...]:
        """Reflectance of the restored bands where nothing says what the ground is like; empty: the network guesses."""
        known = self.card.usual_ground
        return tuple(known[slot] for slot in self.slots) if known else ()

    def as_dict(self) -> dict[str, Any]:
        """The decisions as plain values, ready for JSON."""
        return {
            "model": self.card.name,
            "why": self.why,
            "weights_sha256": self.card.sha256,
            "bands": [channel + 1 for channel in self.channels],
            "radiometry": self.codec.reason,
            "nodata": None if self.codec.nodata is None else str(self.codec.nodata),
            "mask": self.mask_kind,
            "first_pass": self.first_pass,
            "sun_azimuth_deg": self.sun_azimuth_deg,
            "device": self.device,
            "precision": self.precision,
            "backend": self.backend,
            "window_px": self.window_px,
            "halo_px": self.halo_px,
            "chunk_px": self.chunk_px,
            "chunks": self.layout and [len(self.layout.rows), len(self.layout.cols)],
            "workers": self.workers,
        }

    def __str__(self) -> str:
        return "\n".join(f"{name}: {value}" for name, value in self.as_dict().items())


def decide(
    metadata: Metadata,
    sample: NDArray[Any] | None,
    options: Options,
    own_chunks: bool = False,
    dates: int = 0,
) -> Decisions:
    """Decide how a scene is processed, and warn of what a careful user should know.

    Parameters
    ----------
    sample : (band, y, x), some pixels of the scene; None: it is lazy, and nothing may be read yet
    own_chunks : compute in the scene's own chunks, which are its owner's choice
    dates : other dates that fill its holes, and take memory

    Raises
    ------
    BandError
        If no model fits the bands, or the asked bands do not fit the model.
    SceneError
        If the pixels are not measurements, nothing says what a DN means, or they look like DN that were
        taken for reflectance.
    OptionError, WindowPlanError, WeightsError, DeviceError
        If an option makes no sense for this model, or on this machine.
    """
    found = _find_model(metadata, options)
    card = found.card
    metadata = metadata.with_nodata(options.nodata)
    channels, slots = choose_channels(metadata, card, options.bands)
    if card.kind != "identity":
        _check_kind(metadata)
    pixels = None if sample is None or card.kind == "identity" else sample[list(channels)]
    formula = choose_formula(metadata, channels, options, pixels)
    codec = choose_codec(metadata, card, channels, options, formula)
    gaps = Gaps()
    if card.kind != "identity" and options.nodata != "none":
        gaps = choose_gaps(metadata, codec, channels, pixels)
    halo_px = _choose_halo(card, options)
    align_px = card.align_px
    _warn_of_bands(metadata, card, channels)
    mask = _choose_mask(metadata, card, options)
    first_pass = _choose_first_pass(found, slots, mask)
    if pixels is not None:
        check_sample(pixels, metadata, codec, gaps, channels)
    workers, cores = find_place(options.scheduler, options.workers)
    asked = options.device, options.precision, options.backend
    runner = choose_runner(card, found.model, *asked)
    room = _fit_memory(metadata, options, runner, workers, halo_px + MASK_REACH_PX, dates)
    device, precision, backend = runner.device, runner.precision, runner.backend
    window_px: int | None = room.window_px
    if cores is None:
        device, precision, backend = asked
        if options.window == "auto" and window_px == runner.window_px:
            window_px = None
    computed_by = {"backend": backend, "device": device, "precision": precision}
    if card.kind == "identity":
        computed_by = {"backend": "identity", "device": "cpu", "precision": "fp32"}
    return Decisions(
        card=card,
        model=found.model,
        why=found.reason,
        channels=channels,
        slots=slots,
        formula=formula,
        codec=codec,
        gaps=gaps,
        mask_kind=mask,
        first_pass=first_pass,
        sun_azimuth_deg=_choose_sun(metadata, options),
        device=device,
        precision=precision,
        backend=backend,
        computed_by=computed_by,
        window_px=window_px,
        halo_px=halo_px,
        align_px=align_px,
        chunk_px=room.chunk_px,
        layout=_choose_layout(metadata, room.window_px, halo_px, align_px)
        if runner.cost.shared and not own_chunks
        else None,
        workers=room.workers,
        cores=cores,
        checked=sample is not None or card.kind == "identity",
    )


def _find_model(metadata: Metadata, options: Options) -> FoundModel:
    """The model for the bands that are asked for."""
    names: Sequence[str | None] = metadata.names
    if options.model == "auto" and options.bands is not None:
        names = [names[i - 1] for i in match_bands(names, options.bands)]
    is_picture = metadata.dtypes[0] == "uint8"
    return find_model(options.model, names, is_picture)  # type: ignore[arg-type]  # a Path was made a text


def _check_kind(metadata: Metadata) -> None:
    """Refuse pixels that are no measurements."""
    if metadata.has_palette:
        raise SceneError(
            "the scene has a colour table: its pixels are places in a table, not measurements. "
            "Expand it to RGB first, for example with: gdal_translate -expand rgb"
        )
    dtype = np.dtype(metadata.dtypes[0])
    if dtype.kind not in "uif":
        raise SceneError(f"pixels of dtype {dtype.name} are not measurements")


def _choose_halo(card: ModelCard, options: Options) -> int:
    """Context around a window: at least what the model depends on."""
    halo_px = card.halo_px if options.halo == "auto" else int(options.halo)
    check_window(
        1 if options.window == "auto" else int(options.window), 0 if halo_px is None else halo_px
    )
    if card.halo_px is None or halo_px is None:
        raise WindowPlanError(
            f"model {card.name} has no limit to its reach: its passes are recurrent, each pixel depends "
            "on whole rows and columns, and a scene computed in windows would show seams. Use a model "
            "with one-step passes"
        )
    if halo_px > MAX_HALO_PX:
        raise WindowPlanError(
            f"a halo of {options.halo} px would have each window read far more than it computes; "
            f'the most is {MAX_HALO_PX}, and halo="auto" is what the model needs'
        )
    if halo_px < card.halo_px:
        raise WindowPlanError(
            f"a halo of {options.halo} px is less than the {card.halo_px} px that one pixel of model "
            f'{card.name} depends on: seams would show. Use halo="auto" or halo={card.halo_px}'
        )
    return halo_px


def _warn_of_bands(metadata: Metadata, card: ModelCard, channels: tuple[int, ...]) -> None:
    """Bands that were named by us, and bands that stay as they are."""
    if metadata.count == len(SENTINEL2_NM) and metadata.names != metadata.descriptions:
        warn("the scene's 13 bands have no names; they are taken for B01 to B12 in ESA's order")
    passing = [
        metadata.names[i] or str(i + 1)
        for i in range(metadata.count)
        if i not in (*channels, metadata.alpha)
    ]
    if passing:
        warn(
            f"model {card.name} does not restore bands {', '.join(passing)}: they stay as they are"
        )


def _choose_mask(metadata: Metadata, card: ModelCard, options: Options) -> str:
    """Which kind of mask it is to be, after checking that the model can do it."""
    if options.strict and not card.has_cloud_map:
        raise OptionError(
            f"strict=True keeps pixels whose ground was not visible, but model {card.name} makes no cloud "
            "map and cannot tell; use a model that does (geodecloud models list)"
        )
    if str(options.mask) == "scl" and not (metadata.has_classes or CLASS_BAND in metadata.names):
        raise OptionError(
            'mask="scl" needs the scene classification of a Sentinel-2 L2A product, and this scene has none, nor a '
            'band of the name SCL; use mask="auto", or give a raster of your own: mask="FILE"'
        )
    if str(options.mask) == "none":
        return "none"
    if str(options.mask) != "auto":
        return "given"
    if card.has_cloud_map:
        return "auto"
    if metadata.has_classes:
        return "given"
    warn(
        f'model {card.name} makes no cloud map, so mask="auto" replaces every valid pixel, clear '
        'ground too; give mask="FILE" to say where the clouds are'
    )
    return "none"


def _choose_first_pass(found: FoundModel, slots: Sequence[int], mask: str) -> str | None:
    """What finds the clouds of a whole scene first, see `Decisions`: its own network, or one for some of its bands."""
    card = found.card
    if card.kind != "spanet" or not card.has_cloud_map or not found.finders:
        return None
    if mask == "given":
        return "mask"
    if card.reads_prior:
        return card.name
    bands = {card.channel_names[slot] for slot in slots}
    return next((other.name for other in found.finders if set(other.channel_names) <= bands), None)


def _choose_sun(metadata: Metadata, options: Options) -> float | None:
    """Where the sun stood, as the caller or the scene says; None: nobody does."""
    if options.sun_azimuth is not None:
        return float(options.sun_azimuth) % 360
    return metadata.sun_azimuth_deg


def _fit_memory(
    metadata: Metadata, options: Options, runner: Runner, workers: int, halo_px: int, dates: int
) -> MemoryEstimate:
    """Workers, window and chunk, within the limit if there is one; the result depends on none of them."""
    window_px = runner.window_px if options.window == "auto" else int(options.window)
    side = chunk_px(metadata.grid.shape_yx)
    width_px = metadata.grid.shape_yx[1] if dates else 0
    wish = MemoryEstimate(workers, side, window_px, runner.cost, dates, width_px)
    if options.max_memory is None:
        return wish
    itemsize = np.dtype(metadata.dtypes[0]).itemsize
    limit = parse_limit(options.max_memory)
    found = fit(wish, limit, metadata.count, itemsize, halo_px)
    if found != wish:
        log.info(
            "max_memory=%s: %d workers, windows of %d px, chunks of %d px",
            *(options.max_memory, found.workers, found.window_px, found.chunk_px),
        )
    return found


def _choose_layout(metadata: Metadata, window_px: int, halo_px: int, align_px: int) -> ChunkLayout:
    """Chunks for a backend that prepares for one kind of window, see `plan_chunks`."""
    return plan_chunks(metadata.grid.shape_yx, window_px, halo_px, MASK_REACH_PX, align_px)
