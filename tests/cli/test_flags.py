"""Messages are written for Python, and the command line shows what its users can type."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import textured_dn, write_raster

import geodecloud
from geodecloud.cli.commands import main
from geodecloud.cli.flags import in_flags
from geodecloud.errors import BandError, OptionError, SceneError
from geodecloud.options import Options


def parse(flags: str) -> dict[str, object]:
    """What click understands of some flags."""
    words = ["scene.tif", "--out", "o.tif", *shlex.split(flags)]
    return main.commands["run"].make_context("run", words).params


@pytest.mark.parametrize(
    ("python", "values"),
    [
        ("scale=0.0001, offset=-0.1", {"scale": 1e-4, "offset": -0.1}),
        ('mask="a b.tif:cloud>50"', {"mask": "a b.tif:cloud>50"}),
        ('model="s2-10m", bands=["1", "2", "3", "4"]', {"bands": ("1", "2", "3", "4")}),
        ('s2_offset=-1000, halo="auto"', {"s2_offset": -1000.0, "halo": "auto"}),
        ("sun_azimuth=154.5", {"sun_azimuth": 154.5}),
        ("s2_offset='none'", {"s2_offset": "none"}),
        ('strict=True, max_memory="4GB"', {"strict": True, "max_memory": "4GB"}),
        ("stac=False, overwrite=True, window=256", {"stac": False, "overwrite": True}),
        ('scheduler="tcp://10.0.0.1:8786"', {"scheduler": "tcp://10.0.0.1:8786"}),
    ],
)
def test_what_is_shown_can_be_typed(python: str, values: dict[str, object]) -> None:
    flags = in_flags(python)
    assert parse(flags).items() >= values.items()
    assert in_flags(f"Say {python}. Or not") == f"Say {flags}. Or not"
    assert in_flags(flags) == flags


def test_all_options_are_flags() -> None:
    known = {param.name for param in main.commands["run"].params}
    assert {field.name for field in dataclasses.fields(Options)} <= known


@pytest.mark.parametrize(
    "text",
    [
        "reflectance = DN * scale + offset",
        "https://host/x.tif?mask=1&scale=2",
        "the scene has a scale of 1, offset 0; format=COG",
    ],
)
def test_other_text_stays(text: str) -> None:
    assert in_flags(text) == text


def test_folders_have_a_command() -> None:
    said = in_flags('For a folder: geodecloud.decloud_folder("my scenes", "DIR")')
    assert said == "For a folder: geodecloud batch 'my scenes' --out-dir DIR"


def test_each_door_has_its_words(tmp_path: Path) -> None:
    scene = write_raster(tmp_path / "scene.tif", textured_dn(3, 30, 40))
    out = tmp_path / "out.tif"

    def told(*words: object) -> str:
        return CliRunner().invoke(main, [str(scene), "-o", str(out), *map(str, words)]).stderr

    with pytest.raises(BandError, match=r'model="s2-10m", bands=\["1", "2", "3", "4"\]'):
        geodecloud.decloud_scene(scene, out)
    assert "--model s2-10m --bands 1,2,3,4" in told()
    with pytest.raises(OptionError, match=r"resolution=20 is .* scale=0.0001"):
        geodecloud.decloud_scene(scene, out, resolution=20)
    assert "--resolution 20 is for" in told("--resolution", 20)
    with pytest.raises(SceneError, match=r'geodecloud\.decloud_folder\(".*", "DIR"\)'):
        geodecloud.decloud_scene(tmp_path, out)
    folder = CliRunner().invoke(main, [str(tmp_path), "-o", str(out)])
    assert f"geodecloud batch {tmp_path} --out-dir DIR" in folder.stderr
    (tmp_path / "s2cloudless").touch()  # a warning of a mask is shown in flags, too
    mask = write_raster(tmp_path / "m.tif", textured_dn(1, 30, 40))
    said = told("--model", "identity", "--mask", mask)
    assert f"Warning: mask {mask} is taken as a mask" in said
    assert f"--mask '{mask}:1>50'" in said
