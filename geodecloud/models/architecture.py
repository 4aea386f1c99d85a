"""Options, tensors and reach of the network, without torch.

`geodecloud.models.spanet` is built with these options. The tensors are listed here once more, so that a
backend without torch refuses the same files; a test compares the list with the network.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from geodecloud.errors import WeightsError
from geodecloud.models.card import ModelCard, align_px

Passes = Literal["one-step", "recurrent"]
Output = Literal["image", "blend"]

#: Residual blocks at the entry; spatial attentive blocks (SAB), residual blocks of each; at the exit.
ENTRY, SABS, BLOCKS, EXIT = 3, 4, 3, 2
BLOCK_REACH_PX = 2
#: Sides of the blocks of pixels that a network may work on.
SIDES = (1, 2, 4)
#: softplus of it is 1: a fresh network on blocks keeps the scene's detail as it is.
UNIT_GAIN = 0.5413248546129181

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Architecture:
    """Options of `geodecloud.models.spanet.SPANet`, and what follows from them.

    Raises
    ------
    ValueError
        If a value is none that the network knows.
    """

    width: int = 32
    passes: Passes = "one-step"
    direction_weights: bool = False
    output: Output = "image"
    blocks: int = 1
    prior: bool = False
    shade: bool = False

    def __post_init__(self) -> None:
        for name, value, known in (
            ("passes", self.passes, get_args(Passes)),
            ("output", self.output, get_args(Output)),
        ):
            if value not in known:
                raise ValueError(f"{name}={value!r} is unknown; use one of {known}")
        if type(self.width) is not int or self.width < 1:
            raise ValueError(f"width={self.width!r} is no number of channels")
        for name in ("direction_weights", "prior", "shade"):
            flag = getattr(self, name)
            if type(flag) is not bool:
                raise ValueError(f"{name}={flag!r} is neither true nor false")
        if type(self.blocks) is not int or self.blocks not in SIDES:
            raise ValueError(f"blocks={self.blocks!r} is no side of a block; use one of {SIDES}")
        if self.blocks == 1 and self.prior:
            raise ValueError("prior=True is for a network on blocks; use blocks=4")
        if self.shade and not self.prior:
            raise ValueError("shade=True is for a network with a prior; use prior=True")
        if self.blocks > 1 and (self.output, self.passes) != ("blend", "one-step"):
            raise ValueError(
                f"blocks={self.blocks} goes with output='blend' and passes='one-step', not with "
                f"{self.output!r} and {self.passes!r}"
            )

    @property
    def reach_px(self) -> int | None:
        """Dependency radius of the output in px (36 as published); None is no limit.

        On blocks, the context that a window whose sides lie at multiples of `align_px` needs.
        """
        reach = self.body_reach
        if reach is None or self.blocks == 1:
            return reach
        # what the blocks say is brought up between the middles of two: one block more
        return -(-(reach + 1) * self.blocks // self.align_px) * self.align_px

    @property
    def body_reach(self) -> int | None:
        """Dependency radius of what the last convolution says, in pixels or blocks; None is no limit."""
        if self.passes == "recurrent":
            return None
        # two one-step passes reach 1 px each; the direction branch reaches 2 px, and its weights are
        # applied before the second pass, which carries them 1 px further
        attention = 3 if self.direction_weights else 2
        # the first block of a SAB starts from the same features as its map, which reaches further
        sab = attention + (BLOCKS - 1) * BLOCK_REACH_PX
        return 1 + ENTRY * BLOCK_REACH_PX + SABS * sab + EXIT * BLOCK_REACH_PX + 1

    @property
    def align_px(self) -> int:
        """Windows begin at multiples of it, see `geodecloud.models.card.align_px`."""
        return align_px(self.blocks, self.prior)

    def planes_of_prior(self, channels: int) -> int:
        """Planes of what a network reads of each block besides the image: ground, how far it is not known, shade."""
        return channels + 1 + self.shade if self.prior else 0

    def heads(self, channels: int) -> tuple[int, ...]:
        """Planes of each thing that a network on blocks says of a block, see `geodecloud.models.blocks`."""
        planes = channels * self.blocks**2
        return channels, channels, channels if self.prior else 0, planes, self.blocks**2

    def multiplications(self, channels: int) -> float:
        """Of convolutions, for each pixel of an image of so many channels; each goes with an addition."""
        kernels = {n: math.prod(s) for n, s in self.shapes(channels).items() if len(s) == 4}
        # one attention module, evaluated anew in each block of the body
        times = (SABS if name.startswith("attention.") else 1 for name in kernels)
        total = sum(n * each for n, each in zip(times, kernels.values(), strict=True))
        return total / self.blocks**2

    def shapes(self, channels: int) -> dict[str, tuple[int, ...]]:
        """Shape of each tensor by name, for so many channels in and out."""
        width, half = self.width, max(self.width // 2, 1)
        blocks = [f"entry.{i}" for i in range(ENTRY)]
        blocks += [f"attentive.{sab}.{i}" for sab in range(SABS) for i in range(BLOCKS)]
        blocks += [f"exit.{i}" for i in range(EXIT)]
        # name, channels out and in, side of the kernel
        read = channels * self.blocks**2 + self.planes_of_prior(channels)
        written = channels if self.blocks == 1 else sum(self.heads(channels))
        plain = [("conv_in", width, read, 3), ("conv_out", written, width, 3)]
        plain += [("attention.conv_out", 1, width, 1)]
        for block in blocks:
            plain += [
                (f"{block}.conv{i}", width, width, side) for i, side in enumerate((1, 3, 1), 1)
            ]
        biased = [(f"attention.conv{i}", width, n * width, 1) for i, n in enumerate((1, 4, 4), 1)]
        if self.direction_weights:
            biased += [
                ("attention.directions.0", half, width, 3),
                ("attention.directions.2", half, half, 3),
                ("attention.directions.4", 4, half, 1),
            ]
        shapes: dict[str, tuple[int, ...]] = {
            f"attention.{one}.{part}": (4, width)
            for one in ("pass1", "pass2")
            for part in ("weight", "bias")
        }
        shapes |= {f"{n}.weight": (out, read, px, px) for n, out, read, px in [*plain, *biased]}
        return shapes | {f"{name}.bias": (out,) for name, out, _, _ in biased}


def architecture_of(card: ModelCard) -> Architecture:
    """The network a card describes.

    Raises
    ------
    WeightsError
        If this version does not know it.
    """
    if card.kind != "spanet":
        raise WeightsError(
            f"model {card.name!r} is of unknown kind {card.kind!r}; weights files are of kind 'spanet'"
        )
    known = [field.name for field in dataclasses.fields(Architecture)]
    try:
        if unknown := sorted(set(card.architecture) - set(known)):
            raise ValueError(f"its {unknown[0]} is unknown; use {', '.join(known)}")
        return Architecture(**card.architecture)
    except ValueError as error:
        raise WeightsError(f"model {card.name!r} cannot be built: {error}") from error


def check_network(card: ModelCard, shapes: Shapes, path: Path) -> None:
    """See that a file's tensors are those of the network its card describes, and its reach the card's.

    Raises
    ------
    WeightsError
        If they are not: it would run, and give another image.
    """
    architecture = architecture_of(card)
    wanted = architecture.shapes(len(card.channels))
    wrong = [f"lacking {name}" for name in wanted if name not in shapes]
    wrong += [f"unknown {name}" for name in shapes if name not in wanted]
    wrong += [
        f"{name} has {shape} instead of {wanted[name]}"
        for name, shape in shapes.items()
        if wanted.get(name, shape) != shape
    ]
    if wrong:
        more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise WeightsError(
            f"{path} does not hold the tensors its card describes: {'; '.join(wrong[:3])}{more}"
        )
    if architecture.reach_px != card.halo_px:
        promised, reach = (
            "without limit" if px is None else f"of {px} px"
            for px in (card.halo_px, architecture.reach_px)
        )
        raise WeightsError(
            f"the card of {path} promises a halo {promised}, but its network has a reach {reach}: "
            "seams would show"
        )
