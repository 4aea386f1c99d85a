from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from geodecloud.models.discriminator import Discriminator
from geodecloud.models.spanet import DirectionalPass, SPANet
from geodecloud.windows.stitcher import Mosaic
from geodecloud.windows.tiler import Window, plan_windows

LAYOUTS = [(p, w) for p in ("one-step", "recurrent") for w in (False, True)]
layouts = pytest.mark.parametrize(("passes", "direction_weights"), LAYOUTS)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Small tensors: on a busy machine the threads of torch only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def loud_network(passes="one-step", direction_weights=False, output="image", channels=3, seed=0):
    """A small network whose every weight matters: what is far away still shows in a pixel."""
    torch.manual_seed(seed)
    network = SPANet(channels, channels, 4, passes, direction_weights, output)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("bias") or "pass" in name:
                parameter.uniform_(-0.5, 0.7)
            else:
                parameter.normal_(std=0.7 * parameter[0].numel() ** -0.5)
        network.attention.conv_out.weight.mul_(8)  # a map that is not 0.5 all over
    return network.double().eval()


def open_network(passes="one-step", direction_weights=False):
    """A network without a negative weight: no ReLU is shut, each dependency has a gradient."""
    network = SPANet(2, 2, 4, passes, direction_weights).double()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            damped = 0.1 if "conv3" in name else 1.0
            parameter.uniform_(0.2, 1).mul_(damped / max(parameter[0].numel(), 1))
    return network


def influence(network, side, which):
    """Bool (side, side): which input pixels the centre of output number `which` depends on."""
    image = torch.rand(1, 2, side, side, dtype=torch.float64, requires_grad=True)
    network(image)[which][0, :, side // 2, side // 2].sum().backward()
    return image.grad[0].ne(0).any(dim=0).numpy()


def test_published_layout_has_the_published_number_of_parameters_that_matter():
    # 219 300 in the authors' checkpoint, of which 16 228 are computed and thrown away
    published = SPANet(3, 3, passes="one-step", direction_weights=False, output="image")
    assert sum(p.numel() for p in published.parameters()) == 219_300 - 16_228


@pytest.mark.parametrize(
    ("direction_weights", "image_px", "attention_px"), [(False, 36, 27), (True, 40, 31)]
)
def test_reach_is_what_a_gradient_finds(direction_weights, image_px, attention_px):
    torch.manual_seed(1)
    network = open_network(direction_weights=direction_weights)
    assert network.reach_px == image_px
    for which, reach_px in enumerate([image_px, attention_px]):
        rows, cols = np.nonzero(influence(network, 121, which))
        assert (rows.min(), rows.max()) == (60 - reach_px, 60 + reach_px)
        assert (cols.min(), cols.max()) == (60 - reach_px, 60 + reach_px)


@pytest.mark.parametrize(("direction_weights", "reach_px"), [(False, 2), (True, 3)])
def test_reach_of_the_attention_module_is_what_a_gradient_finds(direction_weights, reach_px):
    torch.manual_seed(1)
    attention = open_network(direction_weights=direction_weights).attention
    features = torch.rand(1, 4, 15, 15, dtype=torch.float64, requires_grad=True)
    attention(features)[0, 0, 7, 7].backward()
    rows, cols = np.nonzero(features.grad[0].ne(0).any(dim=0).numpy())
    assert (rows.min(), rows.max()) == (7 - reach_px, 7 + reach_px)
    assert (cols.min(), cols.max()) == (7 - reach_px, 7 + reach_px)


@pytest.mark.parametrize("direction_weights", [False, True])
def test_recurrent_passes_reach_every_pixel(direction_weights):
    torch.manual_seed(1)
    network = open_network("recurrent", direction_weights)
    assert network.reach_px is None
    assert influence(network, 101, 0).all()


def relu(x):
    return np.maximum(x, 0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def weights_of(module, name):
    return getattr(module, name).detach().numpy()


def conv_by_hand(layer, x, dilation=1):
    """Zero-padded convolution (C, H, W), summed tap by tap."""
    kernel = weights_of(layer, "weight")
    half = kernel.shape[-1] // 2 * dilation
    _, height, width = x.shape
    padded = np.pad(x, [(0, 0), (half, half), (half, half)])
    out = np.zeros((len(kernel), height, width))
    for i, j in np.ndindex(kernel.shape[2:]):
        y, x0 = i * dilation, j * dilation
        out += np.einsum(
            "oc,chw->ohw", kernel[..., i, j], padded[:, y : y + height, x0 : x0 + width]
        )
    return out if layer.bias is None else out + weights_of(layer, "bias")[:, None, None]


def pass_by_hand(layer, x):
    """Each pixel listens to its neighbour above, right, below and left, one at a time."""
    channels, height, width = x.shape
    out = []
    for direction, (dy, dx) in enumerate([(-1, 0), (0, 1), (1, 0), (0, -1)]):
        w = weights_of(layer, "weight")[direction]
        b = weights_of(layer, "bias")[direction]
        heard = np.zeros((channels, height, width))
        # visited so that the neighbour always comes first
        for row in range(height)[:: 1 if dy <= 0 else -1]:
            for col in range(width)[:: 1 if dx <= 0 else -1]:
                there = row + dy, col + dx
                if not (0 <= there[0] < height and 0 <= there[1] < width):
                    heard[:, row, col] = x[:, row, col]
                    continue
                source = x if layer.passes == "one-step" else heard
                heard[:, row, col] = relu(w * source[:, *there] + b + x[:, row, col])
        out.append(heard)
    return np.concatenate(out)


def attention_by_hand(module, x):
    weight = 1.0
    if module.directions is not None:
        first, _, second, _, third, _ = module.directions
        branch = relu(conv_by_hand(second, relu(conv_by_hand(first, x))))
        weight = np.repeat(sigmoid(conv_by_hand(third, branch)), len(x), axis=0)
    heard = pass_by_hand(module.pass1, conv_by_hand(module.conv1, x)) * weight
    heard = pass_by_hand(module.pass2, conv_by_hand(module.conv2, heard)) * weight
    return sigmoid(conv_by_hand(module.conv_out, relu(conv_by_hand(module.conv3, heard))))


def block_by_hand(block, x, attention=1.0):
    inner = relu(conv_by_hand(block.conv2, relu(conv_by_hand(block.conv1, x)), dilation=2))
    return relu(x + attention * conv_by_hand(block.conv3, inner))


def spanet_by_hand(network, image):
    x = relu(conv_by_hand(network.conv_in, image))
    for block in network.entry:
        x = block_by_hand(block, x)
    for sab in network.attentive:
        attention = attention_by_hand(network.attention, x)
        for block in sab:
            x = block_by_hand(block, x, attention)
    for block in network.exit:
        x = block_by_hand(block, x)
    ground = conv_by_hand(network.conv_out, x)
    if network.output == "blend":
        return (1 - attention) * image + attention * ground, attention
    return ground, attention


@pytest.mark.parametrize("passes", ["one-step", "recurrent"])
@pytest.mark.parametrize("shape", [(3, 7, 11), (3, 1, 5), (3, 6, 1), (1, 1, 1)])
def test_directional_pass_is_the_sum_done_by_hand(passes, shape):
    torch.manual_seed(2)
    layer = DirectionalPass(shape[0], passes).double()
    torch.nn.init.normal_(layer.weight)
    torch.nn.init.normal_(layer.bias)
    x = torch.randn(1, *shape, dtype=torch.float64)
    np.testing.assert_allclose(
        layer(x)[0].detach().numpy(), pass_by_hand(layer, x[0].numpy()), atol=1e-12
    )


@pytest.mark.parametrize("passes", ["one-step", "recurrent"])
def test_maps_are_as_wide_as_the_features_under_autocast(passes):
    layer, x = DirectionalPass(3, passes), torch.rand(1, 3, 6, 7)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        half = layer(x.bfloat16())
    assert half.dtype == torch.bfloat16
    whole = pass_by_hand(layer, x[0].numpy())
    np.testing.assert_allclose(half[0].float().numpy(), whole, rtol=0.05)


@layouts
@pytest.mark.parametrize("output", ["image", "blend"])
def test_the_whole_network_is_the_sum_done_by_hand(passes, direction_weights, output):
    network = loud_network(passes, direction_weights, output)
    image = torch.rand(2, 3, 9, 14, dtype=torch.float64)
    with torch.no_grad():
        restored, attention = network(image)
    for i in range(2):
        expected, expected_attention = spanet_by_hand(network, image[i].numpy())
        np.testing.assert_allclose(restored[i].numpy(), expected, atol=1e-10)
        np.testing.assert_allclose(attention[i].numpy(), expected_attention, atol=1e-10)
    assert attention.std() > 0.01  # else nothing was tested


def test_direction_weights_change_the_result_and_wide_open_they_do_not():
    plain = loud_network(direction_weights=False)
    weighted = loud_network(direction_weights=True)
    weighted.load_state_dict(plain.state_dict(), strict=False)
    image = torch.rand(1, 3, 13, 17, dtype=torch.float64)
    with torch.no_grad():
        expected = plain(image)[0]
        assert (weighted(image)[0] - expected).abs().max() > 1e-4
        weighted.attention.directions[-2].weight.zero_()
        weighted.attention.directions[-2].bias.fill_(50)  # sigmoid(50) is 1
        torch.testing.assert_close(weighted(image)[0], expected)


def test_where_attention_is_zero_blend_gives_back_the_input_bit_by_bit():
    network = loud_network(output="blend")
    image = torch.rand(1, 3, 13, 17, dtype=torch.float64)
    shut = torch.full((1, 1, 13, 17), -torch.inf, dtype=torch.float64)
    shut[..., 9:] = torch.inf
    network.attention.logit = lambda _: shut
    with torch.no_grad():
        restored, attention = network(image)
        network.output = "image"
        ground, _ = network(image)
    assert torch.equal(attention, shut.sigmoid())
    assert torch.equal(restored[..., :9], image[..., :9])
    torch.testing.assert_close(restored[..., 9:], ground[..., 9:])
    assert (restored - image)[..., 9:].abs().min() > 0


def test_blend_needs_as_many_channels_out_as_in():
    with pytest.raises(ValueError, match="in_channels=4 and out_channels=3; use output='image'"):
        SPANet(4, 3, output="blend")
    assert SPANet(4, 3, width=4)(torch.rand(1, 4, 5, 6))[0].shape == (1, 3, 5, 6)


@layouts
@pytest.mark.parametrize("shape_yx", [(1, 1), (1, 7), (5, 1)])
def test_any_size_is_accepted(passes, direction_weights, shape_yx):
    network = SPANet(4, 4, 4, passes, direction_weights, "blend")
    restored, attention = network(torch.rand(2, 4, *shape_yx))
    assert restored.shape == (2, 4, *shape_yx)
    assert attention.shape == (2, 1, *shape_yx)
    assert torch.isfinite(restored).all()
    assert ((attention >= 0) & (attention <= 1)).all()


@layouts
def test_fresh_weights_start_alive_and_near_the_input_in_size(passes, direction_weights):
    torch.manual_seed(0)
    network = SPANet(4, 4, 8, passes, direction_weights)
    restored, attention = network(torch.rand(1, 4, 31, 29))
    restored.square().mean().backward()
    assert 0.01 < restored.std() < 10
    assert 0 < attention.min() < attention.max() < 1
    assert all(torch.isfinite(p.grad).all() for p in network.parameters())


@cache
def tiled_network(direction_weights):
    return loud_network("one-step", direction_weights, "blend").float()


@pytest.mark.parametrize("direction_weights", [False, True])
@pytest.mark.parametrize(
    ("height", "width", "window_px"), [(1, 110, 20), (110, 103, 30), (97, 20, 25), (60, 50, 60)]
)
def test_windows_with_a_halo_of_the_reach_equal_the_whole(
    height, width, window_px, direction_weights
):
    network = tiled_network(direction_weights)
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, height, width, generator=generator)
    scene = Window(0, 0, width, height)
    mosaic = Mosaic(4, scene)
    with torch.no_grad():
        whole = torch.cat(network(image), dim=1)[0]
        for plan in plan_windows(scene, window_px, network.reach_px, scene):
            patch = torch.cat(network(image[..., *plan.padded.slices_yx]), dim=1)[0]
            inner = plan.core.relative_to(plan.padded).slices_yx
            mosaic.place(plan.core, patch[:, *inner].numpy())
    placed = mosaic.image(np.ones((height, width), bool))
    np.testing.assert_allclose(placed, whole.numpy(), atol=1e-5)


@pytest.mark.parametrize(("shape_yx", "map_yx"), [((64, 96), (4, 6)), ((101, 203), (6, 12))])
def test_discriminator_scores_patches_at_a_sixteenth(shape_yx, map_yx):
    torch.manual_seed(0)
    discriminator = Discriminator(4, 3)
    logits = discriminator(torch.rand(2, 4, *shape_yx), torch.rand(2, 3, *shape_yx))
    assert logits.shape == (2, 1, *map_yx)


def test_discriminator_looks_at_both_images():
    torch.manual_seed(0)
    discriminator = Discriminator(3, 3).eval()
    cloudy = torch.rand(1, 3, 64, 64, requires_grad=True)
    image = torch.rand(1, 3, 64, 64, requires_grad=True)
    discriminator(cloudy, image).sum().backward()
    assert cloudy.grad.abs().max() > 0
    assert image.grad.abs().max() > 0
    # the two are not interchangeable: it is told which is the input
    assert not torch.allclose(cloudy.grad, image.grad)
