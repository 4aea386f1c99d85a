"""The trainer against a plain reference, against itself after a kill, and on a tiny task."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import runpy
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from click.testing import CliRunner
from conftest import BANDS, textured_dn, write_raster
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from safetensors.torch import load_file
from torch.nn import functional as F

from geodecloud.cli.commands import main
from geodecloud.errors import OptionError, SceneError, WeightsError
from geodecloud.models.card import Channel, ModelCard
from geodecloud.models.discriminator import Discriminator
from geodecloud.models.spanet import SPANet
from geodecloud.models.weights import Model, load_model, save_weights
from geodecloud.training.buildings import add_buildings
from geodecloud.training.checkpoint import Run
from geodecloud.training.chips import Chip, draw_crop, read_chips
from geodecloud.training.config import Config
from geodecloud.training.dataset import PairCrops, SimulatedClouds
from geodecloud.training.grow import grow
from geodecloud.training.losses import UNKNOWN
from geodecloud.training.pairs import Pair, read_pairs
from geodecloud.training.sources import Sources, read_sources
from geodecloud.training.train import (
    make_fabric,
    schedule,
    start_run,
    train,
    train_step,
)

ROOT = Path(__file__).parents[2]

TINY = Config(
    error_scenes=0,  # measured in test_error_table.py
    width=4,
    steps=6,
    batch=2,
    crop_px=32,
    validate_every=2,
    precision="fp32",
    adversarial_from=2,
    loaders=0,
)


@pytest.fixture(autouse=True)
def few_choosing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The threshold of a tiny network is of no use, and choosing it took most of a run's time."""
    monkeypatch.setattr("geodecloud.training.sources._CHOOSING", 8)


@pytest.fixture
def clear_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "clear"
    folder.mkdir()
    rows = [("file", "sensor", "bands", "scale", "chip")]
    for seed, chip in [(0, ""), (1, "32")]:
        write_raster(folder / f"{seed}.tif", textured_dn(4, 64, 96, seed))
        rows.append((f"{seed}.tif", "MSI", " ".join(BANDS), "0.0001", chip))
    with (folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


def tiny_run(out: Path, **changes: object) -> tuple[Config, Run]:
    config = dataclasses.replace(TINY, **changes)
    return config, start_run(config, make_fabric(config, "cpu"), out)


#: Nothing is known of where shadows lie.
NO_SHADE = torch.zeros(2, 1, 4, 4)


def random_batch(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.rand(count, 4, 32, 32), torch.rand(count, 4, 32, 32), torch.rand(count, 1, 32, 32)


def test_step_equals_a_plain_reference(tmp_path: Path) -> None:
    """Loss values, gradients and new weights of a step, from the paper's formulas."""
    config, run = tiny_run(
        tmp_path,
        adversarial_from=0,
        channel_weights=(100.0, 50.0, 100.0, 25.0),
        attention_kind="mse",
    )
    twin_g, twin_d = SPANet(4, 4, width=4, output="blend"), Discriminator(4, 4)
    twin_g.load_state_dict(run.generator.state_dict())
    twin_d.load_state_dict(run.discriminator.state_dict())
    optimizers = [
        torch.optim.AdamW(n.parameters(), 1e-3, (0.5, 0.999), weight_decay=1e-5)
        for n in (twin_g, twin_d)
    ]
    cloudy, clear, target = random_batch(2)
    parts = train_step(run, config, (cloudy, clear, target, NO_SHADE), step=0)

    weights = torch.tensor([100.0, 50.0, 100.0, 25.0]).view(1, 4, 1, 1)
    restored, attention = twin_g(cloudy)
    l1 = (weights * (clear - restored).abs()).sum() / clear.numel()
    att = ((attention - target) ** 2).mean()
    adv = -torch.log(torch.sigmoid(twin_d(cloudy, restored))).mean()
    total = l1 + config.attention_weight * att + config.adversarial_weight * adv
    total.backward(inputs=list(twin_g.parameters()))
    real, fake = twin_d(cloudy, clear), twin_d(cloudy, restored.detach())
    loss_d = -torch.log(torch.sigmoid(real)).mean() - torch.log(1 - torch.sigmoid(fake)).mean()
    loss_d.backward()
    parts_by_hand = {"l1": l1, "attention": att, "adversarial": adv, "discriminator": loss_d}
    expected = {name: part.item() for name, part in parts_by_hand.items()}
    torch.nn.utils.clip_grad_norm_(twin_g.parameters(), 10.0)

    assert parts == pytest.approx(expected, rel=1e-4)
    both = [(run.generator, twin_g), (run.discriminator, twin_d)]
    for network, twin in both:
        for ours, theirs in zip(network.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-5, rtol=1e-3)
    for (network, twin), optimizer in zip(both, optimizers, strict=True):
        # Adam turns gradients of almost 0 into steps: the new weights are those of ours
        for ours, theirs in zip(network.parameters(), twin.parameters(), strict=True):
            theirs.grad = ours.grad
        optimizer.step()
    for network, twin in both:
        for ours, theirs in zip(network.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs)


def test_half_precision_scales_the_gradients_of_both_networks_alike(tmp_path: Path) -> None:
    """A scale that doubles with every step must not reach the discriminator's gradients of this one."""
    config = dataclasses.replace(TINY, adversarial_from=0)

    def half() -> Run:  # by its name Fabric gives fp16 to GPUs only
        fabric = Fabric(accelerator="cpu", plugins=MixedPrecision("16-mixed", "cpu"))
        return start_run(config, fabric, tmp_path)

    run = half()
    scaler = run.fabric.strategy.precision.scaler
    scaler.load_state_dict(scaler.state_dict() | {"scale": 8.0, "growth_interval": 1})
    twin_g, twin_d = SPANet(4, 4, width=4, output="blend"), Discriminator(4, 4)
    twin_g.load_state_dict(run.generator.state_dict())
    twin_d.load_state_dict(run.discriminator.state_dict())
    cloudy, clear, target = random_batch(2)
    train_step(run, config, (cloudy, clear, target, NO_SHADE), step=0)
    assert scaler.get_scale() == 16
    real, fake = twin_d(cloudy, clear), twin_d(cloudy, twin_g(cloudy)[0].detach())
    (F.softplus(-real).mean() + F.softplus(fake).mean()).backward()
    ours, theirs = (
        torch.cat([p.grad.flatten() for p in network.parameters()])
        for network in (run.discriminator, twin_d)
    )
    assert (ours.norm() / theirs.norm()).item() == pytest.approx(1, abs=0.05)

    # and a run that goes on scales as it did
    run.write_checkpoint(config, 1, 0.0)
    next_run = half()
    next_run.resume(config)
    assert next_run.fabric.strategy.precision.scaler.state_dict() == scaler.state_dict()


def train_until(
    step: int, config: Config, sources: Sources, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Train, and be killed at the beginning of a step."""

    def killed(now: int, steps: int) -> float:
        if now == step:
            raise KeyboardInterrupt
        return schedule(now, steps)

    with monkeypatch.context() as patch:
        patch.setattr("geodecloud.training.train.schedule", killed)
        with pytest.raises(KeyboardInterrupt):
            train(config, sources, out, "cpu")


def test_killed_and_resumed_equals_uninterrupted(
    clear_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(TINY, steps=4)
    sources = read_sources(config, clear_folder, None, None)
    train(config, sources, tmp_path / "whole", "cpu")

    train_until(3, config, sources, tmp_path / "parts", monkeypatch)
    train(config, sources, tmp_path / "parts", "cpu")
    whole, parts = (load_file(tmp_path / run / "s2-10m.safetensors") for run in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    with pytest.raises(OptionError, match="another config"):
        train(dataclasses.replace(config, seed=9), sources, tmp_path / "parts", "cpu")


def test_the_mean_of_two_steps_is_that_of_their_weights(clear_folder: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(TINY, keep_last=True)
    sources = read_sources(config, clear_folder, None, None)
    train(config, sources, tmp_path / "last", "cpu")
    train(dataclasses.replace(config, mean_of_steps=(2, 6)), sources, tmp_path / "mean", "cpu")
    early, late, mean = (
        load_file(tmp_path / "mean" / name)
        for name in ("step_2.safetensors", "step_6.safetensors", "s2-10m.safetensors")
    )
    last = load_file(tmp_path / "last/s2-10m.safetensors")
    assert all(torch.equal(late[name], last[name]) for name in last)
    assert any(not torch.equal(early[name], late[name]) for name in late)
    for name in mean:
        np.testing.assert_allclose(mean[name], (early[name] + late[name]) / 2, atol=1e-7)


def test_the_mean_with_another_model_is_that_of_the_shared_weights(
    clear_folder: Path, tmp_path: Path
) -> None:
    config = dataclasses.replace(TINY, keep_last=True)
    sources = read_sources(config, clear_folder, None, None)
    train(dataclasses.replace(config, seed=7), sources, tmp_path / "other", "cpu")
    train(config, sources, tmp_path / "alone", "cpu")
    other = tmp_path / "other/s2-10m.safetensors"
    mixed = dataclasses.replace(config, mean_with=str(other))
    train(mixed, sources, tmp_path / "mixed", "cpu")
    first, second, mean = (
        load_file(path)
        for path in (
            other,
            tmp_path / "alone/s2-10m.safetensors",
            tmp_path / "mixed/s2-10m.safetensors",
        )
    )
    for name in mean:
        expected = (first[name].numpy() + second[name].numpy()) / 2
        np.testing.assert_allclose(mean[name].numpy(), expected, atol=1e-6)


def test_a_run_that_is_done_stays_as_it_is(clear_folder: Path, tmp_path: Path) -> None:
    """Also when its result has been shipped under the name of the model it was mixed with."""
    config = dataclasses.replace(TINY, keep_last=True, steps=2)
    sources = read_sources(config, clear_folder, None, None)
    train(dataclasses.replace(config, seed=7), sources, tmp_path / "other", "cpu")
    other, shipped = tmp_path / "other/s2-10m.safetensors", tmp_path / "shipped.safetensors"
    shutil.copy(other, shipped)
    mixed = dataclasses.replace(config, mean_with=str(shipped))
    card = train(mixed, sources, tmp_path / "mixed", "cpu")
    result = tmp_path / "mixed/s2-10m.safetensors"
    before = result.read_bytes()
    shutil.copy(result, shipped)
    assert train(mixed, sources, tmp_path / "mixed", "cpu") == card
    assert result.read_bytes() == before
    # made anew it is the same mean: the model it was mixed with has been kept
    result.unlink()
    train(mixed, sources, tmp_path / "mixed", "cpu")
    assert result.read_bytes() == before
    # what another run has left in the folder counts for nothing
    (tmp_path / "mixed/checkpoint.safetensors").unlink()
    train(mixed, sources, tmp_path / "mixed", "cpu")
    assert result.read_bytes() != before


def test_a_model_may_change_while_a_run_goes_on(
    clear_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run ends in the mean with the model as it was when the run began."""
    config = dataclasses.replace(TINY, keep_last=True, steps=2)
    sources = read_sources(config, clear_folder, None, None)
    models = [tmp_path / f"{seed}/s2-10m.safetensors" for seed in (7, 8)]
    for seed in (7, 8):
        train(dataclasses.replace(config, seed=seed), sources, tmp_path / str(seed), "cpu")
    name = "conv_in.weight"
    first = load_file(models[0])[name].clone()  # what is loaded changes with its file

    def replaced(now: int, steps: int) -> float:
        shutil.copy(models[1], models[0])
        return schedule(now, steps)

    monkeypatch.setattr("geodecloud.training.train.schedule", replaced)
    mixed = dataclasses.replace(config, mean_with=str(models[0]))
    train(mixed, sources, tmp_path / "mixed", "cpu")
    own, mean = (
        load_file(tmp_path / "mixed" / f) for f in ("best.safetensors", "s2-10m.safetensors")
    )
    torch.testing.assert_close(mean[name], (own[name] + first) / 2)


def test_the_best_step_is_kept_also_over_a_kill(
    clear_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The selecting pairs say 1, 3 and 2 dB: the second of three is what remains."""
    pairs = pairs_folder(tmp_path / "pairs", 1)
    config = dataclasses.replace(
        TINY, mean_of_steps=(2, 4, 6)
    )  # so that all three are written down
    sources = read_sources(config, clear_folder, None, pairs)
    gains = iter([1.0, 3.0, 2.0])
    monkeypatch.setattr(
        "geodecloud.training.train.validate", lambda *_: (next(gains), [sources.selecting[0].clear])
    )

    train_until(4, config, sources, tmp_path / "run", monkeypatch)
    train(config, sources, tmp_path / "run", "cpu")
    best, *steps = (
        load_file(tmp_path / f"run/{name}.safetensors")
        for name in ("best", "step_2", "step_4", "step_6")
    )
    same = [all(torch.equal(best[name], step[name]) for name in best) for step in steps]
    assert same == [False, True, False]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mean_with": "s2_al"}, "no model is called 's2_al'"),
        ({"mean_with": "s2-10m"}, "another kind of network"),
        ({"veil_pictures": 9, "bands": BANDS[:3]}, "veil_pictures needs clear imagery"),
    ],
)
def test_what_cannot_be_finished_is_not_begun(
    changes: dict[str, object], message: str, tmp_path: Path
) -> None:
    config = dataclasses.replace(TINY, **changes)
    sources = read_sources(config, None, pairs_folder(tmp_path / "pairs", 1), None)
    with pytest.raises((OptionError, WeightsError), match=message):
        train(config, sources, tmp_path / "run", "cpu")
    assert not (tmp_path / "run/log.jsonl").exists()


def test_a_model_for_pictures_learns_to_see_veils_too(
    clear_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geodecloud.training.veil._STEPS", 3)
    path = ROOT / "examples/train_rgb.toml"
    small = {
        "width": 4,
        "steps": 1,
        "batch": 1,
        "loaders": 0,
        "composites": (),
        "crop_px": 32,
        "veil_pictures": 4,
    }
    small |= {"veil_from": "", "init_from": ""}
    config = dataclasses.replace(Config.read(path), **small)
    sources = read_sources(config, clear_folder, None, None)
    card = train(config, sources, tmp_path, "cpu")
    assert (card.kind, card.lifts_veil, card.halo_px) == ("spanet", True, 36)
    assert (card.picture_gamma, card.picture_white) == (2.0, 0.6)
    seen, _ = load_model(tmp_path / "rgb.safetensors").network(torch.rand(1, 3, 8, 8))
    assert seen.shape == (1, 3, 8, 8)
    # a run that goes on from it may take its eye for veils over as it is
    taken = {"veil_pictures": 0, "veil_from": str(tmp_path / "rgb.safetensors")}
    card = train(dataclasses.replace(config, **taken), sources, tmp_path / "next", "cpu")
    first, second = (
        {k: v for k, v in load_file(folder / "rgb.safetensors").items() if k.startswith("veil.")}
        for folder in (tmp_path, tmp_path / "next")
    )
    assert card.lifts_veil
    assert len(first) == 30
    assert all(torch.equal(first[name], second[name]) for name in first | second)
    wrong = dataclasses.replace(config, veil_pictures=0, veil_from="s2-10m")
    with pytest.raises(OptionError, match="model s2-10m lifts no veil"):
        train(wrong, sources, tmp_path / "wrong", "cpu")


def pairs_folder(folder: Path, count: int, side: int = 32) -> Path:
    """Small pairs: textured ground, and the same with half of its light lost in shadow."""
    folder.mkdir()
    half = np.full((1, side, side), 0.5, np.float32)
    for seed in range(count):
        clear = textured_dn(4, side, side, seed)
        write_raster(folder / f"{seed}_clear.tif", clear)
        write_raster(folder / f"{seed}_cloudy.tif", clear // 2)
        write_raster(folder / f"{seed}_opacity.tif", 0 * half)
        write_raster(folder / f"{seed}_shadow.tif", half)
    return folder


def test_eight_small_pairs_are_learnt_by_heart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What learns nothing, or the wrong thing, cannot reach 40 dB."""
    folder = pairs_folder(tmp_path / "pairs", 8, side=24)
    config = dataclasses.replace(
        TINY,
        width=8,
        steps=350,
        crop_px=24,
        learning_rate=1e-2,
        adversarial_weight=0.0,
        validate_every=350,
    )
    monkeypatch.setattr("geodecloud.training.train._EMA", 0.9)
    train(config, read_sources(config, None, folder, None), tmp_path / "run", "cpu")
    network = load_model(tmp_path / "run/s2-10m.safetensors").network
    with torch.no_grad():
        errors = [
            F.mse_loss(
                network(torch.from_numpy(pair.cloudy)[None])[0][0], torch.from_numpy(pair.clear)
            )
            for pair in read_pairs(folder, BANDS)
        ]
    assert -10 * torch.log10(torch.stack(errors).mean()) > 40


def test_crops_of_pairs_are_theirs(tmp_path: Path) -> None:
    """Cloud and clear are cut and turned alike; without a truth the mask is the paper's."""
    folder = pairs_folder(tmp_path / "pairs", 2, side=48)
    with_truth = read_pairs(folder, BANDS)
    bare = [Pair(p.name, p.cloudy, p.clear, p.bands) for p in with_truth]
    for pairs in (with_truth, bare):
        examples = PairCrops(pairs, 32, seed=1, length=6)
        for cloudy, clear, attention, _ in (examples[i] for i in range(6)):
            difference = (cloudy - clear).abs()
            expected = difference.amax(dim=0)
            if pairs is with_truth:
                expected = torch.full((32, 32), 0.5)
            torch.testing.assert_close(attention[0], expected)
            torch.testing.assert_close(cloudy, clear / 2, atol=1e-4, rtol=0)


def test_what_imitates_the_difference_of_two_dates_is_no_cloud_map(tmp_path: Path) -> None:
    """Without a true opacity the attention learns the paper's mask; the card must not promise more."""
    folder, config = (
        pairs_folder(tmp_path / "pairs", 2, side=48),
        dataclasses.replace(TINY, steps=1),
    )
    for promised in (True, False):
        card = train(
            config, read_sources(config, None, folder, None), tmp_path / str(promised), "cpu"
        )
        assert card.has_cloud_map is promised
        for truth in folder.glob("*_opacity.tif"):
            truth.unlink()


def test_pairs_held_out_choose_the_threshold_of_what_was_learnt_from_the_others(
    tmp_path: Path,
) -> None:
    """Then the attention is a mask; of what it restores nothing counts as seen through cloud."""
    folder = pairs_folder(tmp_path / "pairs", 3, side=48)
    for truth in [*folder.glob("*_opacity.tif"), *folder.glob("*_shadow.tif")]:
        truth.unlink()
    first, *others = read_pairs(folder, BANDS)
    config = dataclasses.replace(TINY, steps=1, select_pairs=(first.name,))
    sources = read_sources(config, None, folder, None)
    assert [pair.name for pair in sources.selecting] == [first.name]
    assert isinstance(sources.examples, PairCrops)
    assert [pair.name for pair in sources.examples.pairs] == [pair.name for pair in others]
    card = train(config, sources, tmp_path / "out", "cpu")
    assert card.has_cloud_map
    assert card.opaque_threshold == card.cloud_threshold


def test_real_pairs_are_learnt_beside_simulated_clouds(clear_folder: Path, tmp_path: Path) -> None:
    """As often as asked for; what is learnt selects nothing."""
    folder = pairs_folder(tmp_path / "pairs", 3, side=48)
    for truth in [*folder.glob("*_opacity.tif"), *folder.glob("*_shadow.tif")]:
        truth.unlink()
    names = sorted(pair.name for pair in read_pairs(folder, BANDS))
    config = dataclasses.replace(TINY, steps=200, learn_pairs=tuple(names[:2]), learn_share=0.3)
    sources = read_sources(config, clear_folder, None, folder)
    assert [pair.name for pair in sources.selecting] == names[2:]
    examples = [sources.examples[i] for i in range(400)]
    # the cloudy date of these pairs is half as bright, and darker ground may be anything
    real = [bool((attention == UNKNOWN).any()) for _, _, attention, _ in examples]
    assert 0.2 < np.mean(real) < 0.4
    for (cloudy, clear, attention, _), is_real in zip(examples, real, strict=True):
        if is_real:
            torch.testing.assert_close(cloudy, clear / 2, atol=1e-4, rtol=0)
        else:
            assert attention.min() >= 0
    torch.testing.assert_close(sources.examples[7], examples[7])

    with pytest.raises(OptionError, match="learn_pairs names 'nowhere', and the pairs are"):
        read_sources(
            dataclasses.replace(config, learn_pairs=("nowhere",)), clear_folder, None, folder
        )
    both = tmp_path / "both.toml"
    both.write_text('learn_pairs = ["a"]\nselect_pairs = ["b", "a"]\n')
    with pytest.raises(OptionError, match=r"\['a'\] are in learn_pairs and in select_pairs"):
        Config.read(both)


def test_train_from_the_command_line(clear_folder: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(
        'steps = 2\nwidth = 4\nbatch = 1\ncrop_px = 32\nprecision = "fp32"\nloaders = 0\n'
    )
    out = tmp_path / "run"
    words = ["train", str(config), "--clear", str(clear_folder), "--out", str(out), "-q"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    assert load_model(out / "s2-10m.safetensors").card.halo_px == 36
    assert json.loads((out / "log.jsonl").read_text().splitlines()[-1])["step"] == 2
    assert list((out / "curves").glob("events.*"))
    config.write_text("stepps = 2\n")
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2
    assert "unknown option 'stepps'; did you mean 'steps'?" in result.stderr


def test_several_devices_say_their_result_once(clear_folder: Path, tmp_path: Path) -> None:
    """Two processes, as Lightning Fabric starts them."""
    config, out = tmp_path / "config.toml", tmp_path / "run"
    config.write_text(
        'steps = 1\nwidth = 4\nbatch = 1\ncrop_px = 32\nprecision = "fp32"\nloaders = 0\n'
    )
    words = ["train", config, "--clear", clear_folder, "--out", out, "-q"]
    words += ["--devices", "2", "--accelerator", "cpu"]
    done = subprocess.run(
        [sys.executable, "-m", "geodecloud", *words], capture_output=True, check=True, text=True
    )
    assert done.stdout.split() == [str(out / "s2-10m.safetensors")]


CHANNELS = tuple(Channel(band) for band in BANDS)


@pytest.mark.parametrize("bands", [("B08", "B11", "B02"), ("B02", "B03", "B04", "B08", "B12")])
def test_a_grown_network_begins_as_the_model_it_comes_from(
    bands: tuple[str, ...], toy_model: Path
) -> None:
    """Bands both know are read as before; new ones do not matter until they are trained."""
    old = load_model(toy_model)
    new = SPANet(len(bands), len(bands), **old.card.architecture)
    grow(new, bands, old)
    both = [band for band in BANDS if band in bands]
    image = torch.rand(1, 4, 20, 30)
    image[:, [i for i, band in enumerate(BANDS) if band not in both]] = 0
    wider = torch.rand(1, len(bands), 20, 30)
    wider[:, [bands.index(band) for band in both]] = image[:, [BANDS.index(b) for b in both]]
    with torch.no_grad():
        (ours, seen), (theirs, known) = new(wider), old.network(image)
    torch.testing.assert_close(seen, known)
    for band in both:
        torch.testing.assert_close(ours[:, bands.index(band)], theirs[:, BANDS.index(band)])


@pytest.mark.parametrize("shade", [False, True])
def test_a_grown_network_on_blocks_begins_as_the_model_it_comes_from(shade: bool) -> None:
    """Planes of blocks and of the prior go with their bands; new bands do not matter, and follow the nearest."""
    torch.manual_seed(0)
    old = SPANet(4, 4, width=4, output="blend", blocks=2, prior=True)
    torch.nn.init.normal_(old.conv_out.weight, std=0.1)
    card = ModelCard(
        name="old", summary="", architecture=dataclasses.asdict(old.architecture), channels=CHANNELS
    )
    bands = ("B08", "B02", "B11", "B03", "B04")
    new = SPANet(5, 5, width=4, output="blend", blocks=2, prior=True, shade=shade)
    grow(new, bands, Model(card, old, "old"))
    there = [bands.index(band) for band in BANDS]
    image, prior = torch.rand(2, 4, 12, 18), torch.rand(2, 5, 6, 9)
    wider, grown_prior = torch.rand(2, 5, 12, 18), torch.rand(2, 6 + shade, 6, 9)
    wider[:, there], grown_prior[:, [*there, 5]] = image, prior
    with torch.no_grad():
        (ours, seen), (theirs, known) = new(wider, grown_prior), old(image, prior)
    torch.testing.assert_close(seen, known)
    torch.testing.assert_close(ours[:, there], theirs)
    # B11 is told to change as B08 is, which is the nearest in wavelength
    heads = new.architecture.heads(5)
    change = new.conv_out.weight[: heads[0]]
    torch.testing.assert_close(change[2], change[0])


def test_a_model_cut_to_some_bands_gives_what_it_gives_where_the_others_lack(
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    bands = ("B11", "B02", "B08", "B03", "B04")
    whole = SPANet(5, 5, width=4, output="blend", blocks=2, prior=True)
    torch.nn.init.normal_(whole.conv_out.weight, std=0.1)
    card = ModelCard(
        name="whole",
        summary="",
        architecture=dataclasses.asdict(whole.architecture),
        channels=tuple(Channel(band) for band in bands),
        optional=("B11",),
        halo_px=whole.reach_px,
        cloud_threshold=0.3,
    )
    save_weights(whole, card, tmp_path / "whole.safetensors")
    cut_bands = runpy.run_path(str(ROOT / "tools" / "cut_bands.py"))["cut_bands"]
    cut_bands(tmp_path / "whole.safetensors", BANDS, tmp_path / "part.safetensors")
    part = load_model(tmp_path / "part.safetensors")
    assert (part.card.name, part.card.needed) == ("part", BANDS)
    assert part.card.cloud_threshold == 0.3
    there = [bands.index(band) for band in BANDS]
    image, prior = torch.zeros(1, 5, 12, 18), torch.zeros(1, 6, 6, 9)
    image[:, there], prior[:, [*there, 5]] = torch.rand(1, 4, 12, 18), torch.rand(1, 5, 6, 9)
    with torch.no_grad():
        theirs, known = whole.eval()(image, prior)
        ours, seen = part.network(image[:, there], prior[:, [*there, 5]])
    torch.testing.assert_close(seen, known)
    torch.testing.assert_close(ours, theirs[:, there])


def test_a_model_of_another_kind_is_no_start(toy_model: Path) -> None:
    with pytest.raises(OptionError, match="toy is another kind of network"):
        grow(SPANet(4, 4, width=8, output="blend"), BANDS, load_model(toy_model))
    # the tensors of these have the same names and shapes
    recurrent = SPANet(4, 4, **load_model(toy_model).card.architecture | {"passes": "recurrent"})
    with pytest.raises(OptionError, match="passes of model toy are one-step, this one's recurrent"):
        grow(recurrent, BANDS, load_model(toy_model))
    with pytest.raises(OptionError, match="identity has no weights"):
        grow(SPANet(4, 4, width=4), BANDS, load_model("identity"))


def test_pairs_that_are_named_must_be_there(clear_folder: Path, tmp_path: Path) -> None:
    folder = pairs_folder(tmp_path / "pairs", 2)
    for option in ("select_pairs", "texture_pairs", "learn_pairs"):
        config = dataclasses.replace(TINY, **{option: ("nope",)})
        with pytest.raises(OptionError, match=f"{option} names 'nope', and the pairs are 0, 1"):
            read_sources(config, clear_folder, None, folder)
    with pytest.raises(OptionError, match="select_pairs names 'nope'"):
        read_sources(dataclasses.replace(TINY, select_pairs=("nope",)), None, folder, None)
    with pytest.raises(OptionError, match="holds out all 2 pairs"):
        read_sources(dataclasses.replace(TINY, select_pairs=("0", "1")), None, folder, None)
    held = read_sources(dataclasses.replace(TINY, select_pairs=("0",)), None, folder, folder)
    assert isinstance(held.examples, PairCrops)
    assert [pair.name for pair in held.examples.pairs] == ["1"]
    assert [pair.name for pair in held.selecting] == ["0"]


def test_gaps_of_pairs_teach_nothing(tmp_path: Path) -> None:
    clear = textured_dn(4, 40, 40, nodata=0)
    clear[2, 5:9, :] = 0  # one band is enough
    write_raster(tmp_path / "a_cloudy.tif", clear // 2, nodata=0)
    write_raster(tmp_path / "a_clear.tif", clear, nodata=0)
    (pair,) = read_pairs(tmp_path, BANDS)
    np.testing.assert_array_equal(pair.valid, ((clear > 0) & (clear // 2 > 0)).all(axis=0))
    cloudy, truth, attention, _ = PairCrops([pair], 40, seed=1, length=1)[0]
    assert (attention == UNKNOWN).sum() == (~pair.valid).sum()
    assert (cloudy[:, attention[0] == UNKNOWN] == 0).all()
    assert (truth[:, attention[0] == UNKNOWN] == 0).all()


def test_imagery_full_of_gaps_ends_in_a_message(tmp_path: Path) -> None:
    dn = textured_dn(4, 64, 64)
    dn[:, ::7, ::7] = 9999
    write_raster(tmp_path / "a.tif", dn, nodata=9999)
    (tmp_path / "manifest.csv").write_text(
        f"file,sensor,bands,scale,chip\na.tif,MSI,{' '.join(BANDS)},0.0001,\n"
    )
    chips = read_chips(tmp_path, BANDS)
    assert (chips[0].image[:, ::7, ::7] == 0).all()
    with pytest.raises(SceneError, match=r"1000 crops of 48 px .* nodata \(a.tif\)"):
        draw_crop(chips, 48, [492, 560, 665, 833], np.random.default_rng(0))


def test_what_is_drawn_is_the_same_in_every_process() -> None:
    """Strings hash differently in each; a run that is resumed is another process."""
    program = """
import hashlib, numpy as np
from geodecloud.training.chips import Chip
from geodecloud.training.config import Config
from geodecloud.training.dataset import SimulatedClouds
bands = ("B02", "B03", "B04", "B05", "B06", "B07", "B8A", "B11", "B12")
chips = [Chip(np.random.default_rng(0).random((9, 40, 40), np.float32), "here")]
config = Config(bands=bands, optional_bands=bands[3:], drop_share=1.0, crop_px=32)
examples = SimulatedClouds(chips, [], config, 4)
print(hashlib.sha256(b"".join(examples.draw(i).cloudy.tobytes() for i in range(4))).hexdigest())
"""
    said = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(said) == 1


def test_a_scene_is_left_with_one_of_the_subsets_of_bands() -> None:
    bands = ("B02", "B03", "B04", "B08", "B11")
    chips = [
        Chip(np.random.default_rng(0).uniform(0.1, 0.9, (5, 40, 40)).astype(np.float32), "here")
    ]
    config = Config(
        bands=bands,
        optional_bands=("B08", "B11"),
        subsets=(bands[:4], bands[:3]),
        subset_share=0.7,
        crop_px=32,
    )
    examples = SimulatedClouds(chips, [], config, 200)
    left = [tuple(examples.draw(i).clear.any(axis=(1, 2)).tolist()) for i in range(200)]
    counts = {kind: left.count(kind) for kind in set(left)}
    assert set(counts) == {(True,) * 5, (True,) * 4 + (False,), (True,) * 3 + (False,) * 2}
    # seven of ten, half of them each: 200 draws lie within four standard deviations
    assert 43 < counts[(True,) * 4 + (False,)] < 97
    assert 35 < counts[(True,) * 5] < 86


def test_absent_bands_are_planes_of_zeros_and_offsets_are_taken_off(clear_folder: Path) -> None:
    chips = read_chips(
        clear_folder, ["B02", "B11"], optional=["B11"], dn_offsets={"0.tif": -1000.0}
    )
    with rasterio.open(clear_folder / "0.tif") as src:
        expected = (src.read(1).astype(float) - 1000) * 1e-4
    np.testing.assert_allclose(chips[0].image[0], expected, atol=1e-6)
    assert not any(chip.image[1].any() for chip in chips)
    crop = draw_crop(chips, 32, [492.0, 1614.0], np.random.default_rng(0))
    assert crop[0].any()
    assert not crop[1].any()


def test_numbers_that_are_none_in_a_file_teach_nothing(tmp_path: Path) -> None:
    """NaN and infinity are gaps of clear imagery and of pairs: no batch holds one."""
    dn = textured_dn(4, 40, 40) * np.float32(1e-4)
    dn[1, 3, 4], dn[2, 5, 6], dn[3, 7, 8] = np.nan, np.inf, -np.inf
    for name in ("a_cloudy.tif", "a_clear.tif"):
        write_raster(tmp_path / name, dn)
    (tmp_path / "manifest.csv").write_text(
        f"file,sensor,bands,scale,chip\na_clear.tif,MSI,{' '.join(BANDS)},1,\n"
    )
    (chip,), (pair,) = read_chips(tmp_path, BANDS), read_pairs(tmp_path, BANDS)
    np.testing.assert_array_equal(chip.image, np.where(np.isfinite(dn), dn, 0))
    np.testing.assert_array_equal(pair.valid, np.isfinite(dn).all(axis=0))
    assert np.isfinite(pair.clear).all()


def test_a_loss_that_is_not_finite_ends_in_a_clear_message(tmp_path: Path) -> None:
    config, run = tiny_run(tmp_path)
    before = [p.clone() for p in run.generator.parameters()]
    cloudy, clear, target = random_batch(2)
    clear[1, 2, 3, 4] = np.nan
    with pytest.raises(
        OptionError, match=r"the loss is not finite at step 3 .* lower learning_rate"
    ):
        train_step(run, config, (cloudy, clear, target, NO_SHADE), 3)
    assert all(map(torch.equal, before, run.generator.parameters()))


def test_folders_and_configs_that_cannot_be_trained_on_are_refused(
    clear_folder: Path, tmp_path: Path
) -> None:
    folder = pairs_folder(tmp_path / "pairs", 1, side=40)
    with pytest.raises(SceneError, match="40 x 40 px, smaller than a crop of 64 px"):
        read_sources(dataclasses.replace(TINY, crop_px=64), None, folder, None)
    for clear, pairs in ((None, None), (clear_folder, folder)):
        with pytest.raises(OptionError, match="one thing to train on"):
            read_sources(TINY, clear, pairs, None)
    for text, message in [
        ('bands = ["B02"]\nchannel_weights = [1, 2]\n', "2 channel_weights for 1 bands"),
        ("crop_px = 16\n", "patches of 16 px"),
        (
            'skies = ["fog=1"]\n',
            r"skies names \['fog'\]; known: clear, veil, cirrus, cumulus, deck",
        ),
        (
            'subsets = [["B02", "B99"]]\n',
            r"subsets has \['B02 B99'\]; each names bands of the model, those it needs .*: B02 B03 B04 B08",
        ),
        ('skies = ["deck=0.5"]\n', "the shares of skies are {'deck': 0.5}; .* and their sum 1"),
        ('skies = ["deck=2", "clear=-1"]\n', "each is from 0 to 1"),
        (
            'bands = ["B02", "B03", "B04"]\nveil_pictures = 9\nveil_from = "rgb"\n',
            "veil_pictures = 9 learns to see veils",
        ),
        ("mean_of_steps = [300]\n", r"names \[300\]; weights are kept every validate_every = 250"),
        ("mean_of_steps = [0]\n", r"names \[0\]"),
        ('passes = "one_step"\n', "passes = 'one_step': .* 'one-step' or 'recurrent'"),
        ('output = "Blend"\n', "'image' or 'blend'"),
        ('attention_kind = "MSE"\n', "'mse' or 'bce'"),
        ('precision = "int8"\n', "precision = 'int8': .* 'fp32', 'bf16' or 'fp16'"),
        ('steps = "100"\n', "steps = '100': Input should be a valid integer"),
        ("steps = true\n", "steps = True: Input should be a valid integer"),
        ("steps = 0\n", "steps = 0: Input should be greater than or equal to 1"),
        ("learning_rate = nan\n", "learning_rate = nan: Input should be a finite number"),
        ("learning_rate = 0\n", "learning_rate = 0: Input should be greater than 0"),
        ("attention_weight = inf\n", "attention_weight = inf: Input should be a finite number"),
        ("loaders = -1\n", "loaders = -1: Input should be greater than or equal to 0"),
        ("drop_share = 7\n", "drop_share = 7: Input should be less than or equal to 1"),
        ("picture_gamma = 0\n", "picture_gamma = 0: Input should be greater than 0"),
        ("channel_weights = [1, 1, -1, 1]\n", r"channel_weights.2 = -1: .* greater than or equal"),
        ('dn_offsets = ["a.tif=nan"]\n', "dn_offsets.a.tif = nan: Input should be a finite number"),
        ('dn_offsets = ["a.tif"]\n', r"dn_offsets = \('a.tif',\): .* not convert .* 'a.tif'"),
        ('skies = ["deck=abc"]\n', "skies = .* not convert string to float: 'abc'"),
        ('bands = "B02"\n', "bands = 'B02': Input should be a valid list"),
        ('composites = ["B02"]\n', "composites.0 = 'B02': Input should be a valid list"),
        ("display_share = 0.5\n", "pictures have 3 bands, and the config 4"),
        ('veil_from = "rgb"\n', "pictures have 3 bands, and the config 4"),
        ("ema = 0.5\n", "unknown option 'ema'; known: adversarial_from, "),
    ]:
        path = tmp_path / "config.toml"
        path.write_text(text)
        with pytest.raises(OptionError, match=message):
            Config.read(path)
    path.write_text("steps = 300\nmean_of_steps = [250, 300]\n")
    assert Config.read(path).mean_of_steps == (250, 300)  # the last step is kept, too


@pytest.mark.parametrize(
    "path",
    sorted(p for folder in ("examples", "benchmarks") for p in (ROOT / folder).rglob("*.toml")),
    ids=lambda path: path.stem,
)
def test_recipes_load(path: Path) -> None:
    config, text = Config.read(path), tomllib.loads(path.read_text())
    assert config.steps == text["steps"]
    assert config.dn_offsets == {
        word.split("=")[0]: float(word.split("=")[1]) for word in text.get("dn_offsets", [])
    }


def test_empty_folder_and_missing_bands_are_refused(clear_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=r"no manifest\.csv"):
        read_chips(tmp_path, BANDS)
    with pytest.raises(SceneError, match="B11"):
        read_chips(clear_folder, ["B02", "B11"])
    with pytest.raises(OptionError, match="cannot read"):
        Config.read(tmp_path / "gone.toml")


def test_a_settlement_is_built_on_ground_alone() -> None:
    """Not on nodata, in no absent channel, and not where vapour hides the ground (B10)."""
    wavelengths = [492, 665, 865, 945, 1374, 1614]
    ground = np.full((6, 96, 120), 0.1, np.float32)
    ground[3], ground[4], ground[5] = 0.04, 0.002, 0
    ground[:, :, 50:] = 0
    built = np.zeros((96, 120))
    for seed in range(20):
        seen = add_buildings(ground, wavelengths, np.random.default_rng(seed))
        assert seen.dtype == np.float32
        assert np.array_equal(seen[4:], ground[4:])
        assert not seen[:, :, 50:].any()
        changed = (seen != ground).any(axis=0)
        built += changed
        bright = seen[2] > 0.3  # vapour takes from roofs what it takes from the ground
        if bright.any():
            assert np.median(seen[3][bright] / seen[2][bright]) == pytest.approx(0.4, abs=0.1)
    assert 0.02 < built[:, :50].mean() / 20 < 0.6


def test_crops_never_cross_cells(clear_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every cell of the second file gets its own constant; a crop holds one of them only."""
    path = clear_folder / "1.tif"
    with rasterio.open(path, "r+") as dst:
        cells = np.kron(np.arange(1, 7).reshape(2, 3), np.ones((32, 32))) * 1000
        dst.write(np.repeat(cells[None], 4, axis=0).astype(np.uint16))
    chips = [chip for chip in read_chips(clear_folder, BANDS) if chip.place == "1.tif"]
    assert len(chips) == 6
    monkeypatch.setattr("geodecloud.training.chips._SETTLED", 0)
    for seed in range(20):
        crop = draw_crop(chips, 48, [490, 560, 665, 842], np.random.default_rng(seed))
        assert crop.shape == (4, 48, 48)
        assert np.ptp(crop, axis=(1, 2)).max() < 1e-6
