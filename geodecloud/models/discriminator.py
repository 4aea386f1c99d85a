"""The SpA GAN discriminator: scores patches of an image, given the cloudy input."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Discriminator(nn.Module):
    """Patch discriminator ``D(cloudy, image)`` at 1/16 resolution.

    Two parallel stride-2 convolutions read the cloudy input and the image under trial,
    four more stages bring the joined features to one map of logits.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the cloudy input and of the image under trial.

    References
    ----------
    arXiv 2009.13015, section 3.2. Initialisation N(0, 0.02) as published.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.from_cloudy = nn.Conv2d(in_channels, 32, 4, stride=2, padding=1)
        self.from_image = nn.Conv2d(out_channels, 32, 4, stride=2, padding=1)
        stages: list[nn.Module] = []
        for before, after in [(64, 128), (128, 256), (256, 512)]:
            stages += [
                nn.Conv2d(before, after, 4, stride=2, padding=1),
                nn.BatchNorm2d(after),
                nn.LeakyReLU(0.2),
            ]
        self.stages = nn.Sequential(*stages, nn.Conv2d(512, 1, 3, padding=1))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0.0, 0.02)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, cloudy: Tensor, image: Tensor) -> Tensor:
        """Score a batch: (N, in, H, W) and (N, out, H, W) give logits (N, 1, H/16, W/16)."""
        joined = torch.cat([self.from_cloudy(cloudy), self.from_image(image)], dim=1)
        return self.stages(nn.functional.leaky_relu(joined, 0.2))
