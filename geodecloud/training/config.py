"""Everything that decides a training run, apart from the data: a TOML file."""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from geodecloud.errors import OptionError
from geodecloud.models.spanet import Output, Passes
from geodecloud.scene.reflectance import Tone
from geodecloud.training.clouds import SKIES
from geodecloud.training.dataset import SampleSpec
from geodecloud.training.losses import Kind

Precision = Literal["fp32", "bf16", "fp16"]

#: Types in words, one value and several.
_ONE_OF = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
_SEVERAL = {str: "texts", int: "whole numbers", float: "numbers"}
#: Smallest crop of which the discriminator makes more than one score.
LEAST_CROP_PX = 32
#: What numbers must be, in words and as a test, and which options; of a list each one.
_RANGES: tuple[tuple[str, Callable[[float], bool], str], ...] = (
    ("a finite number", math.isfinite, "learning_rate weight_decay picture_gamma picture_white "
     "channel_weights attention_weight adversarial_weight"),
    ("1 or more", lambda n: n >= 1, "width steps batch accumulate crop_px validate_every"),
    ("0 or more", lambda n: n >= 0, "veil_pictures loaders seed adversarial_from weight_decay "
     "channel_weights attention_weight adversarial_weight"),
    ("above 0", lambda n: n > 0, "learning_rate picture_gamma picture_white"),
    ("from 0 to 1", lambda n: 0 <= n <= 1, "drop_share display_share untouched_share texture_share "
     "learn_share ema"),
    ("0 or more and below 1", lambda n: 0 <= n < 1, "betas"),
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that decides a run, apart from the data."""

    name: str = "s2-10m"
    bands: tuple[str, ...] = ("B02", "B03", "B04", "B08")
    pair_bands: tuple[str, ...] = ()  # names of the pairs' bands where the files do not say
    optional_bands: tuple[str, ...] = ()  # of the bands: those a chip or a scene may lack
    drop_share: float = 0.0  # how often some of them are taken away
    composites: tuple[tuple[str, ...], ...] = ()  # other bands, now and then, in their place
    display_share: float = 0.0  # how often an example is an 8-bit picture
    picture_gamma: float = 1.0  # pictures become light, see geodecloud.scene.reflectance.Tone
    picture_white: float = 1.0
    veil_pictures: int = (
        0  # pictures on which it learns to see veils (geodecloud.models.veil); 0: it does not
    )
    veil_from: str = ""  # the model whose eye for veils is taken over instead
    untouched_share: float = 0.0  # how often there is no cloud for certain
    skies: tuple[str, ...] = ()  # "KIND=SHARE" of geodecloud.training.clouds.SKIES; empty: those
    init_from: str = ""  # weights to start from: a shipped model or a file
    skip_sensors: tuple[str, ...] = ()  # sensors whose DN is not reflectance
    dn_offsets: tuple[str, ...] = ()  # "FILE=NUMBER", added to its DN before the scale
    texture_pairs: tuple[str, ...] = ()  # nearly overcast pairs that lend cloud texture
    texture_share: float = 0.35  # how often their texture is used
    select_pairs: tuple[str, ...] = ()  # pairs that choose the best step; empty: all not learnt
    learn_pairs: tuple[str, ...] = ()  # pairs trained on beside simulated clouds
    learn_share: float = 0.35  # how often
    keep_last: bool = False  # keep the last step; the selecting pairs are looked at, no more
    mean_of_steps: tuple[int, ...] = ()  # the result is the mean of the weights of these steps
    mean_with: str = ""  # and, after that, with those of this model: a shipped one or a file
    width: int = 32
    passes: Passes = "one-step"
    direction_weights: bool = False
    output: Output = "blend"
    steps: int = 5000
    batch: int = 8
    accumulate: int = 1  # batches whose gradients make one step
    crop_px: int = 96
    learning_rate: float = 1e-3  # cosine to 0 after a warm-up of 100 steps
    betas: tuple[float, float] = (0.5, 0.999)
    weight_decay: float = 1e-5
    channel_weights: tuple[float, ...] = (100.0, 100.0, 100.0, 100.0)  # the paper's lambda
    attention_weight: float = 5.0
    attention_kind: Kind = "bce"
    adversarial_weight: float = 1.0  # 0 trains without the discriminator
    adversarial_from: int = 0  # step at which the discriminator joins
    ema: float = 0.998
    validate_every: int = 250
    seed: int = 1
    precision: Precision = "bf16"
    loaders: int = 1  # processes that draw examples; 0 draws them in between
    summary: str = ""
    licence: str = ""
    training: str = ""

    @classmethod
    def read(cls, path: Path) -> Config:
        """Read a TOML file; a key that is not an option is an error, not a silence."""
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise OptionError(f"cannot read the training config {path}: {error}") from error
        known = {f.name for f in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - known):
            raise OptionError(
                f"{path}: unknown option {unknown[0]!r}; known: {', '.join(sorted(known))}"
            )
        hints, values = get_type_hints(cls), {k: _frozen(v) for k, v in values.items()}
        for name, value in values.items():
            if not _fits(value, hints[name]):
                raise OptionError(f"{path}: {name} = {value!r} must be {_in_words(hints[name])}")
        config = cls(**values)
        for words, fits, names in _RANGES:
            for name in names.split():
                value = getattr(config, name)
                if not all(map(fits, value if isinstance(value, tuple) else [value])):
                    raise OptionError(f"{path}: {name} = {_as_typed(value)} must be {words}")
        # a wrong one is an error now, not when the data have been read
        _ = config.sky_shares, config.offset_of_file
        if (config.display_share or config.veil_pictures or config.veil_from) and len(
            config.bands
        ) != 3:
            raise OptionError(
                f"{path}: pictures have 3 bands, and the config {len(config.bands)}; leave out display_share, "
                "veil_pictures and veil_from, or give 3 bands"
            )
        if len(config.channel_weights) != len(config.bands):
            raise OptionError(
                f"{path}: {len(config.channel_weights)} channel_weights for {len(config.bands)} bands"
            )
        if config.adversarial_weight and config.crop_px < LEAST_CROP_PX:
            raise OptionError(
                f"{path}: crop_px = {config.crop_px}, but the discriminator sees patches of 16 px and "
                f"needs crop_px = {LEAST_CROP_PX} or more; or set adversarial_weight = 0"
            )
        if wrong := [
            n
            for n in config.mean_of_steps
            if n != config.steps and (n % config.validate_every or not 0 < n < config.steps)
        ]:
            raise OptionError(
                f"{path}: mean_of_steps names step {wrong[0]}; weights are kept every validate_every = "
                f"{config.validate_every} steps, and those of the last step, {config.steps}"
            )
        if config.veil_pictures and config.veil_from:
            raise OptionError(
                f"{path}: veil_pictures = {config.veil_pictures} learns to see veils, and veil_from = "
                f"{config.veil_from!r} takes that over; give one of them"
            )
        if both := sorted(set(config.learn_pairs) & set(config.select_pairs)):
            raise OptionError(
                f"{path}: pair {both[0]!r} is in learn_pairs and in select_pairs; what is learnt "
                "cannot choose the best step"
            )
        return config

    @property
    def examples(self) -> int:
        """How many examples the whole run draws."""
        return self.steps * self.accumulate * self.batch

    @property
    def source_bands(self) -> tuple[str, ...]:
        """The bands, and those of the composites."""
        return tuple(dict.fromkeys([*self.bands, *(b for c in self.composites for b in c)]))

    @property
    def recipe(self) -> SampleSpec:
        """How the examples are drawn."""
        return SampleSpec(
            bands=self.source_bands,
            composites=(self.bands, *self.composites),
            optional=self.optional_bands,
            drop_share=self.drop_share,
            display_share=self.display_share,
            untouched_share=self.untouched_share,
            skies=self.sky_shares,
            texture_share=self.texture_share,
            tone=self.tone,
            crop_px=self.crop_px,
            seed=self.seed,
        )

    @property
    def tone(self) -> Tone:
        """Of the pictures, as the network is to see them."""
        return Tone(self.picture_gamma, self.picture_white)

    @property
    def offset_of_file(self) -> Mapping[str, float]:
        """File -> number added to its DN.

        Raises
        ------
        OptionError
            If one is not FILE=NUMBER.
        """
        return {name: _number("dn_offsets", name, text) for name, text in _split(self.dn_offsets)}

    @property
    def sky_shares(self) -> Mapping[str, float]:
        """Kind of sky -> how often it is drawn.

        Raises
        ------
        OptionError
            If a kind is unknown, a share is none, or the shares do not sum up to 1.
        """
        if not self.skies:
            return SKIES
        words = _split(self.skies)
        if wrong := [kind for kind, _ in words if kind not in SKIES]:
            raise OptionError(f"skies names {wrong[0]!r}; known: {', '.join(SKIES)}")
        shares = {kind: _number("skies", kind, share) for kind, share in words}
        if odd := [kind for kind, share in shares.items() if not 0 <= share <= 1]:
            raise OptionError(f"skies holds '{odd[0]}={shares[odd[0]]:g}'; a share is from 0 to 1")
        if not math.isclose(sum(shares.values()), 1):
            raise OptionError(
                f"the shares of skies sum up to {sum(shares.values()):g}, not 1: {', '.join(self.skies)}"
            )
        return shares


def _frozen(value: Any) -> Any:
    return tuple(_frozen(part) for part in value) if isinstance(value, list) else value


def _split(words: Sequence[str]) -> list[tuple[str, str]]:
    """``NAME=NUMBER`` in two."""
    return [(name, text) for name, _, text in (word.rpartition("=") for word in words)]


def _number(option: str, name: str, text: str) -> float:
    wrong = OptionError(f"{option} holds '{name}={text}', which is not NAME=NUMBER")
    try:
        number = float(text)
    except ValueError as error:
        raise wrong from error
    if not math.isfinite(number):
        raise wrong
    return number


def _as_typed(value: Any) -> str:
    """A number or numbers as one types them in TOML."""
    return str(list(value) if isinstance(value, tuple) else value)


def _fits(value: object, hint: Any) -> bool:
    """Whether a value, lists as tuples, is of an annotated type."""
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) is tuple:
        kinds = get_args(hint)
        if not isinstance(value, tuple):
            return False
        if kinds[-1] is Ellipsis:
            return all(_fits(part, kinds[0]) for part in value)
        return len(value) == len(kinds) and all(map(_fits, value, kinds))
    if isinstance(value, bool) or hint is bool:
        return isinstance(value, bool) and hint is bool
    return isinstance(value, (int, float) if hint is float else hint)


def _in_words(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(f'"{choice}"' for choice in get_args(hint))
    if get_origin(hint) is not tuple:
        return _ONE_OF[hint]
    kinds = get_args(hint)
    count = "" if kinds[-1] is Ellipsis else f"{len(kinds)} "
    return f"a list of {count}{_SEVERAL.get(kinds[0], 'lists')}"
