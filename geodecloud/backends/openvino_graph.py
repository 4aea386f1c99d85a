"""SPANet as an OpenVINO graph, from a weights file's tensors, for windows in the midst of a scene.

The same network as `geodecloud.models.spanet`, by the same names; a test holds the two together. It is
written out again because what is fast here cannot be said there:

* A one-step pass is a depthwise convolution of two taps with its ReLU fused into it, not slices and
  a concatenation. Only where the scene ends, the first row or column is the input itself.
* The four maps of a pass are made one at a time. The engine would make all four before the first is
  used, and hold them: it orders a layer's own input before what is added to it. Each map is
  therefore made to wait for the one before (`_Builder.wait_for`), which takes much of the memory
  away.
* What a window needs of its halo shrinks from layer to layer, so on every side that lies within the
  scene the features are cropped after each group of blocks.
* On blocks of pixels the body is the same; what its last convolution says is put together as
  `geodecloud.models.blocks` has it.
* The blend ``x + A * (g - x)`` is left to the caller, in float32 whatever the precision here.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from geodecloud.backends.openvino_runtime import ops, ov
from geodecloud.models.architecture import (
    BLOCK_REACH_PX,
    BLOCKS,
    ENTRY,
    EXIT,
    SABS,
    UNIT_GAIN,
    architecture_of,
)
from geodecloud.models.card import ModelCard

Node = Any
Tensors = Mapping[str, NDArray[Any]]

#: The neighbour each directional pass listens to (dy, dx), in the order of spanet.DIRECTIONS.
_NEIGHBOURS = ((-1, 0), (0, 1), (1, 0), (0, -1))


class Sides(NamedTuple):
    """Which sides of a window lie within the scene; where False, the scene ends there."""

    top: bool = False
    right: bool = False
    bottom: bool = False
    left: bool = False


def build_graph(
    card: ModelCard,
    tensors: Tensors,
    inner: Sides,
    shape_yx: tuple[int, ...],
) -> ov.Model:
    """Graph of one model: image, and prior where it reads one -> (ground or image, attention).

    Parameters
    ----------
    inner : sides on which the window has at least the network's reach as context; the outputs lack
        so many px there
    shape_yx : of the windows, whole blocks
    """
    return _Builder(card, tensors, inner).build(shape_yx)


class _Builder:
    def __init__(self, card: ModelCard, tensors: Tensors, inner: Sides) -> None:
        self.tensors, self.inner = tensors, inner
        self.channels, self.architecture = len(card.channels), architecture_of(card)
        self.direction_weights = self.architecture.direction_weights
        # in places: pixels, or blocks of them. Blocks need more at last, to interpolate between them
        self.side = self.architecture.blocks
        self.reach_px = (card.halo_px or 0) // self.side
        self.beyond_px = self.reach_px - (self.architecture.body_reach or 0)
        # of the whole reach, what entry and exit need; the rest is shared by the four SAB
        self.entry_px, self.exit_px = 1 + ENTRY * BLOCK_REACH_PX, EXIT * BLOCK_REACH_PX + 1
        self.sab_px = (self.reach_px - self.beyond_px - self.entry_px - self.exit_px) // SABS

    def build(self, shape_yx: tuple[int, ...]) -> ov.Model:
        image = _input(self.channels, shape_yx)
        if self.side == 1:
            ground, logit = self.body(image)
            return ov.Model([ground, ops.sigmoid(logit)], [image])
        planes, given = ops.space_to_depth(image, "depth_first", self.side), [image]
        if self.architecture.prior:
            count = self.architecture.planes_of_prior(self.channels)
            prior = _input(count, tuple(n // self.side for n in shape_yx))
            planes, given = ops.concat([planes, prior], 1), [image, prior]
        said, logit = self.body(planes)
        return ov.Model(self.from_blocks(given, said, logit), given)

    def from_blocks(self, given: list[Node], said: Node, logit: Node) -> list[Node]:
        """Ground and attention of the pixels, as `geodecloud.models.blocks.block_ground` has it."""
        body, side = self.reach_px - self.beyond_px, self.side
        image = self.crop(given[0], body * side)
        parts = _split(said, self.architecture.heads(self.channels))
        mean = ops.avg_pool(
            image, [side] * 2, [0, 0], [0, 0], [side] * 2, exclude_pad=True, rounding_type="floor"
        )
        smooth = ops.add(mean, parts[0])
        if self.architecture.prior:
            prior = self.crop(given[1], body)
            values, unknown = _split(prior, (self.channels, 1, self.architecture.shade))[:2]
            share = ops.multiply(ops.sigmoid(parts[2]), ops.subtract(_number(1), unknown))
            smooth = ops.add(smooth, ops.multiply(share, ops.subtract(values, mean)))
        detail = ops.subtract(image, _bring_up(mean, side))
        gain = _bring_up(ops.softplus(ops.add(parts[1], _number(UNIT_GAIN))), side)
        pixels, fine = (ops.depth_to_space(part, "depth_first", side) for part in parts[3:])
        ground = ops.add(ops.add(_bring_up(smooth, side), ops.multiply(gain, detail)), pixels)
        attention = ops.sigmoid(ops.add(_bring_up(logit, side), fine))
        return [self.crop(one, self.beyond_px * side) for one in (ground, attention)]

    def body(self, planes: Node) -> tuple[Node, Node]:
        """What the last convolution says, and the logit of the last attention map."""
        x = ops.relu(self.convolve(planes, "conv_in", padding=1))
        for i in range(ENTRY):
            x = self.block(x, f"entry.{i}")
        x = self.crop(x, self.entry_px)
        logit: Node = None
        for sab in range(SABS):
            logit = self.attend(x)
            attention = ops.sigmoid(logit)
            for i in range(BLOCKS):
                x = self.block(x, f"attentive.{sab}.{i}", attention)
            x = self.crop(x, self.sab_px)
        for i in range(EXIT):
            x = self.block(x, f"exit.{i}")
        said = self.crop(self.convolve(x, "conv_out", padding=1), self.exit_px)
        return said, self.crop(logit, self.sab_px + self.exit_px)

    def block(self, x: Node, name: str, attention: Node = None) -> Node:
        """``ReLU(x + A * f(x))``."""
        change = ops.relu(self.convolve(x, f"{name}.conv1"))
        change = ops.relu(self.convolve(change, f"{name}.conv2", padding=2, dilation=2))
        change = self.convolve(change, f"{name}.conv3")
        if attention is not None:
            # in this order the attention is computed first, and `change` need not be held meanwhile
            change = ops.multiply(attention, change)
        return ops.relu(ops.add(x, change))

    def attend(self, x: Node) -> Node:
        """The logit of the attention module (SAM)."""
        weights: Node = None
        if self.direction_weights:
            weights = ops.relu(self.convolve(x, "attention.directions.0", padding=1))
            weights = ops.relu(self.convolve(weights, "attention.directions.2", padding=1))
            weights = ops.sigmoid(self.convolve(weights, "attention.directions.4"))
        heard = self.mix(self.convolve(x, "attention.conv1"), "pass1", "conv2", weights)
        heard = self.mix(heard, "pass2", "conv3", weights)
        return self.convolve(ops.relu(heard), "attention.conv_out")

    def mix(self, x: Node, directional: str, convolution: str, weights: Node) -> Node:
        """The four maps of a pass, weighted, through a 1x1 convolution, one after the other."""
        kernels = self.tensors[f"attention.{convolution}.weight"]
        bias = self.tensors[f"attention.{convolution}.bias"]
        width, mixed = len(kernels), None
        for i in range(len(_NEIGHBOURS)):
            heard = self.listen(x, f"attention.{directional}", i, mixed)
            if weights is not None:
                heard = ops.multiply(heard, _slice(weights, 1, i, i + 1))
            term = _convolve(heard, kernels[:, i * width : (i + 1) * width])
            mixed = _add_bias(term, bias) if mixed is None else ops.add(mixed, term)
        return mixed

    def listen(self, x: Node, name: str, direction: int, before: Node) -> Node:
        """One directional map: ``ReLU(w * x[t-1] + b + x[t])``, the first row or column is ``x``.

        Made after the node `before`, if there is one.
        """
        w, b = (self.tensors[f"{name}.{part}"][direction] for part in ("weight", "bias"))
        step_yx = _NEIGHBOURS[direction]
        axis, after = (2, step_yx[0] > 0) if step_yx[0] else (3, step_yx[1] > 0)
        kernel = np.zeros((len(w), 1, 1, *((2, 1) if axis == 2 else (1, 2))), np.float32)
        taps = kernel.reshape(len(w), 2)
        taps[:, int(after)], taps[:, int(not after)] = w, 1
        one = [int(axis == 2), int(axis == 3)]
        begin, end = ([0, 0], one) if after else (one, [0, 0])
        waiting = ops.constant(kernel) if before is None else self.wait_for(before, kernel)
        heard = ops.group_convolution(x, waiting, [1, 1], begin, end, [1, 1])
        heard = ops.relu(_add_bias(heard, b))
        if self.inner[direction]:
            return heard
        # the same convolution, so that no digit depends on how the scene is cut
        if after:
            return ops.concat([_slice(heard, axis, 0, -1), _slice(x, axis, -1, None)], axis)
        return ops.concat([_slice(x, axis, 0, 1), _slice(heard, axis, 1, None)], axis)

    def wait_for(self, before: Node, kernel: NDArray[Any]) -> Node:
        """The kernel, as if it depended on a node: what uses it is computed after that node.

        This works around the order OpenVINO's CPU plugin computes in, which nothing documents: the sum adds zeros
        that the engine does not see through. Measured with OpenVINO 2026.4.1, `s2-10m` in fp32, one window of
        448 x 448 px on two cores: 107 MiB of memory in place of 153. A test looks whether the maps are still
        made one at a time, and whether they would not be without this; where the second fails, it can go.
        """
        corner = ops.slice(before, *(_integers(v) for v in ([0, 0], [1, 1], [1, 1], [2, 3])))
        nothing = ops.reshape(ops.clamp(corner, 0.0, 0.0), _integers([-1, 1, 1, 1, 1]), False)
        return ops.add(ops.constant(kernel), nothing)

    def convolve(self, x: Node, name: str, padding: int = 0, dilation: int = 1) -> Node:
        out = _convolve(x, self.tensors[f"{name}.weight"], padding, dilation)
        bias = self.tensors.get(f"{name}.bias")
        return out if bias is None else _add_bias(out, bias)

    def crop(self, x: Node, px: int) -> Node:
        """Without the outermost `px` on the inner sides."""
        begin = [px * self.inner.top, px * self.inner.left]
        end = [-px if side else _END for side in (self.inner.bottom, self.inner.right)]
        if not px or not any(self.inner):
            return x
        return ops.slice(x, *(_integers(v) for v in (begin, end, [1, 1], [2, 3])))


_END = np.iinfo(np.int64).max


def _integers(values: list[int]) -> Node:
    return ops.constant(np.array(values, np.int64))


def _slice(x: Node, axis: int, start: int, stop: int | None) -> Node:
    bounds = ([start], [_END if stop is None else stop], [1], [axis])
    return ops.slice(x, *(_integers(v) for v in bounds))


def _input(channels: int, shape_yx: tuple[int, ...]) -> Node:
    return ops.parameter(ov.PartialShape([1, channels, *shape_yx]), np.float32)


def _number(value: float) -> Node:
    return ops.constant(np.array(value, np.float32))


def _split(x: Node, sizes: tuple[int, ...]) -> list[Node]:
    """Its channels in parts of so many; an empty part is None."""
    ends = np.cumsum((0, *sizes)).tolist()
    return [_slice(x, 1, a, b) if b > a else None for a, b in pairwise(ends)]


def _bring_up(planes: Node, side: int) -> Node:
    """See `geodecloud.models.blocks.bring_up`."""
    scales = ops.constant(np.array([side, side], np.float32))
    return ops.interpolate(
        planes,
        scales,
        mode="linear_onnx",
        shape_calculation_mode="scales",
        coordinate_transformation_mode="half_pixel",
        axes=_integers([2, 3]),
    )


def _per_channel(values: NDArray[Any]) -> Node:
    return ops.constant(values.reshape(1, -1, 1, 1).astype(np.float32))


def _add_bias(x: Node, bias: NDArray[Any]) -> Node:
    return ops.add(x, _per_channel(bias))


def _convolve(x: Node, kernel: NDArray[Any], padding: int = 0, dilation: int = 1) -> Node:
    pads, kernel = [padding, padding], np.ascontiguousarray(kernel, np.float32)
    return ops.convolution(x, ops.constant(kernel), [1, 1], pads, pads, [dilation, dilation])
