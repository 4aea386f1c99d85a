"""The trainer against a plain reference, against itself after a kill, and on a tiny task."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from click.testing import CliRunner
from conftest import BANDS, textured_dn, write_raster
from safetensors.torch import load_file
from torch.nn import functional as F

from geodecloud.cli import main
from geodecloud.errors import OptionError, SceneError
from geodecloud.models.discriminator import Discriminator
from geodecloud.models.spanet import SPANet
from geodecloud.models.weights import load_model
from geodecloud.training.chips import draw_crop, read_chips
from geodecloud.training.train import Config, Run, grow, schedule, train, train_step

TINY = Config(
    width=4,
    steps=6,
    batch=2,
    crop_px=32,
    validate_every=2,
    precision="fp32",
    adversarial_from=2,
    loaders=0,
)


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


def test_step_equals_a_plain_reference() -> None:
    """Loss values and updated weights of one step, recomputed from the paper's formulas."""
    torch.manual_seed(0)
    config = dataclasses.replace(
        TINY, adversarial_from=0, channel_weights=(100.0, 50.0, 100.0, 25.0), attention_kind="mse"
    )
    generator, discriminator = SPANet(4, 4, width=4, output="blend"), Discriminator(4, 4)
    twin_g, twin_d = SPANet(4, 4, width=4, output="blend"), Discriminator(4, 4)
    twin_g.load_state_dict(generator.state_dict())
    twin_d.load_state_dict(discriminator.state_dict())
    optimizers = [torch.optim.AdamW(n.parameters(), lr=1e-3) for n in (generator, discriminator)]
    twin_optimizers = [torch.optim.AdamW(n.parameters(), lr=1e-3) for n in (twin_g, twin_d)]
    cloudy, clear, target = (
        torch.rand(2, 4, 32, 32),
        torch.rand(2, 4, 32, 32),
        torch.rand(2, 1, 32, 32),
    )

    run = Run(generator, discriminator, {}, optimizers, Path("unused"))
    parts = train_step(run, config, cloudy, clear, target, step=0)

    restored, attention = twin_g(cloudy)
    real, fake = twin_d(cloudy, clear), twin_d(cloudy, restored.detach())
    loss_d = -torch.log(torch.sigmoid(real)).mean() - torch.log(1 - torch.sigmoid(fake)).mean()
    loss_d.backward()
    twin_optimizers[1].step()
    weights = torch.tensor([100.0, 50.0, 100.0, 25.0]).view(1, 4, 1, 1)
    l1 = (weights * (clear - restored).abs()).sum() / clear.numel()
    att = ((attention - target) ** 2).mean()
    adv = -torch.log(torch.sigmoid(twin_d(cloudy, restored))).mean()
    (l1 + config.attention_weight * att + config.adversarial_weight * adv).backward()
    torch.nn.utils.clip_grad_norm_(twin_g.parameters(), 10.0)
    twin_optimizers[0].step()

    expected = {"discriminator": loss_d, "l1": l1, "attention": att, "adversarial": adv}
    assert parts == pytest.approx({k: v.item() for k, v in expected.items()}, rel=1e-4)
    for ours, theirs in zip(generator.parameters(), twin_g.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-4)


def test_killed_and_resumed_equals_uninterrupted(
    clear_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(TINY, clear_folder, None, tmp_path / "whole")

    class Killed(Exception):  # noqa: N818
        pass

    def killed(step: int, steps: int) -> float:
        if step == 5:
            raise Killed
        return schedule(step, steps)

    with monkeypatch.context() as patch:
        patch.setattr("geodecloud.training.train.schedule", killed)
        with pytest.raises(Killed):
            train(TINY, clear_folder, None, tmp_path / "parts")
    train(TINY, clear_folder, None, tmp_path / "parts")
    whole, parts = (load_file(tmp_path / run / "s2-10m.safetensors") for run in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_overfits_one_patch() -> None:
    """A step that learns nothing, or learns the wrong thing, cannot reach 38 dB."""
    torch.manual_seed(1)
    config = dataclasses.replace(TINY, adversarial_weight=0.0)
    generator = SPANet(4, 4, width=8, output="blend")
    clear = torch.from_numpy(textured_dn(4, 32, 32).astype(np.float32) * 1e-4)[None]
    cloudy = 0.5 * clear + 0.3
    target = torch.full((1, 1, 32, 32), 0.5)
    optimizer = torch.optim.AdamW(generator.parameters())
    run = Run(generator, Discriminator(4, 4), {}, [optimizer, optimizer], Path("unused"))
    for step in range(300):
        optimizer.param_groups[0]["lr"] = 1e-2 * (1 - step / 300)
        train_step(run, config, cloudy, clear, target, step)
    with torch.no_grad():
        error = F.mse_loss(generator(cloudy)[0], clear)
    assert -10 * torch.log10(error) > 38


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
    config.write_text("stepps = 2\n")
    result = CliRunner().invoke(main, words)
    assert (result.exit_code, "unknown option 'stepps'" in result.stderr) == (1, True)


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


def test_a_model_of_another_kind_is_no_start(toy_model: Path) -> None:
    with pytest.raises(OptionError, match="toy is another kind of network"):
        grow(SPANet(4, 4, width=8, output="blend"), BANDS, load_model(toy_model))


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


def test_empty_folder_and_missing_bands_are_refused(clear_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=r"no manifest\.csv"):
        read_chips(tmp_path, BANDS)
    with pytest.raises(SceneError, match="B11"):
        read_chips(clear_folder, ["B02", "B11"])
    with pytest.raises(OptionError, match="cannot read"):
        Config.read(tmp_path / "gone.toml")


def test_crops_never_cross_cells(clear_folder: Path) -> None:
    """Every cell of the second file gets its own constant; a crop holds one of them only."""
    path = clear_folder / "1.tif"
    with rasterio.open(path, "r+") as dst:
        cells = np.kron(np.arange(1, 7).reshape(2, 3), np.ones((32, 32))) * 1000
        dst.write(np.repeat(cells[None], 4, axis=0).astype(np.uint16))
    chips = [chip for chip in read_chips(clear_folder, BANDS) if chip.place == "1.tif"]
    assert len(chips) == 6
    for seed in range(20):
        crop = draw_crop(chips, 48, [490, 560, 665, 842], np.random.default_rng(seed))
        assert crop.shape == (4, 48, 48)
        assert np.ptp(crop, axis=(1, 2)).max() < 1e-6
