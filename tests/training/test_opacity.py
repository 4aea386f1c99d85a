"""The opacity told from two dates, against the mixture it is solved from."""

from __future__ import annotations

import numpy as np
import pytest

from geodecloud.errors import OptionError
from geodecloud.training.losses import UNKNOWN
from geodecloud.training.opacity import estimate_attention
from geodecloud.training.pairs import Pair

BANDS = ("B02", "B03", "B04", "B08")


def attention_of(change: np.ndarray, ground: np.ndarray) -> np.ndarray:
    return estimate_attention(Pair("p", ground + change, ground, BANDS))


def test_a_grey_cloud_is_found_with_its_opacity() -> None:
    rng = np.random.default_rng(1)
    ground = rng.uniform(0.02, 0.15, (4, 20, 30)).astype(np.float32)
    opacity = rng.uniform(0.1, 1, (20, 30)).astype(np.float32)
    found = attention_of(opacity * (0.65 - ground), ground)
    np.testing.assert_allclose(found, opacity, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ((0.01, 0.01, 0.01, 0.3), 0.0),  # clear in the visible; growth shows in B08
        ((0.03, 0.03, 0.03, 0.03), UNKNOWN),  # haze, or a change of the ground
        ((-0.05, -0.05, -0.05, -0.1), UNKNOWN),  # a shadow, or water
        ((0.05, 0.09, 0.14, 0.1), UNKNOWN),  # soil laid bare
        ((0.9, 0.9, 0.9, 0.9), 1.0),
    ],
)
def test_what_two_dates_cannot_tell_is_unknown(change: tuple[float, ...], expected: float) -> None:
    ground = np.full((4, 3, 5), 0.1, np.float32)
    found = attention_of(np.array(change, np.float32)[:, None, None], ground)
    assert (found == expected).all()
    assert found.shape == (3, 5)


def test_bands_that_are_missing_are_named() -> None:
    image = np.zeros((2, 4, 4), np.float32)
    with pytest.raises(
        OptionError, match="pair p has no band B02; learn_pairs needs B02, B03, B04"
    ):
        estimate_attention(Pair("p", image, image, ("B03", "B04")))
