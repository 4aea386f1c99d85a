"""What a check has found: whether a promise is kept, and if not, where, and what is there instead."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from geodecloud.raster.difference import shorten


class State(StrEnum):
    """Outcome of a check."""

    OK = "ok"
    NOT_CHECKED = "not checked"
    FAILED = "failed"


@dataclass(frozen=True)
class Finding:
    """One line of a verification.

    Attributes
    ----------
    check : its name, such as "pixels"
    about : what was looked at, or what is wrong, in words
    found, expected : values as text, where there are any
    file : of the result, where it has several
    tag : where it is about one
    band, row, col : where in the raster: band from 1, row and col from 0
    count : how many values or pixels are wrong, where they were counted
    """

    check: str
    state: State
    about: str = ""
    found: str | None = None
    expected: str | None = None
    file: str | None = None
    tag: str | None = None
    band: int | None = None
    row: int | None = None
    col: int | None = None
    count: int | None = None

    @property
    def place(self) -> str:
        """Where it is, in words; empty: it is about all of the result."""
        named = {
            "": self.file,
            "tag ": self.tag,
            "band ": self.band,
            "row ": self.row,
            "column ": self.col,
        }
        return ", ".join(f"{name}{value}" for name, value in named.items() if value is not None)

    def __str__(self) -> str:
        said = [self.place, self.about]
        if self.expected is not None:
            said.append(f"found {self.found}, expected {self.expected}")
        elif self.found is not None:
            said.append(f"found {self.found}")
        if self.count is not None and self.count > 1:
            said.append(f"{self.count} in all")
        return f"{self.state:<12} {self.check:<13} {': '.join(filter(None, said))}"


def ok(check: str, about: str, **more: Any) -> Finding:
    """A promise that is kept."""
    return Finding(check, State.OK, about, **more)


def not_checked(check: str, reason: str, **more: Any) -> Finding:
    """A promise that could not be looked at; no fault of the result."""
    return Finding(check, State.NOT_CHECKED, reason, **more)


def failed(
    check: str, about: str, *, found: Any = None, expected: Any = None, **more: Any
) -> Finding:
    """A promise that is broken."""
    was, should = (None if value is None else shorten(value) for value in (found, expected))
    return Finding(check, State.FAILED, about, found=was, expected=should, **more)


@dataclass(frozen=True)
class Verification:
    """All findings about one result.

    Attributes
    ----------
    out, source : paths as they were given
    findings : in the order of the checks
    """

    out: str
    source: str
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether no promise is broken, as far as it could be checked."""
        return not self.failed

    @property
    def failed(self) -> tuple[Finding, ...]:
        """Promises that are broken."""
        return tuple(one for one in self.findings if one.state == State.FAILED)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        findings = [
            {name: value for name, value in asdict(one).items() if value is not None}
            for one in self.findings
        ]
        return {"out": self.out, "source": self.source, "ok": self.ok, "findings": findings}

    def __str__(self) -> str:
        """A line for each finding, the failed ones last."""
        order = list(State)
        return "\n".join(map(str, sorted(self.findings, key=lambda one: order.index(one.state))))
