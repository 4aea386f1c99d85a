"""Options are defined once: the keywords and the flags are made of their fields."""

from __future__ import annotations

import dataclasses
import runpy
from pathlib import Path

import click
import pytest

import geodecloud
from geodecloud.cli.commands import batch, info, run
from geodecloud.errors import OptionError
from geodecloud.options import FileOptions, Options, about

ROOT = Path(__file__).parents[1]


def test_the_typed_keywords_are_those_of_the_fields() -> None:
    """Mend it with: python tools/keywords.py."""
    tool = runpy.run_path(str(ROOT / "tools" / "keywords.py"))
    assert tool["TARGET"].read_text() == tool["render"]()


@pytest.mark.parametrize("command", [run, info, batch], ids=lambda c: c.name)
def test_every_option_has_a_flag_with_its_help(command: click.Command) -> None:
    params = {param.name: param for param in command.params}
    for name, what in about(FileOptions).items():
        if (command.name, name) != ("batch", "references"):
            assert params[name].help == what.help
            assert params[name].default in (None, click.core.UNSET, ())  # config has the say


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"workers": 0}, "workers is at least 1, not 0"),
        ({"batch_size": True}, "batch_size is 'auto' or a number of px, not True"),
        ({"strict": "yes"}, "strict is True or False, not 'yes'"),
        ({"radiometry": "landsat"}, "radiometry 'landsat' is unknown; use one of s2-l2a"),
        ({"radiometry": 0.5}, "radiometry 0.5 is unknown; use one of s2-l2a"),
        ({"layout": ["stack"]}, r"layout \[.stack.\] is unknown; use one of stack, bands"),
        ({"nodata": "no"}, "nodata is a number or 'none', not 'no'"),
        ({"layout": "rows"}, "layout 'rows' is unknown; use one of stack, bands"),
        ({"resolution": 15}, "resolution 15 is unknown; use one of 10, 20, 60"),
        ({"max_memroy": "4GB"}, "no option 'max_memroy'; did you mean 'max_memory'"),
    ],
)
def test_values_that_make_no_sense_are_told(keywords: dict, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        FileOptions.of(keywords)


def test_every_field_says_what_it_is() -> None:
    for field in dataclasses.fields(FileOptions):
        assert field.metadata["about"].help
        assert field.name in (FileOptions.__doc__ or "") + (Options.__doc__ or "")


@pytest.mark.breaks_results  # the network that made them is in no file
def test_a_loaded_model_is_used_as_it_is(toy_model: Path, scene: Path, tmp_path: Path) -> None:
    """A network that was changed after loading gives other pixels, and another hash in the tags."""
    import rasterio
    import torch

    loaded = geodecloud.load_model(toy_model)
    report = geodecloud.decloud_scene(scene, tmp_path / "a.tif", model=loaded, mask="none")
    with torch.no_grad():
        loaded.network.conv_out.weight.mul_(1.5)
    geodecloud.decloud_scene(scene, tmp_path / "b.tif", model=loaded, mask="none")
    geodecloud.decloud_scene(scene, tmp_path / "c.tif", model=str(toy_model), mask="none")
    with (
        rasterio.open(tmp_path / "a.tif") as a,
        rasterio.open(tmp_path / "b.tif") as b,
        rasterio.open(tmp_path / "c.tif") as c,
    ):
        assert (a.read() == c.read()).all()
        assert (a.read() != b.read()).any()
        hashes = [src.tags()["GEODECLOUD_WEIGHTS_SHA256"] for src in (a, b, c)]
    assert hashes[0] == hashes[2] != hashes[1]
    assert report.model == "toy"
