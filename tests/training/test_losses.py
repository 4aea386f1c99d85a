from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from geodecloud.training.losses import (
    UNKNOWN,
    adversarial_loss,
    attention_loss,
    channel_l1_loss,
    cloud_mask,
    discriminator_loss,
)
from geodecloud.training.metrics import psnr_db


def drawn(*shape, seed=0, low=0.0, high=1.0):
    generator = torch.Generator().manual_seed(seed)
    return low + (high - low) * torch.rand(*shape, generator=generator)


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits.double().numpy()))


def test_discriminator_loss_is_the_cross_entropy_of_its_verdicts():
    real = drawn(3, 1, 5, 7, seed=1, low=-4, high=6)
    fake = drawn(3, 1, 5, 7, seed=2, low=-6, high=4)
    expected = -np.log(sigmoid(real)).mean() - np.log(1 - sigmoid(fake)).mean()
    assert discriminator_loss(real, fake).item() == pytest.approx(expected, rel=1e-5)


def test_adversarial_loss_is_low_where_the_discriminator_is_fooled():
    fake = drawn(3, 1, 5, 7, seed=3, low=-5, high=5)
    assert adversarial_loss(fake).item() == pytest.approx(-np.log(sigmoid(fake)).mean(), rel=1e-5)
    assert adversarial_loss(fake + 1) < adversarial_loss(fake)


@pytest.mark.parametrize("logit", [-1e4, 1e4])
def test_adversarial_losses_stay_finite_for_any_logit(logit):
    logits = torch.full((2, 1, 3, 3), logit, requires_grad=True)
    total = discriminator_loss(logits, -logits) + adversarial_loss(logits)
    total.backward()
    # softplus(z) is z for large z and 0 for small
    assert total.item() == pytest.approx(3e4 if logit < 0 else 0.0)
    assert torch.isfinite(logits.grad).all()


def test_l1_loss_weighs_each_channel():
    restored, clear = drawn(2, 3, 5, 7, seed=4), drawn(2, 3, 5, 7, seed=5)
    weights = (100.0, 10.0, 1.0)
    distance = np.abs(restored.double().numpy() - clear.double().numpy())
    expected = sum(w * distance[:, c].sum() for c, w in enumerate(weights)) / distance.size
    assert channel_l1_loss(restored, clear, weights).item() == pytest.approx(expected, rel=1e-5)
    assert channel_l1_loss(clear, clear, weights) == 0


def test_a_channel_of_weight_zero_costs_nothing():
    clear = drawn(2, 3, 5, 7, seed=6)
    restored = clear.clone()
    restored[:, 1] += 5
    assert channel_l1_loss(restored, clear, (1, 0, 1)) == 0
    assert channel_l1_loss(restored, clear, (0, 1, 0)).item() == pytest.approx(5 / 3, rel=1e-5)


def test_a_band_that_an_image_lacks_counts_neither_way():
    clear, restored = drawn(2, 3, 5, 7, seed=8) + 0.1, drawn(2, 3, 5, 7, seed=9)
    clear[1, 2] = 0  # the second image has two bands
    expected = np.mean(
        [(clear[0] - restored[0]).abs().mean(), (clear[1, :2] - restored[1, :2]).abs().mean()]
    )
    assert channel_l1_loss(restored, clear, (1, 1, 1)).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("count", [0, 2, 4])
def test_as_many_weights_as_channels_are_needed(count):
    image = drawn(1, 3, 4, 5)
    with pytest.raises(ValueError, match=f"{count} channel weights for 3 channels"):
        channel_l1_loss(image, image, [1.0] * count)


@pytest.mark.parametrize("kind", ["mse", "bce"])
def test_attention_loss_is_its_formula(kind):
    attention, target = drawn(2, 1, 5, 7, seed=7, low=0.01, high=0.99), drawn(2, 1, 5, 7, seed=8)
    a, m = attention.double().numpy(), target.double().numpy()
    expected = {"mse": (a - m) ** 2, "bce": -m * np.log(a) - (1 - m) * np.log(1 - a)}[kind].mean()
    assert attention_loss(attention, target, kind).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", ["mse", "bce"])
def test_attention_loss_is_least_where_the_map_is_the_mask(kind):
    target = drawn(1, 1, 9, 9, seed=9, low=0.05, high=0.95)
    least = attention_loss(target, target, kind)
    for change in (-0.04, 0.04):
        assert attention_loss(target + change, target, kind) > least


def test_cross_entropy_of_a_saturated_map_is_finite_and_bounded():
    attention = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2).requires_grad_()
    loss = attention_loss(attention, torch.tensor([1.0, 0.0]).view(1, 1, 1, 2), "bce")
    loss.backward()
    assert loss.item() == pytest.approx(-math.log(1e-6), rel=0.01)
    assert torch.isfinite(attention.grad).all()


def test_cross_entropy_learns_from_a_map_that_is_wrong_unless_it_is_rounded_to_1():
    """Its gradient by the logit is ``A - M``; in bf16 sigmoid(7) is 1, and flat."""
    slopes = []
    for dtype in (torch.float32, torch.bfloat16):
        logit = torch.full((1, 1, 1, 1), 7.0, requires_grad=True)
        attention_loss(torch.sigmoid(logit.to(dtype)), torch.zeros(1, 1, 1, 1), "bce").backward()
        slopes.append(logit.grad.item())
    assert slopes == pytest.approx([1 / (1 + math.exp(-7)), 0], abs=1e-4)


@pytest.mark.parametrize("kind", ["mse", "bce"])
def test_attention_loss_works_under_autocast_in_half_precision(kind):
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(3, 1, 1)
    target = drawn(2, 1, 6, 5, seed=10)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        attention = torch.sigmoid(layer(drawn(2, 3, 6, 5)))
        assert attention.dtype == torch.bfloat16
        loss = attention_loss(attention, target, kind)
    expected = attention_loss(attention.detach().float(), target, kind)
    assert loss.item() == pytest.approx(expected.item(), rel=0.01)
    loss.backward()
    assert torch.isfinite(layer.weight.grad).all()


def test_cross_entropy_of_a_saturated_map_in_half_precision_is_bounded_too():
    attention = torch.ones(1, 1, 2, 2, dtype=torch.bfloat16)
    loss = attention_loss(attention, torch.zeros(1, 1, 2, 2), "bce")
    # 1 - 1e-6 is 1 in bfloat16, so the margin must be taken in float32
    assert loss.item() == pytest.approx(-math.log(1e-6), rel=0.01)


def test_cloud_mask_is_the_largest_change_of_any_band():
    clear = drawn(2, 3, 4, 5, seed=11)
    cloudy = clear + drawn(2, 3, 4, 5, seed=12, low=-0.8, high=1.6)
    expected = np.abs(cloudy.numpy() - clear.numpy()).max(axis=1, keepdims=True).clip(0, 1)
    mask = cloud_mask(cloudy, clear)
    assert mask.shape == (2, 1, 4, 5)
    np.testing.assert_allclose(mask.numpy(), expected)
    assert mask.max() == 1  # some of it was clipped


def test_cloud_mask_of_a_pair_does_not_depend_on_the_batch():
    clear, cloudy = drawn(2, 3, 4, 5, seed=13), drawn(2, 3, 4, 5, seed=14)
    cloudy[1] *= 0.1
    torch.testing.assert_close(cloud_mask(cloudy, clear)[1:], cloud_mask(cloudy[1:], clear[1:]))


@pytest.mark.parametrize(("error", "db"), [(0.1, 20.0), (0.01, 40.0), (1.0, 0.0)])
def test_psnr_of_a_constant_error(error, db):
    truth = np.zeros((3, 4, 5))
    assert psnr_db(truth + error, truth) == pytest.approx(db)


def test_psnr_of_equal_images_is_infinite_and_clips_what_is_out_of_range():
    image = drawn(3, 4, 5).numpy()
    assert psnr_db(image, image) == math.inf
    assert psnr_db(np.full((2, 2), 1.7), np.ones((2, 2))) == math.inf
    assert psnr_db(np.full((2, 2), -0.3), np.zeros((2, 2))) == math.inf


@pytest.mark.parametrize("kind", ["mse", "bce"])
def test_attention_of_unknown_pixels_counts_for_nothing(kind):
    attention, target = drawn(2, 1, 4, 6, seed=5), drawn(2, 1, 4, 6, seed=6)
    unknown = drawn(2, 1, 4, 6, seed=7) < 0.4
    a, t = attention[~unknown].double().numpy(), target[~unknown].double().numpy()
    distance = (a - t) ** 2 if kind == "mse" else -(t * np.log(a) + (1 - t) * np.log(1 - a))
    attention.requires_grad_()
    loss = attention_loss(attention, torch.where(unknown, UNKNOWN, target), kind)
    assert loss.item() == pytest.approx(distance.mean(), rel=1e-5)
    loss.backward()
    assert (attention.grad[unknown] == 0).all()
    assert attention_loss(attention, torch.full_like(target, UNKNOWN), kind).item() == 0


def test_l1_of_unknown_pixels_counts_for_nothing():
    restored, clear = drawn(2, 3, 4, 6, seed=1), drawn(2, 3, 4, 6, seed=2)
    known = drawn(2, 1, 4, 6, seed=3) < 0.6
    weights = (100.0, 50.0, 10.0)
    where = np.broadcast_to(known.numpy(), restored.shape)
    distance = np.abs(restored.numpy() - clear.numpy()) * np.reshape(weights, (1, 3, 1, 1))
    loss = channel_l1_loss(restored, clear, weights, known)
    assert loss.item() == pytest.approx(distance[where].mean(), rel=1e-5)
    assert channel_l1_loss(restored, clear, weights, torch.zeros_like(known)).item() == 0
