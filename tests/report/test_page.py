"""The report of one result: what stands on it, in words that a parser of HTML and numpy confirm."""

from __future__ import annotations

import datetime
import itertools
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner, Result
from conftest import textured_dn, write_raster
from products import build_small
from rasterio.transform import from_origin

import geodecloud
from geodecloud.cli.commands import main
from geodecloud.errors import SceneError, SceneIOError
from geodecloud.report.page import write_report
from geodecloud.report.verify import Depth, verify_file

EVIL = "<script>alert(1)</script>"
VOID = {"meta", "link", "img", "input", "br", "hr"}


def invoke(*args: object) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


class Page(HTMLParser):
    """Elements of a page with their attributes and their text; its tags must be balanced."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self._open: list[tuple[str, list[str]]] = []
        self.feed(text)
        self.close()
        assert not self._open, self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        text: list[str] = []
        self.elements.append((tag, dict(attrs), text))
        if tag not in VOID:
            self._open.append((tag, text))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), []))

    def handle_endtag(self, tag: str) -> None:
        name, _ = self._open.pop()
        assert name == tag, (name, tag)

    def handle_data(self, data: str) -> None:
        for _, text in self._open:
            text.append(data)

    def all(self, *tags: str) -> list[tuple[str, dict[str, str | None], str]]:
        return [(t, a, "".join(text).strip()) for t, a, text in self.elements if t in tags]

    def rows(self) -> list[list[str]]:
        """The cells of all rows of all tables."""
        found: list[list[str]] = []
        for tag, _, text in self.elements:
            if tag == "tr":
                found.append([])
            elif tag in ("th", "td"):
                found[-1].append(" ".join("".join(text).split()))
        return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, toy_model: Path) -> Path:
    """A scene with a date beside it, and all that a run can write."""
    folder = tmp_path_factory.mktemp("made")
    dn = textured_dn(4, 101, 203, nodata=0)
    other = np.clip(dn * 0.8 + 300, 1, 9000).astype(np.uint16)
    y, x = np.mgrid[:101, :203]
    hole = (y - 60) ** 2 + (x - 120) ** 2 < 25**2
    dn[:, hole] = 8000
    write_raster(folder / "scene_20200611.tif", dn, nodata=0)
    write_raster(folder / "other_20200601.tif", other, nodata=0)
    write_raster(folder / "mask.tif", hole[None].astype(np.uint8))
    geodecloud.decloud_scene(
        folder / "scene_20200611.tif",
        folder / "clear.tif",
        model=toy_model,
        mask=folder / "mask.tif",
        references=[folder / "other_20200601.tif"],
        **{layer: folder / f"{layer}.tif" for layer in LAYERS},
        quicklook=folder / "look.png",
    )
    write_report(
        folder / "clear.tif",
        folder / "scene_20200611.tif",
        folder / "report.html",
        **{layer: folder / f"{layer}.tif" for layer in LAYERS},
    )
    return folder


LAYERS = ("provenance", "cloud_map", "source_date", "confidence")


@pytest.fixture(scope="module")
def page(made: Path) -> Page:
    return Page((made / "report.html").read_text(encoding="utf-8"))


def check_alone(text: str) -> None:
    """Nothing on a page makes a browser ask for anything."""
    page = Page(text)
    for tag, attributes, _ in page.all(*{tag for tag, _, _ in page.elements}):
        for name in ("src", "srcset", "href", "action", "data", "poster", "background"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), (tag, name, value)
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
    assert not re.search(r"@import|url\(|\bfetch\(|XMLHttpRequest|WebSocket|sendBeacon", text)
    assert not re.search(r"""(?:src|href)\s*=\s*["']?\s*(?:https?:)?//""", text)


def test_it_asks_nobody_for_anything(made: Path) -> None:
    text = (made / "report.html").read_text(encoding="utf-8")
    check_alone(text)
    assert "default-src 'none'" in text


def test_it_can_be_read_without_a_screen(page: Page) -> None:
    ((_, root, _),) = page.all("html")
    assert root["lang"] == "en"
    levels = [int(tag[1]) for tag, _, _ in page.all("h1", "h2", "h3")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert all(attributes["alt"] for _, attributes, _ in page.all("img"))
    for _, attributes, text in page.all("th"):
        assert attributes["scope"] in ("row", "col"), text
    labels = {attributes["for"] for _, attributes, _ in page.all("label")}
    inputs = page.all("input")
    assert {attributes["id"] for _, attributes, _ in inputs} == labels
    kinds = [attributes["type"] for _, attributes, _ in inputs]
    assert kinds.count("range") == 2
    assert kinds.count("checkbox") == len(LAYERS)
    ids = [attributes["id"] for _, attributes, _ in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes, _ in page.elements:
        for name in ("aria-labelledby", "aria-describedby"):
            assert attributes.get(name, ids[0]) in ids
    assert len(page.all("table")) == len(page.all("caption"))


def test_shares_are_those_that_numpy_counts(made: Path, page: Page) -> None:
    with rasterio.open(made / "provenance.tif") as src:
        codes = src.read(1)
    counts = np.bincount(codes.ravel(), minlength=6)
    valid = codes.size - counts[0]
    names = ["nodata", "observed", "restored", "synthesised", "left", "other date"]
    rows = {row[0]: row for row in page.rows() if len(row) == 6}
    assert (counts > 0).sum() >= 3
    for code, name in enumerate(names):
        whole = valid if code else codes.size
        _, said_code, share, pixels, km2, _ = rows[name]
        assert int(said_code) == code
        assert int(re.sub(r"\s", "", pixels)) == counts[code]
        assert share == f"{100 * counts[code] / whole:.2f} %"
        assert float(km2) == pytest.approx(counts[code] * 1e-4, abs=0.005)  # 10 m


def test_it_says_what_was_run(made: Path, page: Page, toy_model: Path) -> None:
    with rasterio.open(made / "clear.tif") as src:
        tags = src.tags()
    rows = {row[0]: row[1] for row in page.rows() if len(row) == 2}
    assert rows["Weights, SHA-256"] == tags["GEODECLOUD_WEIGHTS_SHA256"]
    assert rows["Model"] == "toy"
    assert rows["Made with"] == f"geodecloud {geodecloud.__version__}"
    assert rows["Other dates"] == "2020-06-01: other_20200601.tif"
    assert set(json.loads(tags["GEODECLOUD_PARAMETERS"])) <= set(rows)
    ((_, _, command),) = page.all("pre")
    words = ["geodecloud scene_20200611.tif --out clear.tif", f"--model {toy_model}", "--reference"]
    assert all(word in command for word in words), command
    assert "--window" not in command  # as by default
    titles = [text for tag, _, text in page.all("dd")]
    assert "2020-06-11" in titles


CHECKED = {
    "kinds": {
        "restored": {"pixels": 5210, "mae": 0.01018, "psnr_db": 36.08, "sam_deg": 2.91},
        "other_date": {"pixels": 99, "mae": 0.02, "psnr_db": None, "sam_deg": None},
        "replaced": {"pixels": 9000, "mae": 0.02361, "psnr_db": 28.4, "sam_deg": None},
    },
    "windows": 3,
    "reason": "",
}


def report_of(tag: str, tmp_path: Path) -> tuple[str, Page]:
    """The page about a result whose self-check is this."""
    scene = write_raster(tmp_path / "scene.tif", textured_dn(4, 40, 50))
    geodecloud.decloud_scene(scene, tmp_path / "o.tif", model="identity", format="gtiff")
    with rasterio.open(tmp_path / "o.tif", "r+") as dst:
        dst.update_tags(GEODECLOUD_SELF_CHECK=tag)
    text = write_report(tmp_path / "o.tif", scene, tmp_path / "r.html").read_text(encoding="utf-8")
    check_alone(text)
    return text, Page(text)


def test_the_self_check_stands_in_a_sentence_and_a_table(tmp_path: Path) -> None:
    text, page = report_of(json.dumps(CHECKED), tmp_path)
    assert (
        "self-check: expected error in reflectance: restored 0.0102 (36.1 dB, 2.9°), other date 0.0200, "
        "replaced 0.0236 (28.4 dB)"
    ) in text
    rows = [row for row in page.rows() if len(row) == 5]
    assert [[re.sub(r"\s", "", cell) for cell in row] for row in rows[1:]] == [
        ["restored", "0.0102", "36.1", "2.9", "5210"],
        ["otherdate", "0.0200", "–", "–", "99"],
        ["replaced", "0.0236", "28.4", "–", "9000"],
    ]
    assert any("3 windows" in caption for _, _, caption in page.all("caption"))


def test_a_self_check_without_errors_says_why(tmp_path: Path) -> None:
    why = {"kinds": {}, "windows": 0, "reason": f"no cloud {EVIL}"}
    text, page = report_of(json.dumps(why), tmp_path)
    assert "self-check: nothing can be told: no cloud" in text
    assert EVIL not in text
    assert "self-check" not in [attributes.get("id") for _, attributes, _ in page.all("table")]


@pytest.mark.parametrize(
    "tag",
    [
        "{",
        "[1]",
        json.dumps(CHECKED | {"kinds": {"restored": {"mae": 1}}}),
        json.dumps(CHECKED | {"kinds": {"restored": CHECKED["kinds"]["restored"] | {"mae": "x"}}}),
        json.dumps(CHECKED).replace("0.01018", "NaN"),
    ],
)
def test_a_self_check_that_was_changed_is_left_out(tag: str, tmp_path: Path) -> None:
    assert "self-check" not in report_of(tag, tmp_path)[0]


def test_of_a_result_declouded_twice_the_last_run_is_told(made: Path, tmp_path: Path) -> None:
    """What the first run says of itself is not said of the second; the scene's own tags stay."""
    first, second = tmp_path / "first.tif", tmp_path / "second.tif"
    shutil.copy(made / "clear.tif", first)
    with rasterio.open(first, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as dst:
        dst.update_tags(MISSION="kept", GEODECLOUD_SELF_CHECK=json.dumps(CHECKED))
    geodecloud.decloud_scene(first, second, model="identity")
    with rasterio.open(second) as src:
        tags = src.tags()
    assert tags["MISSION"] == "kept"
    assert "GEODECLOUD_REFERENCES" not in tags  # the second run had none
    assert tags["GEODECLOUD_SOURCE"] == "first.tif"
    assert verify_file(second, first, depth=Depth(windows=0)).ok
    text = write_report(second, first, tmp_path / "r.html").read_text(encoding="utf-8")
    assert (
        "the last of at least two runs: first.tif is itself a result, made of scene_20200611.tif"
        in text
    )
    assert "by the model toy" in text
    assert "self-check" not in text


def test_the_command_makes_the_same_again(made: Path, page: Page, tmp_path: Path) -> None:
    ((_, _, command),) = page.all("pre")
    words = command.split()[1:]
    words[0], words[2] = str(made / words[0]), str(tmp_path / "again.tif")
    assert invoke(*words, "-q").exit_code == 0
    first, again = (
        rasterio.open(path).read() for path in (made / "clear.tif", tmp_path / "again.tif")
    )
    np.testing.assert_array_equal(first, again)


def test_dates_have_a_legend(made: Path, page: Page) -> None:
    with rasterio.open(made / "source_date.tif") as src:
        days = np.unique(src.read(1))
    expected = {
        str(datetime.date(1970, 1, 1) + datetime.timedelta(int(day))) for day in days if day
    }
    assert expected == {"2020-06-01"}
    entries = [text for _, _, text in page.all("li")]
    assert any("2020-06-01" in entry and "other_20200601.tif" in entry for entry in entries)


def test_a_histogram_for_each_band(made: Path, page: Page) -> None:
    drawings = page.all("svg")
    assert len(drawings) == 4
    with rasterio.open(made / "scene_20200611.tif") as src:
        dn = src.read(4)
        mean = dn[src.dataset_mask() > 0].mean() * 1e-4
    assert f"mean {mean:.4f} before" in str(drawings[3][1]["aria-label"])


def test_names_are_escaped(tmp_path: Path) -> None:
    evil = tmp_path / "a<b>&'\"{{ 7 * 7 }}.tif"
    write_raster(evil, textured_dn(4, 40, 50), nodata=0)
    with rasterio.open(evil, "r+") as dst:
        dst.descriptions = (EVIL, '"><img src=x onerror=alert(2)>', "{% raw %}", "B04")
        dst.update_tags(DATE="2020-01-01")
    out, html = tmp_path / "o.tif", tmp_path / "r.html"
    assert invoke(evil, "-o", out, "--model", "identity", "--format", "gtiff", "-q").exit_code == 0
    with rasterio.open(out, "r+") as dst:  # tags that somebody has changed
        dst.update_tags(
            GEODECLOUD_MODEL=EVIL,
            GEODECLOUD_PARAMETERS=json.dumps({EVIL: EVIL, "model": EVIL, "scale": EVIL}),
            GEODECLOUD_REFERENCES=json.dumps({EVIL: EVIL}),
            GEODECLOUD_WEIGHTS_SHA256=EVIL,
        )
    result = invoke("report", out, "--source", evil, "--html", html)
    assert result.exit_code == 0, result.output
    text = html.read_text(encoding="utf-8")
    check_alone(text)
    page = Page(text)
    assert EVIL not in text
    assert len(page.all("script")) == 1
    assert [text for _, _, text in page.all("h1")] == [evil.name]
    assert EVIL in [text for _, _, text in page.all("h3")]


def test_without_provenance_it_says_so(scene: Path, tmp_path: Path) -> None:
    invoke(scene, "-o", tmp_path / "o.tif", "--model", "identity", "-q")
    html = tmp_path / "r.html"
    result = invoke("report", tmp_path / "o.tif", "--source", scene, "--html", html)
    assert (result.exit_code, result.stdout) == (0, f"{html}\n")
    page = Page(html.read_text(encoding="utf-8"))
    assert "observed" not in [row[0] for row in page.rows()]
    assert not [a for _, a, _ in page.all("input") if a["type"] == "checkbox"]
    first = html.read_bytes()
    invoke("report", tmp_path / "o.tif", "--source", scene, "--html", html, "--overwrite")
    assert html.read_bytes() == first  # no time of writing, nothing by chance


@pytest.mark.parametrize("shape", [(1100, 1600), (500, 4000)], ids=str)
def test_large_scenes_stay_below_5_mb(tmp_path: Path, shape: tuple[int, int]) -> None:
    """Noise in every pixel, of which no picture and no map gets small."""
    rng = np.random.default_rng(1)
    about = {"nodata": 0, "crs": "EPSG:32633", "transform": from_origin(5e5, 5e6, 10, 10)}
    codes = rng.integers(1, 6, (1, *shape), np.uint8)
    write_raster(tmp_path / "s.tif", rng.integers(1, 10000, (3, *shape), np.uint16), **about)
    write_raster(tmp_path / "c.tif", codes, **about)
    write_raster(tmp_path / "d.tif", 18000 + codes.astype(np.uint16), **about)
    with rasterio.open(tmp_path / "s.tif", "r+") as dst:
        dst.update_tags(GEODECLOUD_VERSION="0", GEODECLOUD_MODEL="identity")
    html = write_report(
        tmp_path / "s.tif",
        tmp_path / "s.tif",
        tmp_path / "r.html",
        provenance=tmp_path / "c.tif",
        source_date=tmp_path / "d.tif",
    )
    assert html.stat().st_size < 5_000_000
    text = html.read_text(encoding="utf-8")
    assert max(map(int, re.findall(r'<img[^>]* (?:width|height)="(\d+)"', text))) <= 1600


def test_a_product_and_single_bands(tmp_path: Path) -> None:
    name = "S2A_MSIL2A_20230625T104621_N0509_R051_T33UXQ_20230625T170000.SAFE"
    product = build_small(tmp_path / name, size=60, offsets=dict.fromkeys(range(13), -1000))
    options = {"model": "identity", "layout": "bands", "resolution": 10}
    geodecloud.decloud_scene(product, tmp_path / "clear", quicklook=tmp_path / "q.png", **options)
    html = write_report(tmp_path / "clear", product, tmp_path / "r.html")
    page = Page(html.read_text(encoding="utf-8"))
    assert "2023-06-25" in [text for _, _, text in page.all("dd")]
    assert "--resolution 10" in page.all("pre")[0][2]
    with rasterio.open(tmp_path / "q.png") as src:
        left, right = src.read()[..., :60], src.read()[..., -60:]
    np.testing.assert_array_equal(left, right)
    assert left.std() > 5


def test_what_is_refused(scene: Path, made: Path, tmp_path: Path) -> None:
    html = tmp_path / "r.html"
    swapped = invoke(
        "report", made / "scene_20200611.tif", "--source", made / "clear.tif", "--html", html
    )
    assert swapped.exit_code == 1
    assert "was not written by geodecloud" in swapped.stderr
    assert "Traceback" not in swapped.stderr
    small = write_raster(tmp_path / "small.tif", textured_dn(4, 20, 30), nodata=0)
    with pytest.raises(SceneError, match="was not made of"):
        write_report(made / "clear.tif", small, html)
    with pytest.raises(SceneError, match="is no provenance raster: it holds"):
        write_report(
            made / "clear.tif",
            made / "scene_20200611.tif",
            html,
            provenance=made / "source_date.tif",
        )
    with pytest.raises(SceneError, match="has 4 bands"):
        write_report(made / "clear.tif", made / "scene_20200611.tif", html, confidence=small)
    with pytest.raises(SceneIOError, match="does not exist"):
        write_report(made / "clear.tif", tmp_path / "gone.tif", html)
    assert not html.exists()
    html.write_text("mine")
    with pytest.raises(SceneIOError, match="overwrite=True"):
        write_report(made / "clear.tif", made / "scene_20200611.tif", html)
    with pytest.raises(SceneIOError, match="named twice"):
        write_report(
            made / "clear.tif", made / "scene_20200611.tif", made / "clear.tif", overwrite=True
        )
    assert html.read_text() == "mine"
