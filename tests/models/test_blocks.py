"""The network on blocks of pixels: its reach, its windows, and what it is put together of."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from geodecloud.models.architecture import Architecture
from geodecloud.models.blocks import Said, block_ground, bring_up
from geodecloud.models.spanet import SPANet


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def network_on_blocks(blocks=4, prior=True, width=2, channels=2, shade=False):
    """A network whose every weight matters: what is far away still shows in a pixel."""
    torch.manual_seed(3)
    network = SPANet(
        channels, channels, width, output="blend", blocks=blocks, prior=prior, shade=shade
    )
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            damped = 0.1 if "conv3" in name else 1.0
            parameter.uniform_(0.2, 1).mul_(damped / max(parameter[0].numel(), 1))
    return network.double().eval()


@pytest.mark.parametrize("blocks", [2, 4])
@pytest.mark.parametrize("phase", [0, 1, 3])
def test_no_pixel_depends_on_what_lies_beyond_the_halo_of_its_block(blocks, phase):
    network, side = network_on_blocks(blocks, prior=False), 37 * 8 * blocks // 4 * 2
    middle = side // 2 // blocks * blocks + phase % blocks
    image = torch.rand(1, 2, side, side, dtype=torch.float64, requires_grad=True)
    network(image)[0][0, :, middle, middle].sum().backward()
    rows = np.flatnonzero(image.grad[0].ne(0).any(dim=0).any(dim=1).numpy())
    begin = middle // blocks * blocks
    reach = network.reach_px
    assert reach == 37 * blocks
    assert begin - reach <= rows.min()
    assert rows.max() < begin + blocks + reach
    # and no halo is wasted: blocks at its end are heard
    assert rows.min() < begin - reach + 2 * blocks


@pytest.mark.parametrize("shade", [False, True])
def test_a_window_within_its_halo_is_the_whole_image_cut_out(shade):
    network = network_on_blocks(prior=True, shade=shade)
    halo, core = network.reach_px, slice(168, 216)
    image = torch.rand(1, 2, 400, 400, dtype=torch.float64)
    prior = torch.rand(1, 3 + shade, 100, 100, dtype=torch.float64)
    around = slice(core.start - halo, core.stop + halo)
    blocks = slice(around.start // 4, around.stop // 4)
    with torch.no_grad():
        whole = network(image, prior)
        part = network(image[..., around, around], prior[..., blocks, blocks])
    for one, all_of_it in zip(part, whole, strict=True):
        inner = one[..., halo:-halo, halo:-halo]
        torch.testing.assert_close(inner, all_of_it[..., core, core], rtol=0, atol=1e-12)


def test_the_windows_halo_is_whole_blocks_of_the_prior():
    assert Architecture(output="blend", blocks=4).reach_px == 37 * 4
    with_prior = Architecture(output="blend", blocks=4, prior=True)
    assert (with_prior.align_px, with_prior.reach_px) == (8, 152)


def test_a_prior_that_knows_nothing_is_no_prior():
    network, image = network_on_blocks(), torch.rand(1, 2, 24, 20, dtype=torch.float64)
    nothing = torch.zeros(1, 3, 6, 5, dtype=torch.float64)
    nothing[:, -1] = 1
    with torch.no_grad():
        for one, other in zip(network(image), network(image, nothing), strict=True):
            assert torch.equal(one, other)
        nothing[:, :-1] = 0.7  # nor does it matter what it says then, but to the body
        assert not torch.equal(network(image)[0], network(image, nothing)[0])


@pytest.mark.parametrize("shape_yx", [(1, 1), (3, 9), (17, 4)])
def test_any_size_is_accepted_and_the_edge_goes_on_beyond_it(shape_yx):
    network = network_on_blocks()
    image = torch.rand(1, 2, *shape_yx, dtype=torch.float64)
    height, width = (-(-length // 4) * 4 for length in shape_yx)
    whole = torch.from_numpy(
        np.pad(
            image.numpy(),
            ((0, 0), (0, 0), (0, height - shape_yx[0]), (0, width - shape_yx[1])),
            "edge",
        )
    )
    with torch.no_grad():
        for one, other in zip(network(image), network(whole), strict=True):
            assert torch.equal(one, other[..., : shape_yx[0], : shape_yx[1]])


def said_of(image, prior_share=-50.0, gain=0.0, change=0.0):
    height, width = (n // 4 for n in image.shape[2:])
    planes = torch.zeros(1, image.shape[1], height, width, dtype=image.dtype)
    pixels = torch.zeros(1, image.shape[1] * 16, height, width, dtype=image.dtype)
    return Said(planes + change, planes + gain, planes + prior_share, pixels, pixels[:, :16])


def test_a_network_that_says_nothing_leaves_the_image_as_it_is():
    image = torch.rand(1, 3, 12, 16, dtype=torch.float64)
    prior = torch.rand(1, 4, 3, 4, dtype=torch.float64)
    ground = block_ground(image, prior, said_of(image), 4)
    torch.testing.assert_close(ground, image)


def test_without_gain_the_ground_is_smooth_and_that_of_the_prior_where_it_is_trusted():
    image = torch.rand(1, 3, 12, 16, dtype=torch.float64)
    prior = torch.full((1, 4, 3, 4), 0.25, dtype=torch.float64)
    prior[:, -1] = 0
    ground = block_ground(image, prior, said_of(image, prior_share=50.0, gain=-50.0), 4)
    torch.testing.assert_close(ground, torch.full_like(ground, 0.25))


def test_bringing_up_keeps_a_ramp_a_ramp():
    ramp = torch.arange(6, dtype=torch.float64).repeat(6, 1)[None, None]
    fine = bring_up(ramp, 4)[0, 0, 10, 2:-2]
    torch.testing.assert_close(fine.diff(), torch.full((19,), 0.25, dtype=torch.float64))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"blocks": 3}, "blocks=3 is no side"),
        ({"blocks": 4}, "goes with output='blend'"),
        ({"prior": True}, "prior=True is for a network on blocks"),
        ({"prior": 1}, "neither true nor false"),
        ({"shade": True, "blocks": 4}, "shade=True is for a network with a prior"),
    ],
)
def test_what_does_not_go_together_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Architecture(**options)


def test_the_work_of_a_pixel_is_counted_as_the_convolutions_do_it():
    # 0.231 million, as the published graph has it: counted by hand from the layers of the paper's table
    assert Architecture().multiplications(3) == pytest.approx(0.2302e6, rel=1e-3)
    counted = []

    def count(module, given, out):
        counted.append(out[0].numel() / out.shape[1] * module.weight.numel())

    network = SPANet(4, 4, 8, output="blend", blocks=4, prior=True)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d) and module is not network.attention.conv2:
            module.register_forward_hook(count)
    with torch.no_grad():
        network(torch.rand(1, 4, 32, 48))
    # two of the attention module's convolutions run in parts, past their own forward
    parts = 4 * 2 * 8 * 32 * 8 * 12
    assert (sum(counted) + parts) / (32 * 48) == network.architecture.multiplications(4)
