"""How many mutants of five groups of modules the tests kill: one change of the code each, made by mutmut.

::

    python benchmarks/mutation.py [GROUP ...] [--sample 200] [--seed 0]
    python benchmarks/mutation.py references --show     # and the difference that each survivor is

A group with more mutants than `--sample` is drawn from: every n-th of them in the order of the code, from a place
that `--seed` gives, so each function has its part; the interval is Wilson's, at 95 %. A mutant that some test killed
is not run again before its function changes; remove the folder `mutants` to begin anew. Which modules, which tests: `[tool.mutmut]` in
pyproject.toml.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
from pathlib import Path

from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.file_mutation import mutate_file_contents
from mutmut.stats import status_by_exit_code
from mutmut.utils.format_utils import get_mutant_name
from scipy.stats import binomtest

ROOT = Path(__file__).parents[1]
GROUPS = {
    "tiler": "geodecloud/windows/tiler.py",
    "stitcher": "geodecloud/windows/stitcher.py",
    "composite": "geodecloud/restore/composite.py",
    "reflectance": "geodecloud/scene/reflectance.py",
    "references": "geodecloud/restore/references/*.py",
}
#: A mutant that never ends, or ends the process, is seen as well as one that fails a test.
KILLED = ("killed", "timeout", "segfault")


def all_mutants(pattern: str) -> list[str]:
    """Names of all mutants, in the order of the code."""
    names: list[str] = []
    for path in sorted(Path().glob(pattern)):
        known = SourceFileMutationData(path=path)
        if known.meta_path.exists() and known.meta_path.stat().st_mtime > path.stat().st_mtime:
            known.load()
            names += known.exit_code_by_key
        else:  # takes some seconds
            made = mutate_file_contents(str(path), path.read_text("utf-8"))
            names += [get_mutant_name(path, name) for name in made.mutant_names]
    return names


def draw(names: list[str], count: int, seed: int) -> list[str]:
    """As many of them, evenly along the code."""
    step = max(1.0, len(names) / count)
    start = random.Random(seed).random() * step
    places = (int(start + step * i) for i in range(min(count, len(names))))
    return [names[place] for place in places] if step > 1 else names


def states(pattern: str) -> dict[str, str]:
    """What became of the mutants that were run."""
    found = {}
    for path in sorted(Path().glob(pattern)):
        data = SourceFileMutationData(path=path)
        data.load()
        found |= {name: status_by_exit_code[code] for name, code in data.exit_code_by_key.items()}
    return found


def run(names: list[str]) -> None:
    """Run mutants, one after the other: libraries for arrays would fight over the cores."""
    alone = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [Path(sys.executable).parent / "mutmut", "run", "--max-children", "1", *names]
    subprocess.run(command, env=os.environ | alone, stdout=sys.stderr, check=True)


def main() -> None:
    """Draw, run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("groups", nargs="*", choices=[[], *GROUPS], default=[])
    parser.add_argument("--sample", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", action="store_true", help="the change that each survivor is")
    parser.add_argument("--print", action="store_true", help="what was run before; run nothing")
    asked = parser.parse_args()
    os.chdir(ROOT)
    groups = {name: GROUPS[name] for name in asked.groups or GROUPS}
    every = {name: all_mutants(pattern) for name, pattern in groups.items()}
    drawn = {name: draw(names, asked.sample, asked.seed) for name, names in every.items()}
    before = {key: state for pattern in groups.values() for key, state in states(pattern).items()}
    todo = [n for names in drawn.values() for n in names if before.get(n) not in KILLED]
    if todo and not asked.print:
        run(todo)
    print("| group | mutants | run | killed | share | interval |")
    print("|---|---|---|---|---|---|")
    survivors = []
    for name, pattern in groups.items():
        after = states(pattern)
        left = [one for one in drawn[name] if after[one] not in KILLED]
        count = len(drawn[name])
        low, high = binomtest(count - len(left), count).proportion_ci(method="wilson")
        interval = f"{low:.1%} to {high:.1%}" if count < len(every[name]) else "all"
        print(
            f"| {name} | {len(every[name])} | {count} | {count - len(left)} "
            f"| {1 - len(left) / count:.1%} | {interval} |"
        )
        survivors += left
    for one in survivors if asked.show else ():
        print(subprocess.run(["mutmut", "show", one], capture_output=True, text=True).stdout)


if __name__ == "__main__":
    main()
