"""What the DN of a scene mean, decided once, and held against a sample of its pixels."""

from __future__ import annotations

import logging
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geodecloud.errors import GeodecloudWarning
from geodecloud.models.card import ModelCard
from geodecloud.options import Options
from geodecloud.scene.bands import are_sentinel2
from geodecloud.scene.gaps import Gaps, describe_gaps, gap_rules
from geodecloud.scene.metadata import Metadata
from geodecloud.scene.offset_doubts import doubt_offset
from geodecloud.scene.reflectance import (
    KNOWN,
    PLAIN,
    Codec,
    Tone,
    check_values,
    is_scaled_already,
)

#: Whose scale and offset a caller can give.
_SCENE = "the scene"

log = logging.getLogger(__name__)


def warn(message: str) -> None:
    """Tell what a careful user should know about a decision."""
    warnings.warn(message, GeodecloudWarning, stacklevel=4)


def choose_formula(
    metadata: Metadata,
    channels: tuple[int, ...],
    options: Options,
    pixels: NDArray[Any] | None,
    whose: str = _SCENE,
) -> tuple[float | None, float | None]:
    """Scale and offset that win over what the scene says; None: the scene's own word holds.

    Parameters
    ----------
    pixels : (C, H, W) of the sample; they tell what no document does
    whose : pixels they are, in words
    """
    scale, offset = options.scale, options.offset
    if options.radiometry is not None:
        named = KNOWN[options.radiometry]
        return named[0] if scale is None else scale, named[1] if offset is None else offset
    scales, offsets = ([said[i] for i in channels] for said in (metadata.scales, metadata.offsets))
    if (
        scale is None
        and pixels is not None
        and is_scaled_already(pixels, scales, offsets, metadata.nodata)
    ):
        also = f" and an offset of {offsets[0]:g}" if any(offsets) else ""
        typed = f"scale={scales[0]:g}" + (f", offset={offsets[0]:g}" if any(offsets) else "")
        remedy = f". To have them scaled, say so: {typed}" if whose == _SCENE else ""
        warn(
            f"{whose} declares a scale of {scales[0]:g}{also}, but its {pixels.dtype.name} values are "
            f"reflectance already: they are taken as they are{remedy}"
        )
        return 1.0, 0.0 if offset is None else offset
    return scale, offset


def choose_gaps(
    metadata: Metadata, codec: Codec, channels: tuple[int, ...], pixels: NDArray[Any] | None
) -> Gaps:
    """Which numbers are no measurements, besides the nodata number that the scene declares; say if there are any.

    Parameters
    ----------
    pixels : (C, H, W) of the sample; None: nothing may be read yet
    """
    implied = metadata.nodata is None and codec.nodata is not None
    is_picture = not are_sentinel2([metadata.descriptions[i] for i in channels])
    gaps = gap_rules(codec, pixels, implied, is_picture)
    if pixels is None:
        return gaps
    undeclared = gaps.undeclared(pixels, codec.nodata)
    if undeclared.any():
        warn(describe_gaps(pixels, undeclared, "the pixels looked at"))
    return replace(gaps, told=bool(undeclared.any()))


def choose_codec(
    metadata: Metadata,
    card: ModelCard,
    channels: tuple[int, ...],
    options: Options,
    formula: tuple[float | None, float | None],
) -> Codec:
    """How DN become reflectance, and back."""
    dtype, count = np.dtype(metadata.dtypes[0]), len(channels)
    if card.kind == "identity":
        reason = "the identity model works on DN as they are"
        return Codec((1.0,) * count, (0.0,) * count, dtype.name, metadata.nodata, reason)
    codec = metadata.codec(channels, *formula)
    if options.scale is None and formula[0] is not None:  # nobody asked for this very number
        why = (
            f"as {options.radiometry}"
            if options.radiometry
            else "its values are reflectance already"
        )
        codec = replace(codec, reason=codec.reason.replace("as asked", why))
    if codec.nodata is None and options.nodata != "none" and _is_sentinel2(metadata, channels):
        codec = replace(
            codec, nodata=0.0
        )  # DN 0 is no data in all baselines, also where no file says so
    if metadata.encodings:
        codec = replace(codec, encodings=tuple(metadata.encodings[i] for i in channels))
    tone = Tone(card.picture_gamma, card.picture_white)
    if dtype != np.uint8 or tone == PLAIN:
        return codec
    reason = f"{codec.reason}; {tone.white:g} * value ** {tone.gamma:g} is taken for light"
    return replace(codec, tone=tone, reason=reason)


def _is_sentinel2(metadata: Metadata, channels: tuple[int, ...]) -> bool:
    """Whether these are DN under the band names of Sentinel-2."""
    integer = np.dtype(metadata.dtypes[0]) in (np.uint16, np.int16)
    return integer and are_sentinel2([metadata.names[i] for i in channels])


def check_sample(
    pixels: NDArray[Any],
    metadata: Metadata,
    codec: Codec,
    gaps: Gaps,
    channels: tuple[int, ...],
) -> None:
    """Hold some pixels of the restored bands against what their DN are said to mean.

    Raises
    ------
    SceneError
        If they look like DN and were taken for reflectance.
    """
    undeclared = gaps.undeclared(pixels, codec.nodata)
    measured = pixels[:, ~undeclared.any(axis=0)][:, None]
    check_values(measured, codec, "the scene")
    documented = metadata.radiometry is not None
    options = ('s2_offset="none"', "s2_offset=-1000")
    if not documented:
        options = ("offset=0", "scale=0.0001, offset=-0.1")
    names = [metadata.descriptions[i] for i in channels]
    for doubt in doubt_offset(measured, codec.scales, codec.offsets, names, codec.nodata, options):
        if documented:
            warn(doubt)
        else:  # a remark: no document says that this should be otherwise
            log.warning("%s", doubt)
