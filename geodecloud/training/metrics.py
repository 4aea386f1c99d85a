"""Scores of a restored image against the truth."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geodecloud.errors import OptionError
from geodecloud.scene.scores import psnr_of

if TYPE_CHECKING:
    from torch import Tensor

#: The authors' weights of a luminance, applied to blue, green, red in this order.
_PUBLISHED_LUMINANCE = (0.298912, 0.586611, 0.114478)

#: A root mean square error of 0.001, about the noise of the sensor: nothing is gained beyond.
CEILING_DB = 60.0


def psnr_db(image: ArrayLike, truth: ArrayLike) -> float:
    """Peak signal-to-noise ratio in dB, ``10 log10(1 / MSE)``, all bands together.

    Both images are clipped to [0, 1] first. Equal images give infinity.
    """
    a, b = (np.clip(np.asarray(x, np.float64), 0, 1) for x in (image, truth))
    return psnr_of(float(np.mean((a - b) ** 2)))


def gain_db(
    image: NDArray[np.float32],
    before: NDArray[np.float32],
    truth: NDArray[np.float32],
    valid: NDArray[np.bool_],
) -> float:
    """PSNR of an image less that of what it was before, in dB.

    A PSNR counts as `CEILING_DB` at most: what differs less is noise, and a pair without clouds, which
    is its own truth, has a loss one can compare.

    Parameters
    ----------
    image, before, truth : (C, H, W) reflectance
    valid : (H, W), the pixels that count
    """
    after, start = (psnr_db(part[:, valid], truth[:, valid]) for part in (image, before))
    return min(after, CEILING_DB) - min(start, CEILING_DB)


def image_scores(
    image: NDArray[np.float32], truth: NDArray[np.float32], valid: NDArray[np.bool_] | None = None
) -> dict[str, float]:
    """Score one image by the standard definitions, and by the published ones if it has 3 bands.

    Standard: reflectance clipped to [0, 1]; PSNR over all bands together; SSIM with data range
    1, a Gaussian window of 11 px and 1.5 px sigma, mean over bands; SAM, the mean angle between
    spectra in degrees; MAE. Published (SpA GAN): nothing clipped, SSIM of one luminance, the usual
    weights applied to blue, green, red in this order, as `compare_ssim` of scikit-image has it by
    default for floats: data range 2, which flatters it, a mean window of 7 px and sample covariance,
    no window that reaches over the edge.

    Parameters
    ----------
    image, truth : (C, H, W) reflectance, bands in order of wavelength
    valid : (H, W), the pixels that count; None: all

    Returns
    -------
    dict with psnr, ssim, sam, mae, and published_psnr, published_ssim

    Raises
    ------
    OptionError
        If torchmetrics is not installed.
    """
    import torch

    measures = _torchmetrics()
    valid = np.ones(truth.shape[1:], bool) if valid is None else valid
    image = np.where(valid, image, truth)  # SSIM has windows that reach into gaps
    a, b = (torch.from_numpy(np.asarray(x, np.float64).copy())[None] for x in (image, truth))
    x, y, counts = a.clamp(0, 1), b.clamp(0, 1), torch.from_numpy(valid)
    # a pixel that is 0 in every band has no angle
    some = (x.sum(dim=1) > 0) & (y.sum(dim=1) > 0) & counts
    angles = measures.spectral_angle_mapper(x, y, reduction="none") if x.shape[1] > 1 else None
    ssim = measures.structural_similarity_index_measure
    # in float32, which is off by 1e-6: in float64 its convolutions take half of an evaluation
    mean, each = ssim(x.float(), y.float(), return_full_image=True, data_range=1.0)
    scores = {
        "psnr": psnr_db(image[:, valid], truth[:, valid]),
        "ssim": float(mean if valid.all() else each[..., counts].mean()),
        "sam": math.nan if angles is None else math.degrees(float(angles[some].mean())),
        "mae": float((x - y).abs()[..., counts].mean()),
    }
    if a.shape[1] == 3:
        mse = float((a - b).square()[..., counts].mean())
        scores["published_psnr"] = psnr_of(mse)
        scores["published_ssim"] = _published_ssim(a, b, counts)
    return scores


def _published_ssim(image: Tensor, truth: Tensor, counts: Tensor) -> float:
    """The SSIM of the published code, see `image_scores`; NaN for images of less than 7 px.

    References
    ----------
    eval.py of SpA GAN; ``compare_ssim`` of scikit-image, after Wang et al. 2004.
    """
    side, (height, width) = 7, image.shape[2:]
    if min(height, width) < side:
        return math.nan
    weights = image.new_tensor(_PUBLISHED_LUMINANCE).view(1, 3, 1, 1)
    x, y = ((part * weights).sum(dim=1, keepdim=True) for part in (image, truth))
    # covariance of a sample is n / (n - 1) times that of the window, which k2 makes up for
    k2 = 0.03 * math.sqrt(1 - 1 / side**2)
    window = {"gaussian_kernel": False, "kernel_size": side, "k2": k2, "data_range": 2.0}
    ssim = _torchmetrics().structural_similarity_index_measure
    _, each = ssim(x, y, return_full_image=True, **window)
    inner = np.s_[..., side // 2 : height - side // 2, side // 2 : width - side // 2]
    counted = each[inner][..., counts[inner]]
    return float(counted.mean()) if counted.numel() else math.nan


def _torchmetrics() -> Any:
    try:
        from torchmetrics.functional import image
    except ImportError as error:
        raise OptionError(
            "scores are computed by torchmetrics, which is not installed; get it with: "
            "pip install 'geodecloud[metrics]'"
        ) from error
    return image
