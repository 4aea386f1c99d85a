"""A progress bar, on a terminal or in a notebook."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def progress_bar(pixels: int) -> Iterator[Callable[[int], None]]:
    """A bar with MPix/s and time left, on a terminal or in a notebook."""
    with warnings.catch_warnings():
        # in a notebook without ipywidgets it is a bar of text
        warnings.filterwarnings("ignore", "IProgress not found")
        from tqdm.auto import tqdm

    layout = "{l_bar}{bar}| {n:.1f}/{total:.1f} MPix, {rate_noinv_fmt}, {remaining} left"
    with tqdm(total=pixels / 1e6, unit="MPix", bar_format=layout, leave=False) as bar:
        yield lambda done: bar.update(done / 1e6) and None
