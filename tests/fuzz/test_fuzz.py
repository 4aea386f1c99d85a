"""A few cases of each target of fuzzing, always the same ones; `make fuzz` runs 10 000."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz_cases import run_case
from fuzz_targets import TARGETS

CASES = 3


@pytest.mark.parametrize("name", TARGETS)
def test_wrong_files_get_a_message_or_a_result(name: str, tmp_path: Path) -> None:
    faults = {}
    for number in range(CASES):
        folder = tmp_path / str(number)
        folder.mkdir()
        if found := run_case(name, number, folder):
            faults[f"{name} {number}"] = found
    assert not faults, faults
