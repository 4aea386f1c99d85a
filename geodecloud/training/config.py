"""Everything that decides a training run, apart from the data: a TOML file."""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from geodecloud.errors import OptionError
from geodecloud.models.architecture import Output, Passes
from geodecloud.scene.reflectance import Tone
from geodecloud.training.clouds import SKIES

#: Smallest crop of which the discriminator makes more than one score.
LEAST_CROP_PX = 32


def _table(words: Mapping[str, float] | Sequence[str]) -> Mapping[str, float]:
    """``["NAME=NUMBER", ...]`` as a table; a table stays as it is."""
    if isinstance(words, Mapping):
        return words
    return {name: float(number) for name, _, number in (word.rpartition("=") for word in words)}


Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Table = Annotated[Mapping[str, float], BeforeValidator(_table)]
Texts = tuple[str, ...]


@dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True, allow_inf_nan=False))
class Config:
    """The options of a run. The recipes in ``examples`` and ``benchmarks`` show them at work."""

    # the model
    name: str = "s2-10m"
    summary: str = ""
    licence: str = ""
    training: str = ""  # where its weights come from, for the card
    bands: Texts = ("B02", "B03", "B04", "B08")
    optional_bands: Texts = ()  # bands a chip or a scene may lack
    width: Count = 32
    passes: Passes = "one-step"
    direction_weights: bool = False
    output: Output = "blend"
    blocks: int = 1  # side of the blocks of pixels the body works on
    prior: bool = False  # whether a second pass knows the ground around the clouds of the first
    shade: bool = False  # and where they may throw their shadow
    shadow_share: float = 0.6  # how often clouds that hide the ground throw one
    init_from: str = ""  # weights to start from: a shipped model or a file

    # the data
    pair_bands: Texts = ()  # band names of the pairs, where their files do not say
    skip_sensors: Texts = ()  # sensors whose DN is not reflectance
    dn_offsets: Table = field(
        default_factory=dict
    )  # "FILE=NUMBER", added to its DN before the scale
    texture_pairs: Texts = ()  # nearly overcast pairs that lend cloud texture
    select_pairs: Texts = ()  # pairs that choose the best step; empty: all that are not learnt
    learn_pairs: Texts = ()  # pairs trained on beside simulated clouds

    # how an example is drawn
    crop_px: Count = 96
    area_power: Positive = 0.5  # clear scenes are drawn with weight area ** area_power
    dim_share: Share = 0.2  # how often ground is drawn dim
    bright_share: Share = 0.1  # and bright
    skies: Table = field(default_factory=lambda: SKIES)  # "KIND=SHARE", how often each kind of sky
    untouched_share: Share = 0.0  # how often the sky is clear whatever `skies` says
    texture_share: Share = 0.35  # how often clouds have the texture of real ones
    learn_share: Share = 0.35  # how often one of learn_pairs is drawn
    drop_share: Share = 0.0  # how often some of the optional bands are taken away
    subsets: tuple[Texts, ...] = ()  # one of them is all that is left of the bands
    subset_share: Share = 0.0  # in so many examples
    composites: tuple[Texts, ...] = ()  # bands that now and then stand in the place of `bands`
    display_share: Share = 0.0  # how often an example is drawn as an 8-bit picture
    picture_gamma: Positive = 1.0  # pictures become light, see geodecloud.scene.reflectance.Tone
    picture_white: Positive = 1.0
    veil_pictures: Annotated[int, Field(ge=0)] = 0  # pictures to learn geodecloud.models.veil on
    veil_from: str = ""  # the model whose veil perceptrons are taken over instead

    # the run
    steps: Count = 5000
    batch: Count = 8
    learning_rate: Positive = 1e-3  # cosine to 0 after a warm-up of 100 steps
    channel_weights: tuple[Weight, ...] = ()  # the paper's lambda; empty: 100 for each band
    attention_weight: Weight = 5.0
    attention_kind: Literal["mse", "bce"] = "bce"
    adversarial_weight: Weight = 1.0  # 0 trains without the discriminator
    adversarial_from: Annotated[int, Field(ge=0)] = 0  # step at which the discriminator joins
    validate_every: Count = 250
    keep_last: bool = False  # keep the last step, not the one the selecting pairs choose
    mean_of_steps: tuple[int, ...] = ()  # the result is the mean of the weights of these steps
    mean_with: str = ""  # and then the mean with the weights of this model
    # simulated scenes over the selecting pairs that expected errors are measured on; 0: they are not
    error_scenes: Annotated[int, Field(ge=0)] = 80
    seed: Annotated[int, Field(ge=0)] = 1
    precision: Literal["fp32", "bf16", "fp16"] = "bf16"
    loaders: Annotated[int, Field(ge=0)] = 1  # processes that draw examples; 0: the run does

    @classmethod
    def read(cls, path: Path) -> Config:
        """Read a TOML file.

        Raises
        ------
        OptionError
            If it cannot be read, has an unknown option, or a value that makes no sense.
        """
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise OptionError(f"cannot read the training config {path}: {error}") from error
        try:
            return cls(**{name: _as_tuples(value) for name, value in values.items()})
        except ValidationError as error:
            raise OptionError(f"{path}: {_first_mistake(error)}") from error

    @model_validator(mode="after")
    def _fits_together(self) -> Config:
        """Refuse options that contradict each other now, not when the data have been read."""
        bands, weights = len(self.bands), len(self.channel_weights)
        unknown = sorted(set(self.skies) - set(SKIES))
        not_kept = [step for step in self.mean_of_steps if not self._keeps(step)]
        both = sorted(set(self.learn_pairs) & set(self.select_pairs))
        needed = set(self.bands) - set(self.optional_bands)
        poor = [
            " ".join(each) for each in self.subsets if not needed <= set(each) <= set(self.bands)
        ]
        mistakes = [
            (unknown, f"skies names {unknown}; known: {', '.join(SKIES)}"),
            (
                min(self.skies.values(), default=0) < 0
                or not math.isclose(sum(self.skies.values()), 1),
                f"the shares of skies are {dict(self.skies)}; each is from 0 to 1, and their sum 1",
            ),
            (
                self.draws_pictures and bands != 3,
                f"pictures have 3 bands, and the config {bands}; leave out display_share, "
                "veil_pictures and veil_from, or give 3 bands",
            ),
            (
                poor,
                f"subsets has {poor}; each names bands of the model, those it needs among them: "
                f"{' '.join(name for name in self.bands if name in needed)}",
            ),
            (weights not in (0, bands), f"{weights} channel_weights for {bands} bands"),
            (
                self.adversarial_weight and self.crop_px < LEAST_CROP_PX,
                f"crop_px = {self.crop_px}, but the discriminator sees patches of 16 px and needs "
                f"crop_px = {LEAST_CROP_PX} or more; or set adversarial_weight = 0",
            ),
            (
                not_kept,
                f"mean_of_steps names {not_kept}; weights are kept every validate_every = "
                f"{self.validate_every} steps, and those of the last step, {self.steps}",
            ),
            (
                self.veil_pictures and self.veil_from,
                f"veil_pictures = {self.veil_pictures} learns to see veils, and veil_from = "
                f"{self.veil_from!r} takes that over; give one of them",
            ),
            (
                both,
                f"{both} are in learn_pairs and in select_pairs; what is learnt cannot choose the "
                "best step",
            ),
        ]
        for wrong, message in mistakes:
            if wrong:
                raise ValueError(message)
        return self

    def _keeps(self, step: int) -> bool:
        return step == self.steps or (0 < step < self.steps and step % self.validate_every == 0)

    @property
    def examples(self) -> int:
        """How many examples the whole run draws."""
        return self.steps * self.batch

    @property
    def draws_pictures(self) -> bool:
        """Whether the model is one of 8-bit pictures."""
        return bool(self.display_share or self.veil_pictures or self.veil_from)

    @property
    def source_bands(self) -> tuple[str, ...]:
        """The bands, and those of the composites."""
        return tuple(dict.fromkeys([*self.bands, *(b for c in self.composites for b in c)]))

    @property
    def tone(self) -> Tone:
        """How pictures become light."""
        return Tone(self.picture_gamma, self.picture_white)

    @property
    def architecture(self) -> dict[str, Any]:
        """Keyword arguments of the network, as on the card."""
        return {
            "width": self.width,
            "passes": self.passes,
            "direction_weights": self.direction_weights,
            "output": self.output,
            "blocks": self.blocks,
            "prior": self.prior,
            "shade": self.shade,
        }


def _as_tuples(value: Any) -> Any:
    return tuple(map(_as_tuples, value)) if isinstance(value, list) else value


def _first_mistake(error: ValidationError) -> str:
    """What is wrong with the first option that is, in the words of the TOML file."""
    mistake = error.errors()[0]
    option = ".".join(map(str, mistake["loc"]))
    if mistake["type"] == "unexpected_keyword_argument":
        known = sorted(Config.__dataclass_fields__)
        close = difflib.get_close_matches(option, known, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
        return f"unknown option {option!r}; {hint}"
    message = mistake["msg"].removeprefix("Value error, ").replace("tuple", "list")
    return f"{option} = {mistake['input']!r}: {message}" if option else message
