from __future__ import annotations

import dataclasses
import itertools
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import BANDS, write_toy
from safetensors.torch import save_file

from geodecloud.backends import open_backend
from geodecloud.errors import WeightsError
from geodecloud.models.architecture import Architecture
from geodecloud.models.card import ModelCard
from geodecloud.models.catalogue import choose_model, get_card, shipped_cards
from geodecloud.models.spanet import SPANet
from geodecloud.models.weights import import_published, load_model, read_weights, tensor_hash

Loader = Callable[[Path], object]


@pytest.fixture(params=["load_model", "torch", "openvino"])
def load(request: pytest.FixtureRequest) -> Loader:
    """Every way to open weights: what one refuses, all do."""
    if request.param == "load_model":
        return load_model
    return lambda path: open_backend(get_card(path), str(path), device="cpu", backend=request.param)


def test_what_is_saved_is_loaded(toy_model: Path) -> None:
    model = load_model(toy_model)
    assert model.card.halo_px == model.network.reach_px == 40
    assert not model.network.training
    assert model.card == get_card(toy_model)
    assert ModelCard.from_json(model.card.to_json()) == model.card


def test_others_may_read_what_is_saved(tmp_path: Path) -> None:
    """As any new file, and nothing half-written is left beside it."""
    (tmp_path / "plain").touch()
    network = SPANet(4, 4, width=4)
    write_toy(tmp_path / "a.safetensors", network, {"width": 4}, BANDS)
    modes = {path.name: path.stat().st_mode for path in tmp_path.iterdir()}
    assert modes == dict.fromkeys(("plain", "a.safetensors"), modes["plain"])


def test_hash_sees_every_part() -> None:
    a = {"x": torch.arange(4.0), "y": torch.zeros(2)}
    assert tensor_hash(a) == tensor_hash({"y": torch.zeros(2), "x": torch.arange(4.0)})
    changed = [
        {"x": torch.arange(4.0) + 1e-6, "y": torch.zeros(2)},
        {"x": torch.arange(4.0).reshape(2, 2), "y": torch.zeros(2)},
        {"z": torch.arange(4.0), "y": torch.zeros(2)},
        {"x": torch.arange(4.0), "y": torch.zeros(2, dtype=torch.int32)},
    ]
    assert len({tensor_hash(t) for t in [a, *changed]}) == 5


def test_one_flipped_bit_is_noticed(load: Loader, toy_model: Path, tmp_path: Path) -> None:
    damaged = bytearray(toy_model.read_bytes())
    damaged[-5] ^= 1
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(damaged)
    with pytest.raises(WeightsError, match="is damaged"):
        load(path)


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_cut_off_file_is_refused(load: Loader, toy_model: Path, tmp_path: Path, keep: int) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes(toy_model.read_bytes()[:keep])
    with pytest.raises(WeightsError):
        load(path)


def test_foreign_tensors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "foreign.safetensors"
    save_file({"x": torch.zeros(3)}, str(path))
    for read in (load_model, get_card):
        with pytest.raises(WeightsError, match="no geodecloud model card"):
            read(path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "restormer"}, "of unknown kind 'restormer'"),
        ({"kind": "identity"}, "of unknown kind 'identity'"),
        ({"architecture": {"depth": 3}}, "cannot be built: its depth is unknown"),
        ({"architecture": {"passes": "one_step"}}, "passes='one_step' is unknown; use one of"),
        ({"architecture": {"output": "residual"}}, "output='residual' is unknown; use one of"),
        ({"architecture": {"width": 0}}, "width=0 is no number of channels"),
        ({"architecture": {"direction_weights": "no"}}, "direction_weights='no' is neither"),
        (
            {"architecture": {"direction_weights": False}},
            r"describes: unknown attention\.directions\.0",
        ),
        ({"architecture": {"width": 8}}, r"has \(4,\) instead of \(8,\)"),
        (
            {"channels": [{"name": "B02"}]},
            r"conv_in\.weight has \(4, 4, 3, 3\) instead of \(4, 1, 3, 3\)",
        ),
        ({"halo_px": 16}, "promises a halo of 16 px, but its network has a reach of 40 px"),
        ({"halo_px": None}, "promises a halo without limit, but its network has a reach"),
    ],
)
def test_a_card_that_is_not_its_networks_is_refused(
    fields: dict[str, object], message: str, load: Loader, toy_model: Path, tmp_path: Path
) -> None:
    """Hashes say nothing of the card: its network would run, and give another image."""
    card, tensors = read_weights(toy_model)
    changed = json.loads(card.to_json())
    changed |= fields | {"architecture": card.architecture | fields.get("architecture", {})}
    path = tmp_path / "other.safetensors"
    save_file(tensors, str(path), {"geodecloud": json.dumps(changed)})
    with pytest.raises(WeightsError, match=message):
        load(path)


def test_an_architecture_is_a_table(load: Loader, toy_model: Path, tmp_path: Path) -> None:
    card, tensors = read_weights(toy_model)
    fields = json.loads(card.to_json()) | {"architecture": "spanet"}
    path = tmp_path / "odd.safetensors"
    save_file(tensors, str(path), {"geodecloud": json.dumps(fields)})
    with pytest.raises(WeightsError, match="card cannot be read"):
        load(path)


@pytest.mark.parametrize("name", ["conv_in.weight", "exit.1.conv2.weight", "attention.conv1.bias"])
def test_a_lacking_tensor_is_named(
    name: str, load: Loader, toy_model: Path, tmp_path: Path
) -> None:
    card, tensors = read_weights(toy_model)
    del tensors[name]
    card = dataclasses.replace(card, sha256=tensor_hash(tensors))
    path = tmp_path / "partial.safetensors"
    save_file(tensors, str(path), {"geodecloud": card.to_json()})
    with pytest.raises(WeightsError, match=f"tensors its card describes: lacking {name}"):
        load(path)


@pytest.mark.parametrize(
    ("passes", "direction_weights", "output", "width", "channels"),
    list(
        itertools.product(
            ["one-step", "recurrent"], [False, True], ["image", "blend"], [1, 5], [1, 3]
        )
    ),
)
def test_architecture_is_the_networks(
    passes: str, direction_weights: bool, output: str, width: int, channels: int
) -> None:
    """Against the tensors and the reach of the network itself."""
    network = SPANet(channels, channels, width, passes, direction_weights, output)
    architecture = Architecture(width, passes, direction_weights, output)
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    assert architecture.shapes(channels) == shapes
    assert architecture.reach_px == network.reach_px


class Bomb:
    """Unpickling this writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_pickles_are_never_executed(tmp_path: Path) -> None:
    witness, bomb = tmp_path / "witness", tmp_path / "bomb.pth"
    bomb.write_bytes(pickle.dumps(Bomb(witness)))
    with pytest.raises(WeightsError):
        import_published(bomb, tmp_path / "out.safetensors", "bomb")
    torch.save({"x": Bomb(witness)}, bomb)
    with pytest.raises(WeightsError):
        import_published(bomb, tmp_path / "out.safetensors", "bomb")
    with pytest.raises(WeightsError, match="models import"):
        load_model(bomb)
    assert not witness.exists()


def test_other_checkpoint_is_not_taken_for_a_published_one(tmp_path: Path) -> None:
    torch.save({"layer.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="not a published SpA GAN"):
        import_published(tmp_path / "other.pth", tmp_path / "out.safetensors", "other")


def test_unknown_name_lists_the_shipped_ones() -> None:
    with pytest.raises(WeightsError, match=r"s2-10m.*identity"):
        load_model("s2-11m")


def test_shipped_models_are_small_and_carry_their_papers() -> None:
    from geodecloud.models.catalogue import SHIPPED

    cards = shipped_cards()
    assert "s2-10m" in cards
    for path in SHIPPED.glob("*.safetensors"):
        assert path.stat().st_size <= 2_800_000
        card = load_model(path).card
        assert card.name == path.stem
        assert card.has_cloud_map
        assert all(channel.wavelength_nm for channel in card.channels)
        assert card.training
        assert card.licence


def test_auto_chooses_by_band_names() -> None:
    choice = choose_model(["B08", "blue", "b3", "B4, central wavelength 665 nm", "QA"])
    assert choice.name == "s2-10m"
    assert "B02 B03 B04 B08" in choice.reason
    with pytest.raises(ValueError, match=r"s2-10m: B02 B03 B04 B08"):
        choose_model(["a", None, "c", "d"])
