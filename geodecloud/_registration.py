"""Registers the accessor as soon as xarray is imported, without importing it: that takes 0.3 s.

xarray has no entry point for accessors, so this waits for its import with a finder of our own. Nothing
of xarray, or of its loader, is changed: a spec of our own runs the loader and then registers.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def register_with_xarray() -> None:
    """Register ``.geodecloud`` now if xarray is there, else right after its import."""
    if "xarray" in sys.modules:
        importlib.import_module("geodecloud.accessor")
    else:
        sys.meta_path.insert(0, _Finder())


class _Finder:
    """Finds xarray as the finders behind it do, and nothing else."""

    _asking = False

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != "xarray" or self._asking:
            return None
        self._asking = True  # the question below comes by here again
        try:
            found = importlib.util.find_spec(name)
        finally:
            self._asking = False
        if found is None or found.loader is None:
            return found
        spec = ModuleSpec(name, _Loader(found, self), origin=found.origin, is_package=True)
        spec.submodule_search_locations = found.submodule_search_locations
        spec.has_location = found.has_location
        spec.cached = found.cached
        return spec


class _Loader:
    """Loads as the loader of a spec does, and registers the accessor."""

    def __init__(self, spec: ModuleSpec, finder: _Finder) -> None:
        self._spec, self._finder = spec, finder

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        assert self._spec.loader is not None
        return self._spec.loader.create_module(self._spec)

    def exec_module(self, module: ModuleType) -> None:
        assert self._spec.loader is not None
        # from here on the module is as if we had never been there
        module.__spec__, module.__loader__ = self._spec, self._spec.loader
        if self._finder in sys.meta_path:
            sys.meta_path.remove(self._finder)  # type: ignore[arg-type]
        self._spec.loader.exec_module(module)
        importlib.import_module("geodecloud.accessor")
