"""The generator of SpA GAN as it was published, run as it was published: the reference of speed.

Every operation of the authors' graph is carried out, the dead ones too: the direction weights are
computed and dropped, the four maps of a pass are concatenated. Eager, float32, NCHW, windows of
512 px without halo. Weights are random: they do not change the time.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

WIDTH = 32


class Bottleneck(nn.Module):
    """1x1, dilated 3x3, 1x1."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(WIDTH, WIDTH, 1, bias=False)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(WIDTH, WIDTH, 3, padding=2, dilation=2, bias=False)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(WIDTH, WIDTH, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3(self.relu2(self.conv2(self.relu1(self.conv1(x)))))


class Directions(nn.Module):
    """The branch whose result is thrown away."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(WIDTH, WIDTH // 2, 3, padding=1)
        self.conv2 = nn.Conv2d(WIDTH // 2, WIDTH // 2, 3, padding=1)
        self.conv3 = nn.Conv2d(WIDTH // 2, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.conv2(torch.relu(self.conv1(x))))
        return torch.sigmoid(self.conv3(x))


class Pass(nn.Module):
    """Four depthwise 1x1 convolutions, each added to its neighbour."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.ModuleList(
            nn.Conv2d(WIDTH, WIDTH, 1, groups=WIDTH, bias=True) for _ in range(4)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        up, right, down, left = (x.clone() for _ in range(4))
        up[:, :, 1:] = torch.relu(self.weights[0](x)[:, :, :-1] + x[:, :, 1:])
        right[..., :-1] = torch.relu(self.weights[1](x)[..., 1:] + x[..., :-1])
        down[:, :, :-1] = torch.relu(self.weights[2](x)[:, :, 1:] + x[:, :, :-1])
        left[..., 1:] = torch.relu(self.weights[3](x)[..., :-1] + x[..., 1:])
        return [up, right, down, left]


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.directions = Directions()
        self.conv1 = nn.Conv2d(WIDTH, WIDTH, 1)
        self.pass1, self.pass2 = Pass(), Pass()
        self.conv2 = nn.Conv2d(4 * WIDTH, WIDTH, 1)
        self.conv3 = nn.Conv2d(4 * WIDTH, WIDTH, 1)
        self.conv_out = nn.Conv2d(WIDTH, 1, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.directions(x)
        x = self.mix(self.conv2, self.pass1(self.conv1(x)), weights)
        x = torch.relu(self.mix(self.conv3, self.pass2(x), weights))
        return torch.sigmoid(self.conv_out(x))

    @staticmethod
    def mix(conv: nn.Module, maps: list[Tensor], weights: Tensor) -> Tensor:
        for i, one in enumerate(maps):
            one.mul(weights[:, i : i + 1])  # as published: the product is not kept
        return conv(torch.cat(maps, dim=1))


class PublishedGenerator(nn.Module):
    """SPANet as in the authors' repository."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(channels, WIDTH, 3, padding=1, bias=False)
        self.blocks = nn.ModuleList(Bottleneck() for _ in range(17))
        self.attention = Attention()
        self.conv_out = nn.Conv2d(WIDTH, channels, 3, padding=1, bias=False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.relu(self.conv_in(image))
        blocks, attention = iter(self.blocks), None
        for _ in range(3):
            x = torch.relu(next(blocks)(x) + x)
        for _ in range(4):
            attention = self.attention(x)
            for _ in range(3):
                x = torch.relu(next(blocks)(x) * attention + x)
        for _ in range(2):
            x = torch.relu(next(blocks)(x) + x)
        return self.conv_out(x), attention
