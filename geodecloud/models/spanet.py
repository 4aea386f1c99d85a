"""The SpA GAN generator: SPANet, with the options its two sources leave open.

Two papers describe this network and they do not agree in every detail, so each point
of disagreement is an option with a name:

``passes``
    ``"one-step"``: a pixel receives its direct neighbour, as in the published SpA GAN
    code. ``"recurrent"``: it receives everything before it along the direction, as in
    the SPANet paper (IRNN). The first reaches 1 px, the second has no limit.
``direction_weights``
    whether the four directional maps are weighted by a learned branch. The paper says
    so; the published code computes the weights and throws them away.
``output``
    ``"image"``: the last convolution is the image, as published. ``"blend"``: it is an
    estimate of the ground ``g``, and the image is ``x + A * (g - x)``. Where the
    attention ``A`` is 0 the ground then stays as it is by construction.

Three more are ours, for a longer view at less work:

``blocks``
    side of the blocks of pixels that the body works on, 1 as published. On blocks the image is put
    together as `geodecloud.models.blocks` says.
``prior``
    whether the body also reads what the ground around clouds looks like, of each block.
``shade``
    whether it reads where clouds may throw their shadow, too (`geodecloud.restore.shade`).

References
----------
H. Pan, Cloud Removal for Remote Sensing Imagery via Spatial Attention Generative
Adversarial Network, arXiv 2009.13015. T. Wang et al., Spatial Attentive Single-Image
Deraining with a High Quality Real Rain Dataset, CVPR 2019.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from geodecloud.models.architecture import (
    BLOCKS,
    ENTRY,
    EXIT,
    SABS,
    Architecture,
    Output,
    Passes,
)
from geodecloud.models.blocks import Said, block_ground, bring_up, fit_to_blocks

#: Order of the directional maps in the concatenation; the weights rely on it.
DIRECTIONS = ("up", "right", "down", "left")


class ResidualBlock(nn.Module):
    """``ReLU(x + A * f(x))``; without an attention map ``A`` it is ``ReLU(x + f(x))``.

    ``f`` is a 1x1, a dilated 3x3 and a 1x1 convolution. Reach: 2 px.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, padding=2, dilation=2, bias=False)
        self.conv3 = nn.Conv2d(width, width, 1, bias=False)

    def forward(self, x: Tensor, attention: Tensor | None = None) -> Tensor:
        """Map (N, C, H, W) to the same shape; `attention` is (N, 1, H, W)."""
        # in place where nothing else reads it: half the features to fetch and to hold
        change = self.conv3(torch.relu_(self.conv2(torch.relu_(self.conv1(x)))))
        if attention is not None:
            change = change * attention
        return torch.relu_(x + change)


class DirectionalPass(nn.Module):
    """Messages to a pixel from above, right, below and left: four maps side by side.

    One step: ``h[t] = ReLU(w * x[t-1] + b + x[t])``. Recurrent: the same with
    ``h[t-1]`` in place of ``x[t-1]``. The first row or column is ``x`` itself.
    ``w`` and ``b`` are one number per channel and direction.
    """

    def __init__(self, width: int, passes: Passes) -> None:
        super().__init__()
        self.passes = passes
        self.weight = nn.Parameter(torch.full((4, width), 0.5))
        self.bias = nn.Parameter(torch.zeros(4, width))

    def maps(self, x: Tensor) -> Iterator[Tensor]:
        """The four maps (N, C, H, W), one after the other, in the order of `DIRECTIONS`."""
        step = self._one_step if self.passes == "one-step" else self._recurrent
        # under autocast the features are of half precision and parameters are not: mixed, all that
        # follows would be float32 and twice as wide
        weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
        # dim 2 is y and dim 3 is x; "up" receives the row above, "left" the column to the left
        for i, (dim, reverse) in enumerate([(2, False), (3, True), (2, True), (3, False)]):
            yield step(x, dim=dim, reverse=reverse, w=weight[i], b=bias[i])

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, 4C, H, W), in the order of `DIRECTIONS`."""
        return torch.cat(list(self.maps(x)), dim=1)

    @staticmethod
    def _one_step(x: Tensor, dim: int, reverse: bool, w: Tensor, b: Tensor) -> Tensor:
        n = x.shape[dim]
        near, far = x.narrow(dim, 0, n - 1), x.narrow(dim, 1, n - 1)
        sender, receiver = (far, near) if reverse else (near, far)
        heard = torch.relu(sender * w.view(1, -1, 1, 1) + b.view(1, -1, 1, 1) + receiver)
        first = x.narrow(dim, n - 1 if reverse else 0, 1)
        return torch.cat([heard, first] if reverse else [first, heard], dim=dim)

    @staticmethod
    def _recurrent(x: Tensor, dim: int, reverse: bool, w: Tensor, b: Tensor) -> Tensor:
        lines = list(x.unbind(dim))
        if reverse:
            lines.reverse()
        w, b = w.view(1, -1, 1), b.view(1, -1, 1)
        heard = lines[:1]
        for line in lines[1:]:
            heard.append(torch.relu(heard[-1] * w + b + line))
        if reverse:
            heard.reverse()
        return torch.stack(heard, dim=dim)


class SpatialAttention(nn.Module):
    """The attention module (SAM): two directional passes, then one map in [0, 1]."""

    def __init__(self, width: int, passes: Passes, direction_weights: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 1)
        self.pass1 = DirectionalPass(width, passes)
        self.conv2 = nn.Conv2d(4 * width, width, 1)
        self.pass2 = DirectionalPass(width, passes)
        self.conv3 = nn.Conv2d(4 * width, width, 1)
        self.conv_out = nn.Conv2d(width, 1, 1, bias=False)
        self.directions: nn.Sequential | None = None
        if direction_weights:
            half = max(width // 2, 1)
            self.directions = nn.Sequential(
                nn.Conv2d(width, half, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(half, half, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(half, 4, 1),
                nn.Sigmoid(),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, 1, H, W) in [0, 1]."""
        return torch.sigmoid(self.logit(x))

    def logit(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, 1, H, W), before the sigmoid."""
        weights = None
        if self.directions is not None:
            weights = self.directions(x)  # (N, 4, H, W): one for all channels of a direction
        heard = self._mix(self.conv2, self.pass1.maps(self.conv1(x)), weights)
        heard = self._mix(self.conv3, self.pass2.maps(heard), weights)
        logit: Tensor = self.conv_out(torch.relu(heard))
        return logit

    @staticmethod
    def _mix(conv: nn.Conv2d, maps: Iterator[Tensor], weights: Tensor | None) -> Tensor:
        """Run a 1x1 convolution over the four maps as if side by side, one at a time.

        The concatenation of the paper would hold four times the features of any other layer.
        """
        mixed: Tensor | None = None
        for i, heard in enumerate(maps):
            heard = heard if weights is None else heard * weights[:, i : i + 1]
            part = conv.weight[:, i * heard.shape[1] : (i + 1) * heard.shape[1]]
            term = nn.functional.conv2d(heard, part, conv.bias if i == 0 else None)
            mixed = term if mixed is None else mixed + term
        assert mixed is not None
        return mixed


class SPANet(nn.Module):
    """SPANet generator, fully convolutional, for images of any size >= 1 px.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels read and written. ``output="blend"`` needs them equal.
    width : int
        Feature channels, 32 as published.
    passes, direction_weights, output, blocks, prior, shade
        See the top of this module.

    Notes
    -----
    No normalisation layer and no pooling: with one-step passes an output pixel depends
    on inputs at most `reach_px` away and on nothing else, so a scene computed in
    windows with that much halo equals the scene computed whole.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        width: int = 32,
        passes: Passes = "one-step",
        direction_weights: bool = False,
        output: Output = "image",
        blocks: int = 1,
        prior: bool = False,
        shade: bool = False,
    ) -> None:
        super().__init__()
        self.architecture = Architecture(
            width, passes, direction_weights, output, blocks, prior, shade
        )
        if output == "blend" and in_channels != out_channels:
            raise ValueError(
                f"output='blend' mixes input and output channel by channel, but in_channels="
                f"{in_channels} and out_channels={out_channels}; use output='image'"
            )
        self.in_channels, self.out_channels, self.output = in_channels, out_channels, output
        read = in_channels * blocks**2 + self.architecture.planes_of_prior(in_channels)
        self.conv_in = nn.Conv2d(read, width, 3, padding=1, bias=False)
        self.entry = nn.ModuleList(ResidualBlock(width) for _ in range(ENTRY))
        self.attention = SpatialAttention(width, passes, direction_weights)
        # four spatial attentive blocks (SAB) of three residual blocks each; they share
        # one attention module, evaluated anew at the entry of each block
        self.attentive = nn.ModuleList(
            nn.ModuleList(ResidualBlock(width) for _ in range(BLOCKS)) for _ in range(SABS)
        )
        self.exit = nn.ModuleList(ResidualBlock(width) for _ in range(EXIT))
        said = out_channels if blocks == 1 else sum(self.architecture.heads(out_channels))
        self.conv_out = nn.Conv2d(width, said, 3, padding=1, bias=False)
        self.initialise()

    @property
    def reach_px(self) -> int | None:
        """Dependency radius of the output in px (36 as published); None is no limit."""
        return self.architecture.reach_px

    def initialise(self) -> None:
        """Draw fresh weights: Kaiming, with the last convolution of each block damped.

        Seventeen undamped residual blocks amplify the signal and N(0, 0.02), the
        published choice, starves it; damping starts the network near the identity.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, ResidualBlock):
                nn.init.normal_(
                    module.conv3.weight, std=0.1 * (2 / module.conv3.in_channels) ** 0.5
                )
        if self.architecture.blocks > 1:  # the scene's own ground, until more is learnt
            nn.init.normal_(self.conv_out.weight, std=0.01 * (2 / self.conv_out.in_channels) ** 0.5)

    def forward(self, image: Tensor, prior: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Remove clouds from a batch.

        Parameters
        ----------
        image : Tensor (N, in_channels, H, W), float, finite, in the model's value range
        prior : Tensor (N, in_channels + 1, h, w), of each block of pixels the ground that its surroundings
            suggest, and in [0, 1] how far they leave it open; with shade one plane more, in [0, 1], where clouds
            may throw their shadow. None: nothing is known

        Returns
        -------
        restored : Tensor (N, out_channels, H, W), not clipped
        attention : Tensor (N, 1, H, W) in [0, 1], the last attention map
        """
        if self.architecture.blocks > 1:
            return self._on_blocks(image, prior)
        ground, logit = self._body(image)
        attention = torch.sigmoid(logit)
        if self.output == "blend":
            return image + attention * (ground - image), attention
        return ground, attention

    def _body(self, planes: Tensor) -> tuple[Tensor, Tensor]:
        """What the last convolution says, and the logit of the last attention map."""
        features = torch.relu(self.conv_in(planes))
        for block in self.entry:
            features = block(features)
        for sab in self.attentive:
            logit = self.attention.logit(features)
            attention = torch.sigmoid(logit)
            for block in sab:  # type: ignore[attr-defined]
                features = block(features, attention)
        for block in self.exit:
            features = block(features)
        return self.conv_out(features), logit

    def _on_blocks(self, image: Tensor, prior: Tensor | None) -> tuple[Tensor, Tensor]:
        """`forward` where the body works on blocks of pixels."""
        side, (height, width) = self.architecture.blocks, image.shape[2:]
        whole = fit_to_blocks(image, side)
        planes = nn.functional.pixel_unshuffle(whole, side)
        if self.architecture.prior:
            if prior is None:
                count = self.architecture.planes_of_prior(self.in_channels)
                prior = nothing_known(planes, self.in_channels, count)
            planes = torch.cat([planes, prior], dim=1)
        spoken, logit = self._body(planes)
        planes_of = list(self.architecture.heads(self.out_channels))
        said = Said(*torch.split(spoken, planes_of, dim=1))
        ground = block_ground(whole, prior if self.architecture.prior else None, said, side)
        fine = nn.functional.pixel_shuffle(said.attention, side)
        attention = torch.sigmoid(bring_up(logit, side) + fine)
        restored = whole + attention * (ground - whole)
        return restored[..., :height, :width], attention[..., :height, :width]


def nothing_known(planes: Tensor, channels: int, count: int) -> Tensor:
    """The prior (N, count, h, w) where nothing is known of the ground, nor of shadows."""
    prior = planes.new_zeros(len(planes), count, *planes.shape[2:])
    prior[:, channels] = 1
    return prior
