"""The expected error of pixels that the network put in: by the card's table, through every door, on any cut."""

from __future__ import annotations

import dataclasses
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401
import torch
import xarray as xr
from conftest import BANDS, Options, textured_dn, write_raster, write_toy
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import make_interp_spline

import geodecloud
from geodecloud.batch.folder import decloud_folder
from geodecloud.errors import OptionError, WeightsError
from geodecloud.models.card import ModelCard
from geodecloud.models.catalogue import read_card
from geodecloud.models.expected_error import NAMES, Curve, ErrorTable, Evidence
from geodecloud.models.spanet import SPANet
from geodecloud.pipeline import Declouded, decloud
from geodecloud.restore.composite import Provenance
from geodecloud.restore.expected_error import ErrorOfChunk, Witness
from geodecloud.restore.network import NetworkPredictor
from geodecloud.windows.tiler import Window

TABLE = ErrorTable(
    0.03,
    opacity=Curve((0.1, 0.6, 0.9), (-0.5, 0.1, 0.4)),
    unknown=Curve((0.0, 0.02), (-0.2, 0.3)),
    brightness=Curve((0.05, 0.2, 0.4), (0.1, -0.3, 0.5)),
    shortest=Curve((0.05, 0.3), (-0.1, 0.6)),
    difference=Curve((0.2,), (0.25,)),
    spread=Curve((0.0, 0.01), (-0.3, 0.4)),
    uneven=Curve((0.0, 0.05), (-0.4, 0.5)),
    measured="nothing",
)
PUT_IN = (Provenance.RESTORED, Provenance.SYNTHESISED)


def by_hand(seen: list[np.ndarray], table: ErrorTable = TABLE) -> np.ndarray:
    """What the table says of opacity, unknown, brightness, shortest, difference, spread and unevenness, by scipy."""
    found = np.log(table.mean) + np.zeros(np.shape(seen[0]))
    for curve, values in zip((getattr(table, name) for name in NAMES), seen, strict=True):
        if curve is None:
            continue
        if len(curve.nodes) == 1:
            found += curve.effects[0]
            continue
        inside = np.clip(values, curve.nodes[0], curve.nodes[-1])
        found += make_interp_spline(curve.nodes, curve.effects, k=1)(inside)
    return np.exp(found)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random network on blocks with a prior, whose map crosses both thresholds here and there."""
    torch.manual_seed(9)
    how = {"width": 4, "passes": "one-step", "direction_weights": False, "output": "blend"}
    how |= {"blocks": 2, "prior": True}
    network = SPANet(4, 4, **how)
    with torch.no_grad():
        network.conv_out.weight.abs_()
        network.attention.conv_out.weight.mul_(300)  # clear here, cloud there
    path = tmp_path_factory.mktemp("toy") / "errors.safetensors"
    levels = {"cloud_threshold": 0.3, "opaque_threshold": 0.7}
    write_toy(path, network, how, BANDS, expected_error=TABLE, **levels)
    return path


@pytest.fixture(scope="module")
def dn() -> np.ndarray:
    return textured_dn(4, 83, 119, seed=2)


def array(dn: np.ndarray) -> xr.DataArray:
    about = {"long_name": BANDS, "scale_factor": 1e-4, "add_offset": 0.0, "_FillValue": 0}
    dims = ("band", "y", "x") if dn.ndim == 3 else ("time", "band", "y", "x")
    return xr.DataArray(dn, dims=dims, attrs=about)


def run(
    dn: np.ndarray, model: Path, chunks: dict[str, int] | None = None, **more: object
) -> Declouded:
    scene = array(dn) if chunks is None else array(dn).chunk(chunks)
    return decloud(scene, Options(model=str(model), **more))


@given(st.lists(st.tuples(*[st.floats(0, 1, width=32)] * 7), min_size=1, max_size=20))
def test_between_its_nodes_a_table_is_linear_and_beyond_them_flat(
    pixels: list[tuple[float, ...]],
) -> None:
    seen = [np.array(plane, np.float32) for plane in zip(*pixels, strict=True)]
    np.testing.assert_allclose(TABLE.at(Evidence(*seen)), by_hand(seen), atol=1e-6)


def test_a_card_keeps_its_table_and_one_without_is_read_as_before(model: Path) -> None:
    card = read_card(model)
    assert card.expected_error == TABLE
    fields = json.loads(card.to_json())
    del fields["expected_error"]
    old = ModelCard.from_json(json.dumps(fields))
    assert old == dataclasses.replace(card, expected_error=None)
    assert ModelCard.from_json(old.to_json()) == old


def test_a_card_whose_table_has_fewer_curves_asks_for_no_other_run(
    dn: np.ndarray, model: Path
) -> None:
    fields = json.loads(read_card(model).to_json())
    del fields["expected_error"]["spread"]
    card = ModelCard.from_json(json.dumps(fields))
    assert card.expected_error == dataclasses.replace(TABLE, spread=None)
    loaded = dataclasses.replace(geodecloud.load_model(model), card=card)
    result = decloud(array(dn).chunk(), Options(model=loaded))
    assert result.mirrored is None
    assert decloud(array(dn), Options(model=loaded)).confidence.chunks is None
    with_spread = run(dn, model).confidence.values
    ratio = result.confidence.values / with_spread
    assert np.nanmin(ratio) >= np.exp(-0.401)
    assert np.nanmax(ratio) <= np.exp(0.301)


def test_the_other_run_is_that_of_the_mirrored_scene(dn: np.ndarray, model: Path) -> None:
    """Of 128 px, in which blocks lie alike from both sides."""
    wide = np.concatenate([dn, dn[:, :, :9] // 2], axis=2)
    here, there = (
        run(np.ascontiguousarray(wide[..., ::side]), model, {"y": 50, "x": 70}) for side in (1, -1)
    )
    seen = here.mirrored.compute()
    put_in = np.isin(here.provenance.values, PUT_IN)
    assert put_in.sum() > 1500
    assert np.abs(seen - here.image.values.astype(int))[:, put_in].max() > 20
    other = there.image.values[..., ::-1].astype(int)
    same = put_in & np.isin(there.provenance.values, PUT_IN)[:, ::-1]
    # at the rims it is not: what the mirrored scene alone has cloud on is not looked at
    off = [np.abs(one - other)[:, same].max(axis=0) for one in (seen, here.image.values)]
    assert np.mean(off[0] <= 1) > 0.9
    assert np.mean(off[1] <= 1) < 0.2


def test_a_table_of_the_form_of_older_cards_is_none(model: Path) -> None:
    fields = json.loads(read_card(model).to_json())
    fields["expected_error"] = {"opacity": [0.0], "unknown": [1.0], "error": [[0.02]]}
    fields["expected_error"] |= {"brightness": [[0.1]], "difference": [[0.1]], "measured": ""}
    assert ModelCard.from_json(json.dumps(fields)).expected_error is None


def test_the_shortest_wavelength_is_found_by_the_names_of_the_bands(
    dn: np.ndarray, model: Path
) -> None:
    decisions = run(dn, model, {"y": -1}).decisions
    assert Witness.of(decisions, 0.5).shortest == 0
    nir_first = dataclasses.replace(decisions, channels=(3, 2, 0), slots=(3, 2, 0))
    assert Witness.of(nir_first, 0.5).shortest == 2


@pytest.mark.parametrize(
    "change",
    [
        {"opacity": {"nodes": [0.1, 0.9, 0.6], "effects": [0, 0, 0]}},
        {"shortest": {"nodes": [0.1, 0.2], "effects": [0]}},
        {"shortest": {"nodes": [0.1, 0.2]}},
        {"difference": {"nodes": [], "effects": []}},
        {"brightness": {"nodes": [0.1], "effects": [float("nan")]}},
        {"mean": 0},
        {"unknown": 3},
        {"width": 1},
    ],
)
def test_a_table_that_makes_no_sense_is_refused(model: Path, change: dict[str, object]) -> None:
    fields = json.loads(read_card(model).to_json())
    fields["expected_error"] |= change
    with pytest.raises(WeightsError, match="the model card cannot be read"):
        ModelCard.from_json(json.dumps(fields))


def test_replaced_pixels_have_what_the_table_says_and_others_nothing(
    dn: np.ndarray, model: Path
) -> None:
    result = run(dn, model, {"y": -1})
    put_in = np.isin(result.provenance, PUT_IN)
    assert {int(code) for code in np.unique(result.provenance)} == {1, 2, 3}
    confidence = result.confidence.compute()
    assert confidence.dtype == np.float32
    np.testing.assert_array_equal(np.isfinite(confidence), put_in)
    image = result.image.values * 1e-4
    around, window = result.ground.compute().item(), Window(0, 0, 119, 83)
    ground, unknown = around.pixels(window)
    assert unknown.min() < 0.005 < 0.02 < unknown.max()
    difference = np.abs(image - ground).mean(axis=0)
    apart = image - result.mirrored.compute() * 1e-4
    assert 0.0005 < np.abs(apart[:, put_in]).mean() < 0.2
    seen = [result.cloud_map.values, unknown, image.mean(axis=0), image[0], difference]
    seen.append(np.std([image, image - apart], axis=0) ** 2)
    seen[-1] = np.sqrt(seen[-1].mean(axis=0))
    seen.append(around.unevenness(window))
    assert 0.005 < seen[-1].min() < seen[-1].max() < 0.2
    expected = by_hand([plane[put_in] for plane in seen])
    np.testing.assert_allclose(confidence.values[put_in], expected, rtol=1e-4)


def test_ground_that_a_mask_says_is_hidden_counts_as_under_opaque_cloud(
    dn: np.ndarray, model: Path
) -> None:
    scene = array(dn)
    scene.coords["scl"] = (
        ("y", "x"),
        np.full(dn.shape[1:], 9, np.uint8),
    )  # cloud, high probability
    scl = decloud(scene.chunk(), Options(model=str(model), mask="scl"))
    made_up = scl.provenance.values == Provenance.SYNTHESISED
    assert made_up.all()
    assert (scl.cloud_map.values <= 0.7).any()
    image = scl.image.values * 1e-4
    # nothing is clear: all is unknown, and the ground around is 0
    seen = [np.where(scl.cloud_map > 0.7, scl.cloud_map, 1), np.ones(made_up.shape)]
    seen += [image.mean(axis=0), image[0], np.abs(image).mean(axis=0)]
    seen.append(np.sqrt(np.var([image, scl.mirrored.compute() * 1e-4], axis=0).mean(axis=0)))
    seen.append(np.full(made_up.shape, 0.05))  # and as uneven as ground is
    expected = by_hand(seen)
    np.testing.assert_allclose(scl.confidence.values, expected, rtol=1e-4)


@settings(max_examples=6)
@given(
    height=st.integers(30, 83), width=st.integers(30, 119), window=st.sampled_from([32, 64, 200])
)
def test_the_cut_changes_nothing(
    height: int, width: int, window: int, dn: np.ndarray, model: Path
) -> None:
    whole, cut = run(dn, model), run(dn, model, {"y": height, "x": width}, window=window)
    same = whole.provenance.values == cut.provenance.values
    assert same.mean() > 0.999
    np.testing.assert_allclose(
        cut.confidence.values[same], whole.confidence.values[same], atol=2e-4
    )


def test_each_date_of_a_stack_is_told_as_if_it_were_alone(dn: np.ndarray, model: Path) -> None:
    stack = run(np.stack([dn, dn[:, ::-1] // 2]), model, {"time": 1, "y": 40})
    for one, pixels in zip(stack.confidence, (dn, dn[:, ::-1] // 2), strict=True):
        alone = run(pixels, model)
        both = np.isfinite(one.values) & np.isfinite(alone.confidence.values)
        assert both.sum() > 0.99 * np.isfinite(alone.confidence.values).sum() > 0
        np.testing.assert_allclose(one.values[both], alone.confidence.values[both], atol=2e-4)


def test_nobody_pays_for_what_nobody_asks_for(
    dn: np.ndarray, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dear(*about: object) -> None:
        raise RuntimeError("it was computed")

    monkeypatch.setattr(ErrorTable, "at", dear)
    monkeypatch.setattr(NetworkPredictor, "_predict_mirrored", dear)
    assert run(dn, model).image.any()
    result = run(dn, model, {"y": 50})
    result.image.compute()
    with pytest.raises(RuntimeError, match="it was computed"):
        result.confidence.compute()


def test_pixels_beside_those_that_dates_fill_have_the_error_of_the_network(model: Path) -> None:
    ground = textured_dn(4, 90, 110, seed=7)
    y, x = np.mgrid[:90, :110]
    hole = (y - 40) ** 2 + (x - 50) ** 2 < 25**2
    hidden = hole & (x < 50)  # cloud on the other date, too
    noise = np.random.default_rng(8).normal(0, 40, ground.shape)
    earlier = np.rint(ground * 0.9 + 100 + noise).astype(np.uint16)
    scene, other = (
        array(dn)
        .assign_coords(x=np.arange(110) * 10.0, y=np.arange(90) * -10.0)
        .rio.write_crs(32633)
        for dn in (np.where(hole, 8000, ground).astype(np.uint16), earlier)
    )
    scene.coords["scl"] = (("y", "x"), np.where(hole, 9, 4).astype(np.uint8))
    other.coords["scl"] = (("y", "x"), np.where(hidden, 9, 4).astype(np.uint8))
    options = Options(model=str(model), mask="scl", references=[other])
    both = decloud(scene.chunk({"y": 50}), options)
    codes, error = both.provenance.values, both.confidence.values
    filled = codes == Provenance.OTHER_DATE
    assert filled.sum() > 500
    assert np.isin(codes[hidden], PUT_IN).any()
    np.testing.assert_array_equal(np.isfinite(error), filled | np.isin(codes, PUT_IN))
    without = dataclasses.replace(read_card(model), expected_error=None)
    bare = geodecloud.load_model(model)
    bare = dataclasses.replace(bare, card=without)
    dates = decloud(scene, dataclasses.replace(options, model=bare)).confidence.values
    np.testing.assert_array_equal(np.isfinite(dates), filled)
    np.testing.assert_allclose(error[filled], dates[filled], rtol=1e-5)
    assert (error[filled] < 0.02).all()
    alone = decloud(scene, dataclasses.replace(options, references=None)).confidence.values
    made_up = codes == Provenance.SYNTHESISED
    inner = made_up & (x < 40)  # away from where the date's ground begins to weigh
    np.testing.assert_allclose(error[inner], alone[inner], rtol=0.2)


def test_files_and_batches_have_what_arrays_have(
    dn: np.ndarray, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    scene = write_raster(tmp_path / "in" / "scene.tif", dn, nodata=0)
    with rasterio.open(scene, "r+") as dst:
        dst.scales, dst.offsets = (1e-4,) * 4, (0.0,) * 4
    error = tmp_path / "error.tif"
    geodecloud.decloud_scene(scene, tmp_path / "out.tif", model=model, confidence=error)
    folder = tmp_path / "out"
    (done,) = decloud_folder(tmp_path / "in", folder, model=model, confidence=True).outcomes
    assert done.state == "done"
    expected = run(dn, model).confidence.values
    for path in (error, folder / "scene_confidence.tif"):
        with rasterio.open(path) as src:
            assert src.dtypes == ("float32",)
            assert np.isnan(src.nodata)
            np.testing.assert_allclose(src.read(1), expected, atol=2e-4)


def test_without_a_table_it_is_refused_and_a_batch_does_without(
    scene: Path, toy_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out.tif"
    with pytest.raises(OptionError, match="card of model toy has no table of expected errors"):
        geodecloud.decloud_scene(scene, out, model=toy_model, confidence=tmp_path / "error.tif")
    assert [path.name for path in tmp_path.iterdir()] == ["scene.tif"]
    (done,) = decloud_folder([scene], tmp_path / "all", model=toy_model, confidence=True).outcomes
    assert done.state == "done"
    assert (
        "without its confidence: nothing tells the confidence: the card of model toy" in caplog.text
    )
    assert not list((tmp_path / "all").glob("*confidence*"))


def test_the_work_on_a_chunk_can_travel(dn: np.ndarray, model: Path) -> None:
    decisions = run(dn, model, {"y": -1}).decisions
    work = ErrorOfChunk(TABLE, Witness.of(decisions, 0.5))
    assert pickle.loads(pickle.dumps(work)) == work
