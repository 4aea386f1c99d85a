"""What is decided about a scene before its first pixel is read: model, bands, radiometry."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geodecloud.errors import BandError, GeodecloudWarning, OptionError, SceneError, WindowPlanError
from geodecloud.models.card import ModelCard
from geodecloud.models.catalogue import choose_model, get_card
from geodecloud.options import MASK_WORDS, Options
from geodecloud.scene.bands import SENTINEL2_NM, canonical_name, describe, match_bands
from geodecloud.scene.metadata import Metadata
from geodecloud.scene.reflectance import PLAIN, Codec, Tone, check_values
from geodecloud.windows.tiler import BLEND_OVERLAP_PX, BLENDED_PX, check_window

log = logging.getLogger(__name__)

#: More context than this changes nothing but the time.
MAX_HALO_PX = 1024


@dataclass(frozen=True)
class Plan:
    """The decisions, with their reasons in words.

    Attributes
    ----------
    card : the model's card
    source : the model's name or path
    why : why this model
    channels : 0-based bands it restores, in the model's order
    slots : which of the model's channels each of them feeds; all, unless the scene lacks some
    codec : DN <-> reflectance of these bands
    mask_kind : "auto": what the model sees, and what `geodecloud.masks.sources` knows; "given": the
        latter alone; "none": every valid pixel
    """

    card: ModelCard
    source: str
    why: str
    channels: tuple[int, ...]
    slots: tuple[int, ...]
    codec: Codec
    mask_kind: str

    def __repr__(self) -> str:
        bands = ", ".join(str(i + 1) for i in self.channels)
        return (
            f"<Plan: model {self.card.name} ({self.why}) for bands {bands}; {self.codec.reason}; "
            f"mask {self.mask_kind}>"
        )


def plan_scene(metadata: Metadata, options: Options) -> Plan:
    """Decide how a scene is processed, once, and warn of what a careful user should know.

    Raises
    ------
    BandError
        If no model fits the bands, or the asked bands do not fit the model.
    SceneError
        If the pixels are not measurements, or nothing says what a DN means.
    OptionError, WindowPlanError, WeightsError
        If an option makes no sense for this model.
    """
    source, why = choose_source(metadata, options)
    card = get_card(source)
    channels, slots = _channels(metadata, card, options)
    if card.kind != "identity":
        _check_pixels(metadata, channels)
    codec = _codec(metadata, card, channels, options)
    _check_halo(card, options)
    if metadata.count == len(SENTINEL2_NM) and metadata.names != metadata.descriptions:
        _warn("the scene's 13 bands have no names; they are taken for B01 to B12 in ESA's order")
    passing = [
        metadata.names[i] or str(i + 1)
        for i in range(metadata.count)
        if i not in (*channels, metadata.alpha)
    ]
    if passing:
        _warn(
            f"model {card.name} does not restore bands {', '.join(passing)}: they stay as they are"
        )
    return Plan(card, source, why, channels, slots, codec, _mask_kind(metadata, card, options))


def choose_source(metadata: Metadata, options: Options) -> tuple[str, str]:
    """The model's name or path, and why it is this one.

    Raises
    ------
    BandError
        If it is to be chosen by the bands, and no model fits them.
    """
    if options.model != "auto":
        return options.model, "as asked"
    choice = choose_model(_asked_names(metadata, options))
    return choice.name, choice.reason


def _asked_names(metadata: Metadata, options: Options) -> list[str | None]:
    """Names the model is chosen by: those of the asked bands, or all."""
    if options.bands is None:
        return list(metadata.names)
    return [metadata.names[i - 1] for i in match_bands(metadata.names, options.bands)]


def _channels(
    metadata: Metadata, card: ModelCard, options: Options
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """0-based bands of the scene that feed the model, and the model's channels they feed."""
    wanted: Sequence[str] | None = options.bands
    if wanted is None:
        if not card.channels:
            every = tuple(range(metadata.count))
            return every, every
        known = {canonical_name(name) for name in metadata.names}
        lacking = set(card.channel_names) - known
        if not lacking <= set(card.optional) and metadata.count == len(card.channels):
            raise BandError(
                f"model {card.name} takes {' '.join(card.channel_names)}, and the scene's "
                f"{metadata.count} bands are {describe(metadata.names)}. Say which is which, in the "
                "model's order, such as --bands " + _example(metadata)
            )
        optional = lacking & set(card.optional)
        wanted = [name for name in card.channel_names if name not in optional]
    bands = match_bands(metadata.names, wanted)
    if metadata.alpha is not None and card.channels and metadata.alpha + 1 in bands:
        colours = [colour.name for colour in metadata.colorinterp]
        colours[metadata.alpha] = "undefined"
        raise BandError(
            f"band {metadata.alpha + 1} is the scene's alpha band, which says where there is data. If it "
            f"holds near infrared, say so in the file: rio edit-info --colorinterp {','.join(colours)} SCENE"
        )
    if not card.channels:
        return tuple(band - 1 for band in bands), tuple(range(len(bands)))
    slots = _slots(wanted, card)
    ordered = sorted(zip(slots, bands, strict=True))
    return tuple(band - 1 for _, band in ordered), tuple(slot for slot, _ in ordered)


def _slots(wanted: Sequence[str], card: ModelCard) -> list[int]:
    """The model's channel for each wanted band; indexes are in the model's order already.

    Red in the blue channel would go through without any error, and look almost right.
    """
    names = [canonical_name(want) for want in wanted]
    lacking = set(card.channel_names) - set(names)
    if set(names) <= set(card.channel_names) and lacking <= set(card.optional):
        return [card.channel_names.index(str(name)) for name in names]
    if len(names) != len(card.channels):
        raise BandError(
            f"model {card.name} takes {len(card.channels)} bands "
            f"({' '.join(card.channel_names)}), but {len(names)} were given: {','.join(wanted)}"
        )
    for name, channel in zip(names, card.channel_names, strict=True):
        if name in SENTINEL2_NM and name != channel:
            raise BandError(
                f"band {name} was given where model {card.name} takes {channel}; its bands are "
                f"{' '.join(card.channel_names)}. To use a band as another, give its 1-based index"
            )
    return list(range(len(names)))


def _example(metadata: Metadata) -> str:
    return ",".join(str(i + 1) for i in range(metadata.count))


def _check_pixels(metadata: Metadata, channels: tuple[int, ...]) -> None:
    if metadata.has_palette:
        raise SceneError(
            "the scene has a colour table: its pixels are places in a table, not measurements. "
            "Expand it to RGB first, for example with: gdal_translate -expand rgb"
        )
    dtype = np.dtype(metadata.dtypes[0])
    if dtype.kind not in "uif":
        raise SceneError(f"pixels of dtype {dtype.name} are not measurements")


def _codec(
    metadata: Metadata, card: ModelCard, channels: tuple[int, ...], options: Options
) -> Codec:
    dtype, count = np.dtype(metadata.dtypes[0]), len(channels)
    if card.kind == "identity":
        reason = "the identity model works on DN as they are"
        return Codec((1.0,) * count, (0.0,) * count, dtype.name, metadata.nodata, reason)
    codec = metadata.codec(channels, options.scale, options.offset)
    tone = Tone(card.picture_gamma, card.picture_white)
    if dtype != np.uint8 or tone == PLAIN:
        return codec
    reason = f"{codec.reason}; {tone.white:g} * value ** {tone.gamma:g} is taken for light"
    return replace(codec, tone=tone, reason=reason)


def check_reflectance(sample: NDArray[Any], plan: Plan) -> None:
    """Refuse a scene whose pixels were taken for reflectance but look like DN.

    Parameters
    ----------
    sample : (C, H, W), some pixels of the scene

    Raises
    ------
    SceneError
        If the upper end of the values is beyond anything the Sun can light.
    """
    if plan.card.kind != "identity":
        check_values(sample[list(plan.channels)], plan.codec, "the scene")


def _check_halo(card: ModelCard, options: Options) -> None:
    window_px = options.window_px(BLENDED_PX)
    check_window(window_px, 0 if options.halo == "auto" else int(options.halo))
    if card.halo_px is None and window_px <= 2 * BLEND_OVERLAP_PX:
        raise WindowPlanError(
            f"model {card.name} has no limit to its reach: its windows overlap by "
            f"{BLEND_OVERLAP_PX} px on each side and must be wider than {2 * BLEND_OVERLAP_PX} px"
        )
    if options.halo == "auto":
        return
    if int(options.halo) > MAX_HALO_PX:
        raise WindowPlanError(
            f"a halo of {options.halo} px would have each window read far more than it computes; "
            f"the most is {MAX_HALO_PX}, and --halo auto is what the model needs"
        )
    if card.halo_px is None:
        raise WindowPlanError(
            f"model {card.name} has no limit to its reach: its windows are blended, use --halo auto"
        )
    if int(options.halo) < card.halo_px:
        raise WindowPlanError(
            f"a halo of {options.halo} px is less than the {card.halo_px} px that one pixel of model "
            f"{card.name} depends on: seams would show. Use --halo auto or --halo {card.halo_px}"
        )


def _mask_kind(metadata: Metadata, card: ModelCard, options: Options) -> str:
    """Which mask it is to be, after checking that the model can do it."""
    if options.strict and not card.has_cloud_map:
        raise OptionError(
            f"--strict keeps pixels whose ground was not visible, but model {card.name} makes no cloud "
            "map and cannot tell; use a model that does (geodecloud models list)"
        )
    if str(options.mask) == "scl" and not metadata.has_classes:
        raise OptionError(
            "--mask scl needs the scene classification of a Sentinel-2 L2A product, and a single "
            "raster has none; use --mask auto, or give a raster of your own: --mask FILE"
        )
    if str(options.mask) == "none":
        return "none"
    if str(options.mask) != "auto":
        return "given"
    if not card.has_cloud_map and metadata.has_classes:
        return "given"
    if not card.has_cloud_map:
        _warn(
            f"model {card.name} makes no cloud map, so --mask auto replaces every valid pixel, clear "
            "ground too; give --mask FILE to say where the clouds are"
        )
        return "none"
    return "auto"


def mask_path(options: Options) -> Path | None:
    """The mask file, if the mask is one."""
    return None if str(options.mask) in MASK_WORDS else Path(options.mask)


def _warn(message: str) -> None:
    warnings.warn(message, GeodecloudWarning, stacklevel=2)
