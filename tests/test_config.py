from __future__ import annotations

import dask
import pytest

import geodecloud
from geodecloud.errors import OptionError
from geodecloud.options import Options

pytestmark = pytest.mark.usefixtures("own_backend")


def test_defaults_hold_within_a_with() -> None:
    with geodecloud.config.set(max_memory="4GB", window=256):
        options = Options.of({"window": 128, "workers": None})
        assert (options.max_memory, options.window) == ("4GB", 128)  # what a call says wins
    assert Options.of({}) == Options()


def test_dasks_own_ways_of_setting_work() -> None:
    """A YAML file or the environment, which Dask brings to this form."""
    with dask.config.set(dask.config.collect_env({"DASK_GEODECLOUD__MAX_MEMORY": "2GB"})):
        assert Options.of({"max_memory": None}).max_memory == "2GB"
    with dask.config.set({"geodecloud": {"max-memory": "3GB"}}):
        assert Options.of({}).max_memory == "3GB"


def test_an_unknown_default_is_refused_at_once() -> None:
    with pytest.raises(OptionError, match="did you mean 'max_memory'"):
        geodecloud.config.set(maxmemory="4GB")
