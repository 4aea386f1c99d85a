"""What is said once, however many chunks are computed side by side."""

from __future__ import annotations

import threading


class Once:
    """Whether something was said already; true for the first thread that asks."""

    def __init__(self) -> None:
        self._said = threading.Lock()

    def first(self) -> bool:
        """True once, and False from then on."""
        return self._said.acquire(blocking=False)

    @property
    def said(self) -> bool:
        """Whether it was."""
        return self._said.locked()

    def __reduce__(self) -> tuple[type[Once], tuple[()]]:
        return Once, ()

    def __dask_tokenize__(self) -> str:
        """Results do not depend on it."""
        return "once"
