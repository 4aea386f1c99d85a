"""Which bands of a scene feed which channels of a model."""

from __future__ import annotations

from collections.abc import Sequence

from geodecloud.errors import BandError
from geodecloud.models.card import ModelCard
from geodecloud.scene.bands import SENTINEL2_NM, canonical_name, describe, match_bands
from geodecloud.scene.metadata import Metadata

Places = tuple[int, ...]


def choose_channels(
    metadata: Metadata, card: ModelCard, wanted: Sequence[str] | None
) -> tuple[Places, Places]:
    """0-based bands of the scene that feed the model, and the model's channels they feed.

    Parameters
    ----------
    wanted : bands as the caller names them; None: found by name

    Raises
    ------
    BandError
        If a band is missing, or the bands do not fit the model.
    """
    if wanted is None:
        if not card.channels:
            every = tuple(range(metadata.count))
            return every, every
        wanted = _by_name(metadata, card)
    bands = match_bands(metadata.names, wanted)
    _refuse_alpha(metadata, card, bands)
    if not card.channels:
        return tuple(band - 1 for band in bands), tuple(range(len(bands)))
    slots = _slots(wanted, card)
    ordered = sorted(zip(slots, bands, strict=True))
    return tuple(band - 1 for _, band in ordered), tuple(slot for slot, _ in ordered)


def _by_name(metadata: Metadata, card: ModelCard) -> list[str]:
    """The model's channels that the scene has; those it must have are asked for in any case."""
    known = {canonical_name(name) for name in metadata.names}
    lacking = set(card.channel_names) - known
    if not lacking <= set(card.optional) and metadata.count == len(card.channels):
        every = ", ".join(f'"{i + 1}"' for i in range(metadata.count))
        raise BandError(
            f"model {card.name} takes {' '.join(card.channel_names)}, and the scene's "
            f"{metadata.count} bands are {describe(metadata.names)}. Say which is which, in the "
            f"model's order, such as bands=[{every}]"
        )
    optional = lacking & set(card.optional)
    return [name for name in card.channel_names if name not in optional]


def _refuse_alpha(metadata: Metadata, card: ModelCard, bands: Sequence[int]) -> None:
    """A mask is no measurement, whatever the band is called."""
    if metadata.alpha is None or not card.channels or metadata.alpha + 1 not in bands:
        return
    colours = [colour.name for colour in metadata.colorinterp]
    colours[metadata.alpha] = "undefined"
    raise BandError(
        f"band {metadata.alpha + 1} is the scene's alpha band, which says where there is data. If it "
        f"holds near infrared, say so in the file: rio edit-info --colorinterp {','.join(colours)} SCENE"
    )


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
