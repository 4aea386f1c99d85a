"""Every backend against the network itself, run by torch on the whole image."""

from __future__ import annotations

import itertools
import operator
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from conftest import make_toy_model, textured_dn, write_raster

from geodecloud.backends import Backend, Margins, choose_backend, open_backend, openvino_graph
from geodecloud.backends.declouder import Declouder
from geodecloud.backends.openvino_cpu import OpenVINOBackend, has_bf16
from geodecloud.backends.torch_device import Lane, TorchBackend
from geodecloud.errors import DeviceError, SceneError
from geodecloud.models.card import ModelCard
from geodecloud.models.catalogue import IDENTITY, get_card, shipped_cards
from geodecloud.models.weights import load_model
from geodecloud.scene.bands import SENTINEL2_NM

SHIPPED = [name for name, card in shipped_cards().items() if card.kind == "spanet"]

pytestmark = pytest.mark.usefixtures("own_backend")


def image_for(card: ModelCard, height: int, width: int, seed: int = 0) -> np.ndarray:
    dn = textured_dn(len(card.channels), height, width, seed)
    return (dn / 10000).astype(np.float32)


def whole(model: str | Path, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The oracle: plain torch, float32."""
    with torch.inference_mode():
        restored, attention = load_model(model).network(torch.from_numpy(image)[None])
    return restored[0].numpy(), attention[0, 0].numpy()


def opened(model: str | Path, backend: str, precision: str = "fp32", threads: int = 2) -> Backend:
    card = get_card(str(model))
    return open_backend(card, str(model), "cpu", precision, backend, threads)


@pytest.mark.parametrize("backend", ["torch", "openvino"])
@pytest.mark.parametrize(
    ("model", "shape_yx"),
    [
        *(("toy", shape_yx) for shape_yx in [(1, 1), (1, 40), (50, 1), (2, 3), (101, 83)]),
        *((model, (45, 61)) for model in SHIPPED),  # other weights of the same graph
    ],
)
def test_scene_of_any_size_in_one_window(
    model: str, shape_yx: tuple[int, int], backend: str, toy_model: Path
) -> None:
    path = toy_model if model == "toy" else model
    image = image_for(get_card(str(path)), *shape_yx)
    restored, attention = opened(path, backend).run(image[None], Margins())
    expected = whole(path, image)
    np.testing.assert_allclose(restored[0], expected[0], atol=2e-5)
    np.testing.assert_allclose(attention[0], expected[1], atol=2e-5)


#: Sides of a window that lie within its scene. Of any two sides all four cases occur, and a graph
#: treats no three of them together.
SIDES = [
    (False, False, False, False),
    (False, True, True, True),
    (True, False, True, True),
    (True, True, False, True),
    (True, True, True, False),
]


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_window_at_every_kind_of_place(
    sides: tuple[bool, ...], backend: str, toy_model: Path
) -> None:
    """Within the scene on some sides, at its edge on the others."""
    reach = get_card(str(toy_model)).halo_px
    assert reach == 40
    image = image_for(get_card(str(toy_model)), 130, 140)
    top, right, bottom, left = (20 if side else 0 for side in sides)
    part = image[:, top : 130 - bottom, left : 140 - right]
    # context beside the core: more than the reach on one side, and less where the scene ends
    margins = Margins(
        *(
            extra if side else small
            for side, extra, small in zip(sides, (40, 43, 41, 40), (0, 5, 0, 9), strict=True)
        )
    )
    rows, cols = margins.core(part.shape)
    restored, attention = opened(toy_model, backend).run(part[None].copy(), margins)
    expected = whole(toy_model, image)
    where = (slice(top + rows.start, top + rows.stop), slice(left + cols.start, left + cols.stop))
    np.testing.assert_allclose(restored[0], expected[0][:, *where], atol=2e-5)
    np.testing.assert_allclose(attention[0], expected[1][where], atol=2e-5)


@pytest.fixture(scope="module")
def published_kind(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("image") / "image.safetensors"
    return make_toy_model(path, output="image", direction_weights=False, width=8)


@pytest.mark.parametrize(
    ("height", "width", "halo_px"), [(1, 1, 36), (1, 60, 45), (37, 2, 40), (59, 60, 37)]
)
def test_windows_within_a_scene_are_the_whole_image(
    published_kind: Path, height: int, width: int, halo_px: int
) -> None:
    """From one pixel to several, with the reach of the network (36 px) as halo and with more."""
    image = image_for(get_card(str(published_kind)), height + 90, width + 90, height)
    margins = Margins(*(halo_px,) * 4)
    begin = 45 - halo_px
    patch = image[:, begin : 45 + height + halo_px, begin : 45 + width + halo_px]
    restored, _ = opened(published_kind, "openvino").run(np.ascontiguousarray(patch)[None], margins)
    expected = whole(published_kind, image)[0][:, 45 : 45 + height, 45 : 45 + width]
    np.testing.assert_allclose(restored[0], expected, atol=2e-5)


def test_order_and_number_of_windows_do_not_matter(
    toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Graphs of other sides give up their memory for each other, and must come back whole."""
    monkeypatch.setattr("geodecloud.backends.openvino_cpu._GRAPHS", 2)
    backend = opened(toy_model, "openvino")
    images = np.stack([image_for(get_card(str(toy_model)), 90, 100, seed) for seed in range(3)])
    # one more than are kept
    places = [Margins(), Margins(40, 40, 40, 40), Margins(right=40)]
    first = [backend.run(images, place) for place in places]
    backend.release()
    for place, before in zip(places[::-1], first[::-1], strict=True):
        again = backend.run(images[::-1].copy(), place)
        np.testing.assert_array_equal(again[0][::-1], before[0])


def test_windows_share_the_memory_of_one(toy_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of many kinds, in any order: bit by bit what they are alone, and the books on memory."""
    monkeypatch.setattr("geodecloud.backends.openvino_cpu._GRAPHS", 3)
    shared = opened(toy_model, "openvino")
    assert isinstance(shared, OpenVINOBackend)
    shared._most_px = 70 * 90
    image = image_for(get_card(str(toy_model)), 70, 90)
    large, strip = (70, 90), (70, 30)
    kinds = [
        (large, Margins()),
        (strip, Margins(top=40)),
        ((20, 30), Margins()),
        (large, Margins(left=40)),
    ]
    alone = []
    for (height, width), place in kinds:
        patch = np.ascontiguousarray(image[None, :, :height, :width])
        alone.append((patch, place, opened(toy_model, "openvino").run(patch, place)))
    for number in (0, 1, 2, 1, 0, 3, 2, 0):
        patch, place, expected = alone[number]
        restored, attention = shared.run(patch, place)
        np.testing.assert_array_equal(restored, expected[0])
        np.testing.assert_array_equal(attention, expected[1])
        held = [height * width for _, (height, width) in shared._requests]
        assert sum(held) <= 1.1 * shared._most_px
        assert shared._requests.keys() <= shared._compiled.keys()
        assert len(shared._compiled) <= 3
    shared.release()
    assert not shared._requests


def test_no_digit_depends_on_the_size_of_the_window() -> None:
    """The shipped width takes other kernels than the toy's; how a scene is cut must not show."""
    backend, margins = opened("rgb", "openvino"), Margins(36, 36, 36, 36)
    image = image_for(get_card("rgb"), 260, 330)[None]
    large, _ = backend.run(image, margins)
    for height, width in [(73, 73), (100, 330), (259, 80)]:
        small, _ = backend.run(np.ascontiguousarray(image[..., :height, :width]), margins)
        np.testing.assert_array_equal(small, large[..., : height - 72, : width - 72])


def test_no_digit_depends_on_the_size_of_a_window_on_blocks() -> None:
    card = get_card("s2-10m")
    halo = card.halo_px
    backend, margins = opened("s2-10m", "openvino"), Margins(halo, halo, halo, halo)
    image = image_for(card, 400, 456)[None]
    prior = np.random.default_rng(2).random((1, 6, 100, 114), np.float32)
    large, _ = backend.run(image, margins, prior)
    for height, width in [(312, 320), (320, 456)]:
        part = np.ascontiguousarray(image[..., :height, :width])
        small, _ = backend.run(part, margins, prior[..., : height // 4, : width // 4])
        inner = large[..., : height - 2 * halo, : width - 2 * halo]
        np.testing.assert_array_equal(small, inner)


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_both_backends_restore_a_window_on_blocks_as_the_network_does(backend: str) -> None:
    card, network = get_card("s2-10m"), load_model("s2-10m").network
    image = image_for(card, 101, 203)[None]  # no whole blocks
    prior = np.random.default_rng(2).random((1, 6, 26, 51), np.float32)
    with torch.inference_mode():
        wanted = [
            network(torch.from_numpy(image)),
            network(torch.from_numpy(image), torch.from_numpy(prior)),
        ]
    for given, (restored, attention) in zip((None, prior), wanted, strict=True):
        found = opened("s2-10m", backend).run(image, Margins(), given)
        np.testing.assert_allclose(found[0], restored, atol=2e-5)
        np.testing.assert_allclose(found[1], attention[:, 0], atol=2e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_maps_of_a_pass_are_made_one_at_a_time(precision: str) -> None:
    """By the engine's own account of the order it computes in; all at once take half as much memory again."""
    if precision == "bf16":
        needs_bf16()
    is_map = maps_in_order(precision)
    assert sum(is_map) == 4 * 2 * 4  # four attention modules, two passes, four directions
    assert not any(itertools.starmap(operator.and_, itertools.pairwise(is_map)))


def test_maps_would_be_made_together_if_none_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `wait_for` is there for. Where this fails, OpenVINO has learnt better, and it can go."""
    monkeypatch.setattr(
        openvino_graph._Builder,
        "wait_for",
        lambda self, before, kernel: openvino_graph.ops.constant(kernel),
    )
    is_map = maps_in_order("fp32")
    assert sum(is_map) == 4 * 2 * 4
    assert any(itertools.starmap(operator.and_, itertools.pairwise(is_map)))


def maps_in_order(precision: str) -> list[bool]:
    """Of each convolution, in the order they are computed: whether it makes a map of a pass."""
    backend = opened("s2-10m", "openvino", precision)
    backend.run(image_for(get_card("s2-10m"), 120, 150)[None], Margins(36, 36, 36, 36))
    (compiled,) = backend._compiled.values()
    facts = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
    facts = [{key: fact[key].astype(str) for key in fact} for fact in facts]
    convolutions = [fact for fact in facts if fact["layerType"] == "Convolution"]
    convolutions.sort(key=lambda fact: int(fact["execOrder"]))
    return ["GroupConvolution" in fact["originalLayersNames"] for fact in convolutions]


def needs_bf16() -> None:
    """Skip where OpenVINO cannot compute in bf16."""
    if not has_bf16():
        pytest.skip("this CPU has no instructions for bf16")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_result_does_not_depend_on_the_number_of_cores(precision: str) -> None:
    if precision == "bf16":
        needs_bf16()
    image = image_for(get_card("s2-10m"), 120, 150)[None]
    one, two = (
        opened("s2-10m", "openvino", precision, threads).run(image, Margins()) for threads in (1, 2)
    )
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[1], two[1])


@pytest.mark.parametrize("backend", ["torch", "openvino"])
@pytest.mark.parametrize("model", SHIPPED)
def test_bf16_on_real_scenes_is_near_float32(model: str, backend: str, real_data: Path) -> None:
    """At least 54 dB, and no bias: what docs/performance.md promises."""
    from geodecloud.training.pairs import read_pairs

    if backend == "openvino":
        needs_bf16()
    card = get_card(model)
    pairs = read_pairs(real_data / "sen12mscr", card.channel_names, tuple(SENTINEL2_NM))[:4]
    half = opened(model, backend, "bf16")
    differences = []
    for pair in pairs:
        # a part of each: CPUs without instructions for bf16 take their time
        image = np.ascontiguousarray(pair.cloudy[:, 96:160, 96:160])
        restored, _ = half.run(image[None], Margins())
        differences.append((restored[0] - whole(model, image)[0]).ravel())
    difference = np.concatenate(differences).astype(np.float64)
    assert 10 * np.log10(1 / np.mean(difference**2)) >= 54
    assert abs(difference.mean()) <= 0.0005


def test_auto_takes_openvino_where_it_can(toy_model: Path, tmp_path: Path) -> None:
    card = get_card(str(toy_model))
    assert choose_backend(card, "cpu", "auto", "auto") == "openvino"
    assert choose_backend(card, "cpu", "bf16", "auto") == "openvino"
    assert choose_backend(card, "cpu", "fp16", "auto") == "torch"
    assert choose_backend(card, "cuda:1", "auto", "auto") == "torch"
    assert choose_backend(card, "cpu", "auto", "torch") == "torch"
    assert choose_backend(IDENTITY, "cpu", "auto", "openvino") == "identity"
    path = make_toy_model(tmp_path / "recurrent.safetensors", passes="recurrent")
    recurrent = get_card(str(path))
    assert choose_backend(recurrent, "cpu", "auto", "auto") == "torch"
    with pytest.raises(DeviceError, match=r"recurrent passes; use backend=.torch"):
        choose_backend(recurrent, "cpu", "auto", "openvino")


@pytest.mark.parametrize(
    ("device", "precision", "backend", "message"),
    [
        ("cpu", "auto", "jax", r"backend 'jax' is unknown; use auto, torch, openvino"),
        ("cpu", "fp8", "auto", r"precision 'fp8' is unknown; use auto, fp32"),
        ("cuda", "auto", "openvino", r"for CPUs here, and the device is 'cuda'"),
        ("cpu", "fp16", "openvino", r"precision fp16 is not among auto, fp32, bf16"),
        ("tpu", "auto", "torch", r"device 'tpu' is unknown"),
        ("cuda:9", "auto", "torch", r"this machine has \d CUDA devices; use device=.auto"),
    ],
)
def test_what_is_not_there_is_named(
    device: str, precision: str, backend: str, message: str, toy_model: Path
) -> None:
    with pytest.raises(DeviceError, match=message):
        open_backend(get_card(str(toy_model)), str(toy_model), device, precision, backend)


def test_without_openvino_torch_runs(monkeypatch: pytest.MonkeyPatch, toy_model: Path) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    card = get_card(str(toy_model))
    assert choose_backend(card, "cpu", "auto", "auto") == "torch"
    with pytest.raises(DeviceError, match="pip install openvino"):
        choose_backend(card, "cpu", "auto", "openvino")


def test_a_batch_that_does_not_fit_is_halved() -> None:
    sizes = []

    class Greedy(torch.nn.Module):
        def forward(self, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            sizes.append(len(batch))
            if len(batch) > 2:
                raise torch.OutOfMemoryError
            return batch + 1, batch[:, :1]

    patches = np.random.default_rng(0).random((7, 2, 5, 6), dtype=np.float32)
    backend = TorchBackend(Greedy(), "cpu", "fp32")
    restored, attention = backend.run(patches, Margins(top=1, left=2))
    np.testing.assert_array_equal(restored, patches[:, :, 1:, 2:] + 1)
    np.testing.assert_array_equal(attention, patches[:, 0, 1:, 2:])
    assert sizes == [7, 3, 1, 2, 4, 2, 2]


def test_one_window_too_large_is_said() -> None:
    class Bottomless(torch.nn.Module):
        def forward(self, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            raise torch.OutOfMemoryError

    with pytest.raises(DeviceError, match="one window of 6 x 5 px; use a smaller window"):
        TorchBackend(Bottomless(), "cpu", "fp32").run(np.zeros((1, 2, 5, 6), np.float32), Margins())


def test_lane_keeps_its_buffers_and_not_its_results(monkeypatch: pytest.MonkeyPatch) -> None:
    """The way to an accelerator and back, walked on a CPU."""
    lane = Lane(torch.device("cpu"))
    rng = np.random.default_rng(0)
    with torch.inference_mode():
        results = []
        for shape in [(2, 3, 8, 9), (1, 3, 4, 5), (4, 3, 10, 9)]:
            batch = torch.from_numpy(rng.random(shape, dtype=np.float32))
            with lane.active():
                (there,) = lane.bring([batch])
                results.append((batch, lane.fetch((there * 2, there[:, 0]))))
    for batch, (restored, attention) in results:
        np.testing.assert_array_equal(restored, 2 * batch.numpy())
        np.testing.assert_array_equal(attention, batch[:, 0].numpy())


class Probe(torch.nn.Module):
    """Changes nothing, and calls something meanwhile."""

    def __init__(self, act: Callable[[], object]) -> None:
        super().__init__()
        self.act = act

    def forward(self, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.act()
        return batch, batch[:, :1]


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any device "exists", and all that is sent there is computed on the CPU."""

    class Near(Lane):
        def __init__(self, device: torch.device) -> None:
            super().__init__(torch.device("cpu"))

    monkeypatch.setattr("geodecloud.backends.torch_device.choose_device", torch.device)
    monkeypatch.setattr("geodecloud.backends.torch_device.Lane", Near)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1 << 30, 1 << 30))


@pytest.mark.filterwarnings("ignore:.*CUDA is not available")
@pytest.mark.usefixtures("pretended")
@pytest.mark.parametrize(("device", "at_once"), [("mps", 1), ("cuda", 2)])
def test_calls_at_once_are_as_many_as_the_device_bears(device: str, at_once: int) -> None:
    """MPS crashes where two threads call it."""
    inside, most, lock = [], [], threading.Lock()

    def stay() -> None:
        with lock:
            inside.append(0)
            most.append(len(inside))
        time.sleep(0.05)
        with lock:
            inside.pop()

    backend = TorchBackend(Probe(stay), device, "fp32" if device == "mps" else "fp16")
    with ThreadPoolExecutor(4) as pool:
        patches = np.zeros((1, 4, 8, 8), np.float32)
        list(pool.map(lambda _: backend.run(patches, Margins()), range(8)))
    assert max(most) == at_once


def test_callers_share_no_weights_of_half_precision() -> None:
    """The cache of autocast is one for all threads, and its entries belong to a stream of one."""
    seen = []
    backend = TorchBackend(
        Probe(lambda: seen.append(torch.is_autocast_cache_enabled())), "cpu", "bf16"
    )
    backend.run(np.zeros((1, 4, 8, 8), np.float32), Margins())
    assert seen == [False]


@pytest.mark.filterwarnings("ignore:.*CUDA is not available")
@pytest.mark.usefixtures("pretended")
def test_fp32_on_cuda_is_not_tf32() -> None:
    """TF32 has ten bits; two callers at once must not turn it on for each other, nor leave it off."""
    cudnn, seen = torch.backends.cudnn, []

    def flags() -> tuple[object, ...]:
        return cudnn.allow_tf32, cudnn.enabled, cudnn.benchmark, cudnn.deterministic

    def look() -> None:
        for _ in range(10):
            seen.append(flags())
            time.sleep(0.001)

    before = flags()
    assert before[0]  # torch's own choice
    backend = TorchBackend(Probe(look), "cuda", "fp32")
    patches = np.zeros((1, 4, 8, 8), np.float32)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: backend.run(patches, Margins()), range(16)))
    assert set(seen) == {(False, *before[1:])}
    assert flags() == before


def test_declouder_keeps_what_the_card_promises(toy_model: Path) -> None:
    card = get_card(str(toy_model))
    declouder = Declouder(card, opened(toy_model, "openvino"))
    assert "toy, openvino on cpu in fp32" in repr(declouder)
    with pytest.raises(SceneError, match="takes 4 bands"):
        declouder.predict(np.zeros((1, 3, 8, 8), np.float32))
    restored, _ = declouder.predict(np.full((1, 4, 8, 8), 40, np.float32))
    assert restored.max() <= card.value_range[1]


def test_a_scene_is_cleared_without_torch(tmp_path: Path) -> None:
    """Importing torch takes longer than a small scene."""
    if choose_backend(get_card("s2-10m"), "auto", "auto", "auto") != "openvino":
        pytest.skip("this machine has an accelerator, and torch is to use it")
    scene = write_raster(tmp_path / "scene.tif", textured_dn(4, 60, 70))
    code = (
        "import sys, geodecloud;"
        f"geodecloud.decloud_scene({str(scene)!r}, {str(tmp_path / 'out.tif')!r}, scale=1e-4);"
        "print('torch' in sys.modules, 'openvino' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
    with rasterio.open(tmp_path / "out.tif") as dst:
        assert dst.shape == (60, 70)


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_backends_agree_on_a_scene(backend: str, toy_model: Path, tmp_path: Path) -> None:
    import geodecloud

    dn = textured_dn(4, 101, 203)
    scene = write_raster(tmp_path / "scene.tif", dn)
    out = tmp_path / "out.tif"
    geodecloud.decloud_scene(
        scene, out, model=str(toy_model), mask="none", backend=backend, window=48
    )
    image = (dn / 10000).astype(np.float32)
    expected = np.clip(whole(toy_model, image)[0], -0.1, 1.6) * 10000
    with rasterio.open(out) as dst:
        np.testing.assert_allclose(dst.read(), np.clip(expected, 0, None), atol=0.51)


@pytest.mark.parametrize("shape_yx", [(97, 1703), (1703, 97)])
def test_chunks_for_the_backend_are_not_seen_in_the_result(
    shape_yx: tuple[int, int], toy_model: Path, tmp_path: Path
) -> None:
    """Four chunks in a row, strips at both edges of the scene: the whole image all the same."""
    import geodecloud

    dn = textured_dn(4, *shape_yx)
    scene = write_raster(tmp_path / "scene.tif", dn)
    out = tmp_path / "out.tif"
    geodecloud.decloud_scene(
        scene, out, model=str(toy_model), mask="none", backend="openvino", window=64
    )
    expected = np.clip(whole(toy_model, (dn / 10000).astype(np.float32))[0], -0.1, 1.6) * 10000
    with rasterio.open(out) as dst:
        np.testing.assert_allclose(dst.read(), np.clip(expected, 0, None), atol=0.51)
