"""Which models there are, and which one fits a scene. Light: it reads cards, no tensors."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from geodecloud.errors import BandError, WeightsError
from geodecloud.models.card import ModelCard
from geodecloud.scene.bands import canonical_name, describe

if TYPE_CHECKING:
    from geodecloud.models.weights import Model

SHIPPED = Path(__file__).parent / "shipped"
#: Longest header in bytes; those of the shipped models have below 20 000.
_MOST_HEADER = 1 << 20

#: Built in, not a file: any number of bands, changes nothing.
IDENTITY = ModelCard(
    name="identity",
    summary="changes nothing; for plumbing, tests and benchmarks",
    kind="identity",
    value_range=None,
    has_cloud_map=True,
    training="none",
    licence="MIT",
    citation="",
    sha256="none",
)


class Choice(NamedTuple):
    """The outcome of the model "auto": a model's name and the reason in words."""

    name: str
    reason: str


def read_card(path: Path) -> ModelCard:
    """Read the card of a weights file from its header alone.

    A safetensors file starts with the header's length (8 bytes, little endian) and the
    header, a JSON object whose ``__metadata__`` holds our card.

    Raises
    ------
    WeightsError
        If the file has no such header or no card.
    """
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > _MOST_HEADER:
                raise ValueError(f"its header claims {length} bytes, and {_MOST_HEADER} are enough")
            header = json.loads(file.read(length))
        if "geodecloud" not in (header.get("__metadata__") or {}):
            raise WeightsError(
                f"{path} holds tensors but no geodecloud model card: not one of ours"
            )
        return ModelCard.from_json(header["__metadata__"]["geodecloud"])
    except WeightsError:
        raise
    except (OSError, ValueError, AttributeError, TypeError, RecursionError, struct.error) as error:
        raise WeightsError(
            f"{path} is not a geodecloud weights file ({error}). A published .pth checkpoint is turned "
            "into one with: geodecloud models import CHECKPOINT --out FILE.safetensors"
        ) from error


def shipped_cards() -> dict[str, ModelCard]:
    """Cards of all models that can be named, by name, ``identity`` last."""
    cards = {path.stem: read_card(path) for path in sorted(SHIPPED.glob("*.safetensors"))}
    return cards | {IDENTITY.name: IDENTITY}


def find_weights(name_or_path: str | Path) -> Path:
    """Path of a shipped model's weights, or of a file given by path.

    Raises
    ------
    WeightsError
        If it is neither; the message lists the shipped names.
    """
    shipped = SHIPPED / f"{name_or_path}.safetensors"
    if os.path.isfile(shipped):  # Path.is_file raises where a name is too long
        return shipped
    path = Path(name_or_path)
    if os.path.isfile(path):
        return path
    raise WeightsError(
        f"no model is called {str(name_or_path)!r} and no such file exists; "
        f"shipped models: {', '.join(shipped_cards())}"
    )


def get_card(model: str | Path | Model) -> ModelCard:
    """Card of a model by name or path, without loading its tensors; or of a loaded model as it is now."""
    if not isinstance(model, str | Path):
        return model.current_card()
    if str(model) == IDENTITY.name:
        return IDENTITY
    return read_card(find_weights(model))


@dataclass(frozen=True)
class FoundModel:
    """The model for a scene.

    Attributes
    ----------
    model : its name or path, or the loaded model itself
    card : its card
    reason : why it is this one
    finders : cards of models that may find the clouds of a whole scene first, at little cost: its own where it
        reads a prior; of a shipped model those that do. A model of the user's own is run as it is
    """

    model: str | Model
    card: ModelCard
    reason: str
    finders: tuple[ModelCard, ...]


def find_model(
    asked: str | Model, descriptions: Sequence[str | None], is_picture: bool = False
) -> FoundModel:
    """The model that is asked for; see `choose_model` for "auto", and what may go wrong."""
    model, reason = asked, "as asked"
    if model == "auto":
        model, reason = choose_model(descriptions, is_picture)
    card, shipped = get_card(model), shipped_cards()
    finders = [card] if card.reads_prior else []
    if not finders and isinstance(model, str) and model in shipped and not card.lifts_veil:
        finders = [other for other in shipped.values() if other.reads_prior]
    return FoundModel(model, card, reason, tuple(finders))


def choose_model(descriptions: Sequence[str | None], is_picture: bool = False) -> Choice:
    """Choose the shipped model that restores the most of a scene's bands.

    Parameters
    ----------
    descriptions : the scene's band names, None where a band has none
    is_picture : whether its values have 8 bits

    Raises
    ------
    BandError
        If no model fits; the message lists the models and the bands they need.
    """
    names = [canonical_name(d) for d in descriptions]
    cards = [card for card in shipped_cards().values() if card.channels]
    # whether a picture is under a veil is for its owner to say
    fitting = [card for card in cards if set(card.needed) <= set(names) and not card.lifts_veil]
    if fitting:
        covered = {card.name: [n for n in card.channel_names if n in names] for card in fitting}
        # of models that restore the same bands, the one made for them alone
        best = max(fitting, key=lambda card: (len(covered[card.name]), -len(card.channels)))
        return Choice(best.name, f"the scene names its bands {' '.join(covered[best.name])}")
    needs = "\n".join(
        f"  {card.name}: {' '.join(card.needed)}"
        + f' (a picture; only when asked for: model="{card.name}")' * card.lifts_veil
        for card in cards
    )
    pictures = [card.name for card in cards if set(card.needed) <= set(names) and is_picture]
    way = (
        f'For a picture such as this: model="{pictures[0]}"'
        if pictures
        else "If the bands are there under other names, give the model and, in its order, their "
        '1-based indexes: model="s2-10m", bands=["1", "2", "3", "4"]'
    )
    raise BandError(
        f"no shipped model fits the scene's bands ({describe(descriptions)}). Models and the "
        f"bands they need:\n{needs}\n{way}"
    )
