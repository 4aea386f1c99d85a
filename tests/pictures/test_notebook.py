"""Results that show themselves: what a browser and GDAL make of it, and how much is computed for it."""

from __future__ import annotations

import ast
import base64
import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import rasterio
import xarray as xr
from conftest import textured_dn
from rasterio.io import MemoryFile

EXAMPLES = Path(__file__).parents[2] / "examples"
ATTRS = {"long_name": ("B02", "B03", "B04", "B08"), "scales": (1e-4,) * 4, "_FillValue": 0}


def as_scene(dn: Any) -> xr.DataArray:
    return xr.DataArray(dn, dims=("band", "y", "x"), attrs=ATTRS)


def pixels_of(png: bytes) -> np.ndarray:
    with MemoryFile(png) as file, file.open(driver="PNG") as src:
        return src.read()


def thumbnail(html: str) -> bytes:
    (found,) = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    return base64.b64decode(found)


def test_shares_and_pictures_are_those_of_the_pixels(toy_model: Path, tmp_path: Path) -> None:
    dn = textured_dn(4, 101, 203, nodata=0)
    result = as_scene(dn).geodecloud.decloud(model=toy_model)
    html = result._repr_html_()
    told = re.findall(r"</span> ([a-z ]+)</th><td>([\d.]+)&nbsp;%", html)
    codes = result.provenance.values
    valid = (codes > 0).sum()
    names = {1: "observed", 2: "restored", 3: "synthesised"}
    expected = {name: f"{100 * (codes == code).sum() / valid:.2f}" for code, name in names.items()}
    assert dict(told) == expected | {"nodata": f"{100 * (codes == 0).mean():.2f}"}
    assert "All of the 203 x 101 px." in html
    picture = result.plot_before_after()
    path = picture.save(tmp_path / "p.png")
    assert path.read_bytes() == picture._repr_png_()
    shown = pixels_of(picture.png)
    assert shown.shape == (3, 101, 203 + 8 + 203)
    changed = (result.image.values != dn)[:3].any(axis=0)
    left, right = shown[..., :203], shown[..., -203:]
    assert (left == right)[:, ~changed].all()
    assert (left != right).any(axis=0)[changed].mean() > 0.5
    np.testing.assert_array_equal(pixels_of(thumbnail(html)), shown)  # small enough to be whole


def test_of_a_lazy_result_only_the_middle_is_computed(toy_model: Path) -> None:
    """However large it is; and the middle is what it is as a scene of its own."""
    read: list[tuple[int, int]] = []

    def block(block_info: Any = None) -> np.ndarray:
        (_, *where) = block_info[None]["array-location"]
        read.append((where[0][0], where[1][0]))
        rng = np.random.default_rng(where[0][0] + 7 * where[1][0])
        return rng.integers(500, 3000, (4, 400, 400), dtype=np.uint16)

    dn = da.map_blocks(block, chunks=((4,), (400,) * 9, (400,) * 9), dtype=np.uint16)
    scene = as_scene(dn)
    result = scene.geodecloud.decloud(model=toy_model)
    assert not read
    html = result._repr_html_()
    assert set(read) == {(1600, 1600)}  # of 81 blocks
    assert "Not computed yet: the middle 256 x 256 px of 3600 x 3600 px" in html
    part = scene[:, 1672:1928, 1672:1928].compute().geodecloud.decloud(model=toy_model)
    assert thumbnail(html) == thumbnail(part._repr_html_())


def test_a_thumbnail_is_small_whatever_it_shows() -> None:
    noise = np.random.default_rng(0).integers(1, 10_000, (4, 900, 1300), dtype=np.uint16)
    html = as_scene(noise).geodecloud.decloud(model="identity")._repr_html_()
    png = thumbnail(html)
    assert 20_000 < len(png) <= 100_000
    width = (pixels_of(png).shape[2] - 8) // 2
    assert f"The picture shows one pixel of {-(-1300 // width)} x {-(-1300 // width)}." in html


def test_of_a_series_the_first_date_in_any_order(toy_model: Path) -> None:
    dates = xr.concat([as_scene(textured_dn(4, 40, 60, seed=n)) for n in (1, 2)], "time")
    turned = dates.transpose("x", "time", "band", "y")
    for scene in (turned, turned.chunk({"time": 1, "x": 30})):
        result = scene.geodecloud.decloud(model=toy_model)
        one = dates[0].geodecloud.decloud(model=toy_model)
        assert "The first of 2 dates." in result._repr_html_()
        assert result.plot_before_after().png == one.plot_before_after().png


def test_names_are_text(toy_model: Path) -> None:
    result = as_scene(textured_dn(4, 40, 60)).geodecloud.decloud(model=toy_model)
    card = dataclasses.replace(result.decisions.card, name="<script>alert(1)</script>")
    evil = dataclasses.replace(result.decisions, card=card)
    html = dataclasses.replace(result, decisions=evil)._repr_html_()
    assert "<script" not in html
    assert "&lt;script&gt;" in html


def test_the_example_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cell by cell, as a kernel does: what stands in a cell's last line is shown."""
    shutil.copy(EXAMPLES / "make_scene.py", tmp_path)
    monkeypatch.chdir(tmp_path)
    book = json.loads((EXAMPLES / "notebook.ipynb").read_text(encoding="utf-8"))
    assert not [cell for cell in book["cells"] if cell.get("outputs")]
    names: dict[str, Any] = {}
    shown = []
    for cell in book["cells"]:
        if cell["cell_type"] != "code":
            continue
        tree = ast.parse("".join(cell["source"]))
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, "notebook", "exec"), names)
        if isinstance(last, ast.Expr):
            shown.append(eval(compile(ast.Expression(last.value), "notebook", "eval"), names))
    views = [one for one in shown if hasattr(one, "_repr_html_")]
    assert ["Not computed yet" in one._repr_html_() for one in views] == [True, False]
    assert len([one for one in shown if hasattr(one, "_repr_png_")]) == 1
    with rasterio.open("truth.tif") as src:
        scale = src.scales[0]
        truth = src.read()[:, 50:210, 20:180] * scale
    restored = names["result"].image.values * scale
    where = np.isin(names["result"].provenance.values, (2, 3))
    assert names["error"] == pytest.approx(np.abs(restored - truth)[:, where].mean())
    assert names["expected"].replaced.mae < 0.2
