"""The model card: everything about a model that its tensors do not say."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from typing import Any

from geodecloud.errors import WeightsError
from geodecloud.models.expected_error import ErrorTable

#: Side of the blocks of a prior, in px.
PRIOR_PX = 8
#: Side in pixels of what the first pass of a network with a prior takes for one: it has only to find the clouds,
#: costs a quarter so, and sees twice as far.
COARSE_PX = 2


def align_px(blocks: int, prior: bool) -> int:
    """Windows of a network on blocks begin at multiples of it, counted from the scene's corner: there blocks do."""
    return max(blocks, PRIOR_PX) if prior else blocks


@dataclass(frozen=True)
class Channel:
    """One input channel: band name and central wavelength in nm (None: unknown)."""

    name: str
    wavelength_nm: float | None = None


@dataclass(frozen=True)
class ModelCard:
    """What a model expects, what it promises, and where it comes from.

    Attributes
    ----------
    name : short name, as given to ``--model``
    summary : one sentence for people
    kind : "spanet" or "identity"
    architecture : keyword arguments of the network, without the channel counts
    channels : input channels in order; empty means any number of bands
    optional : names of channels a scene may lack; the network then gets a plane of zeros
    value_range : the network's output is clipped to it, in reflectance; None: it is not
    halo_px : dependency radius in px; None where it has no limit
    picture_gamma, picture_white : an 8-bit picture of values in [0, 1] comes to the network as the light
        ``white * value ** gamma``, see `geodecloud.scene.reflectance.Tone`
    has_cloud_map : whether the attention map is the opacity of cloud and shadow. Where it
        is not, it must not be used as a mask.
    lifts_veil : whether the file holds what `geodecloud.models.veil` needs, too: a veil over the whole of an 8-bit
        picture is lifted, and then the network is not asked. Such a model is used only where it is named
    cloud_threshold : opacity above which a pixel counts as cloud
    opaque_threshold : opacity above which the ground counts as not visible
    usual_ground : reflectance of each channel, of ground in the middle of what was trained on: what stands where nothing of a
        scene shows what the ground is like. Empty: the network's guess does
    expected_error : of replaced pixels, measured on simulated clouds; None: nobody has measured it
    training, licence, citation : where the weights come from and what one may do with them
    sha256 : hash of the tensors, see `geodecloud.models.weights.tensor_hash`
    """

    name: str
    summary: str
    kind: str = "spanet"
    architecture: dict[str, Any] = field(default_factory=dict)
    channels: tuple[Channel, ...] = ()
    optional: tuple[str, ...] = ()
    value_range: tuple[float, float] | None = (-0.1, 1.6)
    halo_px: int | None = 0
    picture_gamma: float = 1.0
    picture_white: float = 1.0
    has_cloud_map: bool = False
    lifts_veil: bool = False
    cloud_threshold: float = 0.1
    opaque_threshold: float = 0.8
    usual_ground: tuple[float, ...] = ()
    expected_error: ErrorTable | None = None
    training: str = ""
    licence: str = ""
    citation: str = "arXiv:2009.13015"
    sha256: str = ""

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the input channels, in order."""
        return tuple(channel.name for channel in self.channels)

    @property
    def blocks(self) -> int:
        """Side of the blocks of pixels that the network works on; 1: on pixels."""
        return int(self.architecture.get("blocks", 1))

    @property
    def reads_prior(self) -> bool:
        """Whether a second pass of the network knows the ground around what the first saw as cloud."""
        return bool(self.architecture.get("prior", False))

    @property
    def reads_shade(self) -> bool:
        """Whether that pass knows where the clouds may throw their shadow, too."""
        return bool(self.architecture.get("shade", False))

    @property
    def align_px(self) -> int:
        """Windows begin at multiples of it, see `align_px`."""
        return align_px(self.blocks, self.reads_prior)

    @property
    def needed(self) -> tuple[str, ...]:
        """Names of the channels a scene must have."""
        return tuple(name for name in self.channel_names if name not in self.optional)

    def to_json(self) -> str:
        """Write the card as JSON, the form it has in a weights file."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """Read a card; the inverse of `to_json`.

        Raises
        ------
        WeightsError
            If the text is not a card, or one of a newer, unknown form.
        """
        try:
            fields = json.loads(text)
            fields["channels"] = tuple(Channel(**channel) for channel in fields["channels"])
            fields["architecture"] = dict(fields.get("architecture", {}))
            fields["optional"] = tuple(fields.get("optional", ()))
            fields["usual_ground"] = tuple(float(v) for v in fields.get("usual_ground", ()))
            if fields["value_range"] is not None:
                fields["value_range"] = tuple(float(v) for v in fields["value_range"])
            if fields.get("expected_error") is not None:
                fields["expected_error"] = ErrorTable.of(fields["expected_error"])
            card = cls(**fields)
            card._check_types()
            thresholds = float(card.cloud_threshold), float(card.opaque_threshold)
            low, high = card.value_range or (0.0, 1.0)
            sane = all(0 <= t <= 1 for t in thresholds) and low < high
            sane &= float(card.picture_gamma) > 0 and float(card.picture_white) > 0
            sane &= len(card.usual_ground) in (0, len(card.channels))
            sane &= all(math.isfinite(value) for value in card.usual_ground)
            if not sane or not (card.halo_px is None or int(card.halo_px) >= 0):
                raise ValueError(
                    "a threshold, halo, gamma, value range or usual ground makes no sense"
                )
            return card
        except (ValueError, TypeError, KeyError, ArithmeticError, RecursionError) as error:
            raise WeightsError(f"the model card cannot be read: {error}") from error

    def _check_types(self) -> None:
        """Raise TypeError where a field of a card that somebody wrote holds something else than it should."""
        texts = [self.name, self.summary, self.kind, self.training, self.licence, self.citation]
        texts += [self.sha256, *self.channel_names, *self.optional]
        numbers: list[Any] = [self.picture_gamma, self.picture_white]
        numbers += [self.cloud_threshold, self.opaque_threshold]
        numbers += [c.wavelength_nm for c in self.channels if c.wavelength_nm is not None]
        wrong: list[Any] = [value for value in texts if not isinstance(value, str)]
        wrong += [value for value in numbers if type(value) not in (int, float)]
        wrong += [
            value for value in (self.has_cloud_map, self.lifts_veil) if type(value) is not bool
        ]
        if type(self.halo_px) not in (int, type(None)):
            wrong.append(self.halo_px)
        if wrong:
            raise TypeError(f"{str(wrong[0])[:40]!r} is of another type than its field")
