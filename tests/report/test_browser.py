"""The page in a real browser: swipe, zoom and overlays move, and it complains of nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
from axe_core_python import base as axe_core
from browser import Browser
from conftest import textured_dn, write_raster

import geodecloud
from geodecloud.report.page import write_report


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dark scene under a bright cloud in its right half, which the result does not have."""
    folder = tmp_path_factory.mktemp("page")
    dn = textured_dn(4, 100, 200)
    write_raster(folder / "clear.tif", dn)
    with rasterio.open(folder / "clear.tif", "r+") as dst:
        checked = {"pixels": 900, "mae": 0.01, "psnr_db": 30.0, "sam_deg": 2.0}
        found = {"kinds": {"replaced": checked}, "windows": 1, "reason": ""}
        dst.update_tags(
            GEODECLOUD_VERSION="0", GEODECLOUD_MODEL="toy", GEODECLOUD_SELF_CHECK=json.dumps(found)
        )
    codes = np.ones((100, 200), np.uint8)
    codes[:, 120:] = 3
    write_raster(folder / "codes.tif", codes[None], nodata=0)
    dn[:, :, 120:] = 9999
    write_raster(folder / "scene.tif", dn)
    opacity = (codes == 3).astype(np.float32)
    write_raster(folder / "opacity.tif", opacity[None])
    return write_report(
        folder / "clear.tif",
        folder / "scene.tif",
        folder / "report.html",
        provenance=folder / "codes.tif",
        cloud_map=folder / "opacity.tif",
    )


@pytest.fixture
def page(browser: Browser, html: Path) -> Iterator[Browser]:
    browser.prefer()
    browser.open(html)
    yield browser
    assert browser.complaints == []
    assert {address.partition(":")[0] for address in browser.asked_for} <= {"file", "data"}
    assert [address for address in browser.asked_for if address.startswith("file")] == [
        html.resolve().as_uri()
    ] * sum(address.startswith("file") for address in browser.asked_for)


def box(page: Browser, selector: str) -> tuple[float, float, float, float]:
    """Left, top, width, height in the window."""
    shape = f"(b => [b.left, b.top, b.width, b.height])(document.querySelector('{selector}').getBoundingClientRect())"
    return tuple(page.evaluate(shape))


def shown(page: Browser, tmp_path: Path) -> np.ndarray:
    """The stage as it is on the screen, (3, h, w)."""
    left, top, width, height = (round(n) for n in box(page, "#stage"))
    with rasterio.open(page.screenshot(tmp_path / "shot.png")) as src:
        return src.read()[:3, top : top + height, left : left + width].astype(int)


def test_the_swipe_uncovers_the_result(page: Browser, tmp_path: Path) -> None:
    """Where the cloud is, the border in the middle of it parts white from ground."""
    page.evaluate("document.getElementById('swipe').focus()")
    assert page.evaluate("document.activeElement.matches(':focus-visible') || true")
    for value in (75, 100, 0):
        page.evaluate(
            f"(s => {{ s.value = {value}; s.dispatchEvent(new Event('input', {{bubbles: true}})) }})"
            "(document.getElementById('swipe'))"
        )
        picture = shown(page, tmp_path)
        middle = picture[:, picture.shape[1] // 4]  # above the scale, below the words
        place = np.arange(middle.shape[1]) / middle.shape[1]
        away = abs(place - value / 100) > 0.03  # the border itself
        cloud = (place > 0.62) & (place < value / 100) & away
        ground = (place > 0.62) & (place > value / 100) & away
        assert (middle[:, cloud] > 245).all(), value
        assert not ground.any() or (middle[:, ground].min(axis=0) < 200).mean() > 0.5, value


def test_the_swipe_hears_keys_and_the_mouse(page: Browser) -> None:
    value = "Number(document.getElementById('swipe').value)"
    assert page.evaluate(value) == 50
    page.evaluate("document.getElementById('swipe').focus()")
    page.press("ArrowRight", 39)
    assert page.evaluate(value) == 50.5
    said = "document.getElementById('swipe').getAttribute('aria-valuetext')"
    page.press("Home", 36)
    assert page.evaluate(value) == 0
    assert page.evaluate(said) == "0 % before, 100 % after"
    page.press("End", 35)
    assert page.evaluate(value) == 100
    left, top, width, height = box(page, "#stage")
    page.drag((left + width - 8, top + height / 2), (left + width / 4, top + height / 2))
    assert page.evaluate(value) == pytest.approx(25, abs=1)
    assert (
        page.evaluate("getComputedStyle(document.getElementById('stage')).getPropertyValue('--k')")
        == "1"
    )


def test_zoom_and_pan(page: Browser) -> None:
    left, top, width, height = box(page, "#stage")
    page.evaluate("document.getElementById('zoom-in').click()")
    wide = box(page, "#before")
    assert wide[2] == pytest.approx(1.5 * width, rel=1e-3)
    assert wide[0] + wide[2] / 2 == pytest.approx(left + width / 2, abs=1)  # about the middle
    page.drag((left + 30, top + 150), (left + 60, top + 170))
    moved = box(page, "#before")
    assert moved[0] - wide[0] == pytest.approx(30, abs=1)
    assert moved[1] - wide[1] == pytest.approx(20, abs=1)
    assert box(page, "#after") == moved
    assert box(page, "#map-provenance") in ((0, 0, 0, 0), moved)
    page.drag((left + 30, top + 150), (left + 3000, top + 150))
    assert box(page, "#before")[0] == pytest.approx(left, abs=1)  # never beyond the edge
    page.evaluate("document.getElementById('stage').focus()")
    page.press("0", 48, "0")
    assert box(page, "#before") == pytest.approx((left, top, width, height), abs=1)
    page.press("+", 187, "+")
    assert box(page, "#before")[2] == pytest.approx(1.5 * width, rel=1e-3)
    assert page.evaluate("document.getElementById('zoom-said').value") == "zoom 1.5 ×"
    assert page.evaluate("document.querySelector('.scale').textContent").endswith(" m")


def test_overlays_come_and_go(page: Browser, tmp_path: Path) -> None:
    for name, colour in (("provenance", (240, 150, 40)), ("cloud-map", (252, 255, 164))):
        visible = f"document.getElementById('map-{name}').checkVisibility()"
        assert not page.evaluate(visible)
        page.evaluate(
            "(s => { s.value = 100; s.dispatchEvent(new Event('input')) })(document.getElementById('strength'))"
        )
        page.evaluate(f"document.getElementById('show-{name}').focus()")
        page.press(" ", 32, " ")
        assert page.evaluate(visible)
        page.wait_for(f"document.getElementById('map-{name}').complete")
        picture = shown(page, tmp_path)
        row = picture[:, picture.shape[1] // 4]
        column = int(0.8 * row.shape[1])
        np.testing.assert_allclose(row[:, column], colour, atol=3)
        without = abs(row[:, row.shape[1] // 4] - np.array(colour)).max()
        assert without > 3
        page.press(" ", 32, " ")
        assert not page.evaluate(visible)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(page: Browser, scheme: str) -> None:
    page.prefer(scheme)
    assert find_with_axe(page) == []


def find_with_axe(page: Browser) -> list[object]:
    """What axe-core, the checker of many audits, finds serious or critical on the page."""
    page.evaluate(axe_core.AXE_SCRIPT + "; true")
    page.evaluate("axe.run().then(found => { window.axeFound = found }); true")
    page.wait_for("window.axeFound")
    assert page.evaluate("axeFound.passes.length") > 15
    found = page.evaluate(
        "axeFound.violations.map(v => [v.impact, v.id, v.help, v.nodes.map(n => n.html.slice(0, 200))])"
    )
    print(*found, sep="\n")  # what is minor or moderate can be read with -s
    return [one for one in found if one[0] in ("serious", "critical")]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(page: Browser, scheme: str) -> None:
    """WCAG 2.2, 1.4.3: 4.5 to 1 for all text on the page."""
    page.prefer(scheme)
    colours = page.evaluate(_COLOURS)
    assert len(colours) > 50
    for text, (front, back) in colours:
        light, dark = sorted((luminance(front), luminance(back)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (scheme, text, front, back)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (luminance(rgb(background)) > 0.5) == (scheme == "light")


#: Every piece of text with its colour and that of what is behind it.
_COLOURS = r"""
(() => {
  const parse = (c) => c.match(/[\d.]+/g).map(Number);
  const found = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const node = walk.currentNode, own = node.parentElement;
    if (!node.data.trim() || !own.checkVisibility() || own.closest("script, style, noscript, .stage, svg")) continue;
    let back = own;
    while (back && (parse(getComputedStyle(back).backgroundColor)[3] ?? 1) === 0) back = back.parentElement;
    found.push([node.data.trim(), [parse(getComputedStyle(own).color), parse(getComputedStyle(back || document.body).backgroundColor)]]);
  }
  return found;
})()
"""


def rgb(text: str) -> list[float]:
    return [float(n) for n in text.strip("rgba()").split(",")]


def luminance(colour: list[float]) -> float:
    """Relative luminance of sRGB, as WCAG defines it."""
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in np.array(colour[:3]) / 255
    ]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def test_a_narrow_screen_does_not_scroll_sideways(browser: Browser, html: Path) -> None:
    browser.open(html, width=360, height=740)
    assert browser.evaluate("document.documentElement.scrollWidth") <= 360


def test_on_paper_both_pictures_stand_side_by_side(page: Browser) -> None:
    page.prefer(media="print")
    before, after = box(page, "#before"), box(page, "#after")
    assert before[0] + before[2] <= after[0] + 1
    assert before[1] == pytest.approx(after[1], abs=1)
    assert box(page, ".controls") == (0, 0, 0, 0)


def test_the_index_of_a_batch(browser: Browser, tmp_path: Path) -> None:
    from geodecloud.batch.index import write_index

    (tmp_path / "in").mkdir()
    write_raster(tmp_path / "in/s.tif", textured_dn(4, 60, 90))
    geodecloud.decloud_folder(tmp_path / "in", tmp_path / "out", model="identity")
    html = write_index(tmp_path / "out", tmp_path / "in", tmp_path / "index.html")
    browser.open(html)
    assert find_with_axe(browser) == []
    assert browser.evaluate("[...document.images].map(i => i.naturalWidth)") == [90, 90]
    assert browser.complaints == []
