"""The long form of fuzzing: many cases, each in a process that may crash, hang or grow.

::

    python tests/fuzz/campaign.py                    # 10 000 cases
    python tests/fuzz/campaign.py --cases 500 --target geotiff
    python tests/fuzz/campaign.py --one 'geotiff 1234' --keep folder

A worker runs one case after the other and is replaced where it dies, hangs (10 s of a processor, or 10 s
of doing nothing), or has done 500. A case that needs more than 1 GB above what the worker had before is a fault, too. What is wrong is
printed with the name of its case, which makes the same files again.
"""

from __future__ import annotations

import argparse
import faulthandler
import itertools
import json
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
for place in (HERE, HERE.parent, HERE.parent.parent):
    sys.path.insert(0, str(place))

SECONDS = 10.0
MEGABYTES = 1024
CASES_PER_WORKER = 500
NAMES = (
    *("geotiff", "jp2", "safe_xml", "stac", "vrt", "side_xml", "geojson", "model", "checkpoint"),
    *("journal", "mask", "reference", "archive", "tags", "words"),
)


class Worker:
    """A process that runs cases."""

    def __init__(self, log: Path) -> None:
        ours, theirs = os.pipe(), os.pipe()
        self.log, self.done = log, 0
        command = [sys.executable, __file__, "--worker", f"{theirs[0]},{ours[1]}"]
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                pass_fds=(theirs[0], ours[1]),
            )
        os.close(theirs[0])
        os.close(ours[1])
        self.answers, self.orders = open(ours[0]), open(theirs[1], "w")  # noqa: SIM115
        if self.answers.readline() != "ready\n":
            raise RuntimeError(f"no worker: {log.read_text()[-2000:]}")

    def run(self, case: str) -> tuple[list[str], float, float]:
        """Faults of one case, its seconds, and the MB it needed."""
        print(case, file=self.orders, flush=True)
        begin = time.monotonic()
        ready = self._wait()
        line = self.answers.readline() if ready else ""
        if not ready:
            self.process.send_signal(signal.SIGABRT)  # faulthandler tells where it was
            time.sleep(0.5)
        self.done += 1
        if not line:
            self.close()
            told = self.log.read_text(errors="replace")[-1500:]
            what = "a hang" if not ready else f"a crash, exit code {self.process.returncode}"
            return [f"{what}: {told}"], time.monotonic() - begin, 0.0
        said = json.loads(line)
        return said["faults"], said["seconds"], said["megabytes"]

    def _wait(self) -> bool:
        """Whether it answers: it may use 10 s of a processor, or do nothing for 10 s, however busy the machine is."""
        begin = used = self._seconds()
        changed = time.monotonic()
        while not select.select([self.answers], [], [], 0.5)[0]:
            now = self._seconds()
            if now != used:
                used, changed = now, time.monotonic()
            if used - begin > SECONDS or (time.monotonic() - changed > SECONDS and self._sleeps()):
                return False
        return True

    def _stat(self) -> list[str]:
        return Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()

    def _seconds(self) -> float:
        """Of processors that it has used."""
        return sum(map(int, self._stat()[11:13])) / os.sysconf("SC_CLK_TCK")

    def _sleeps(self) -> bool:
        return self._stat()[0] == "S"

    @property
    def is_fresh(self) -> bool:
        """Whether it can take another case."""
        return self.process.poll() is None and self.done < CASES_PER_WORKER

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        self.answers.close()
        self.orders.close()


def work(numbers: str) -> None:
    """What a worker does."""
    orders, answers = (int(number) for number in numbers.split(","))
    faulthandler.enable()
    import torch

    import geodecloud

    torch.set_num_threads(1)
    geodecloud.config.set(backend="torch")
    from fuzz_cases import run_case
    from fuzz_targets import TARGETS

    assert set(NAMES) == set(TARGETS)
    folder = Path(tempfile.mkdtemp(prefix="geodecloud-fuzz-"))
    allowed = str(folder)
    faults: list[str] = []

    def audit(event: str, arguments: tuple[object, ...]) -> None:
        """Anything that is written elsewhere, or started, or connected to."""
        if event == "open" and isinstance(arguments[0], str | bytes):
            path, flags = os.path.abspath(os.fsdecode(arguments[0])), arguments[2]
            writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if writes and not path.startswith((allowed, "/dev/null")):
                faults.append(f"opened {path} to write")
        elif event in ("os.remove", "os.rmdir", "os.rename", "os.mkdir"):
            # -1: the path is no name in an open folder, as in shutil.rmtree
            plain = isinstance(arguments[0], str) and arguments[-1] == -1
            if plain and not os.path.abspath(str(arguments[0])).startswith(allowed):
                faults.append(f"{event} {arguments[0]}")
        elif event in ("subprocess.Popen", "os.system", "socket.connect", "os.exec"):
            faults.append(f"{event} {arguments}"[:200])

    with open(orders) as inbox, open(answers, "w") as outbox:
        # the first case of all imports what is imported late
        _in(folder, lambda place: run_case("reference", 0, place))
        sys.addaudithook(audit)
        limit = _status("VmSize") + 4 * MEGABYTES  # what nobody measures in time
        resource.setrlimit(resource.RLIMIT_AS, (int(limit * 2**20),) * 2)
        print("ready", file=outbox, flush=True)
        for line in inbox:
            name, number = line.split()
            faults.clear()
            Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
            faults.clear()
            begin, before = time.process_time(), _status("VmRSS")
            found = _in(folder, lambda place: run_case(name, int(number), place))  # noqa: B023
            grown = _status("VmHWM") - before
            found = found + faults
            if grown > MEGABYTES:
                found.append(f"memory: {grown:.0f} MB more")
            seconds = time.process_time() - begin
            said = {"faults": found, "seconds": seconds, "megabytes": grown}
            print(json.dumps(said), file=outbox, flush=True)
    shutil.rmtree(folder, ignore_errors=True)


def _in(folder: Path, run: object) -> list[str]:
    place = folder / "case"
    place.mkdir()
    try:
        return run(place)  # type: ignore[operator]
    finally:
        shutil.rmtree(place)


def _status(name: str) -> float:
    """MB of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024


def cases(count: int, targets: list[str], first: int) -> Iterator[str]:
    """Names of cases, the targets by turns."""
    numbers = (f"{name} {number}" for number in itertools.count(first) for name in targets)
    return itertools.islice(numbers, count)


def main() -> None:
    """Run the campaign."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument(
        "--first", type=int, default=0, help="number of the first case of each target"
    )
    parser.add_argument("--target", action="append", choices=NAMES, help="only this")
    parser.add_argument("--one", metavar="CASE", help="only this case, here, with its traceback")
    parser.add_argument("--keep", type=Path, help="folder for the files of --one")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker:
        work(asked.worker)
        return
    if asked.one:
        from fuzz_cases import run_case

        folder = asked.keep or Path(tempfile.mkdtemp())
        folder.mkdir(exist_ok=True)
        name, number = asked.one.split()
        print("\n".join(run_case(name, int(number), folder)) or "no fault", folder, sep="\n")
        return
    found: Counter[str] = Counter()
    slowest, most, begin, count = (0.0, ""), (0.0, ""), time.monotonic(), 0
    with tempfile.TemporaryDirectory() as place:
        log = Path(place, "log")
        worker = Worker(log)
        for case in cases(asked.cases, asked.target or list(NAMES), asked.first):
            if not worker.is_fresh:
                if worker.process.poll() is None:
                    worker.close()
                worker = Worker(log)
            faults, seconds, megabytes = worker.run(case)
            count += 1
            slowest, most = max(slowest, (seconds, case)), max(most, (megabytes, case))
            for fault in faults:
                found[fault.split(":")[0]] += 1
                print(f"{case}: {fault}", flush=True)
            if count % 1000 == 0:
                print(f"{count} cases, {sum(found.values())} faults", file=sys.stderr, flush=True)
        if worker.process.poll() is None:
            worker.close()
    minutes = (time.monotonic() - begin) / 60
    print(
        f"{count} cases in {minutes:.1f} min: {sum(found.values())} faults {dict(found) or ''}; "
        f"the slowest took {slowest[0]:.1f} s ({slowest[1]}), the largest {most[0]:.0f} MB ({most[1]})"
    )
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
