"""A real browser for tests: Chromium without a window, told what to do over two pipes (DevTools protocol)."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def find_browser() -> str:
    """Where Chromium is; the test is skipped where there is none."""
    for name in NAMES:
        if path := shutil.which(name):
            return path
    pytest.skip(f"no browser of these is installed: {', '.join(NAMES)}")


class Browser:
    """One page of Chromium, and what it had to complain of.

    Attributes
    ----------
    complaints : errors and warnings of the page's console, and scripts or loads that were refused
    asked_for : addresses of everything the page loaded
    """

    def __init__(self, profile: Path) -> None:
        self.complaints: list[str] = []
        self.asked_for: list[str] = []
        self._number, self._rest = 0, b""
        # high numbers: 3 and 4, which Chromium wants, may be taken by the other ends
        low = (*os.pipe(), *os.pipe())
        ours = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 20) for end in low]
        for end in low:
            os.close(end)
        its_in, self._to, self._from, its_out = ours

        def give_pipes() -> None:
            os.dup2(its_in, 3)
            os.dup2(its_out, 4)

        command = [find_browser(), "--headless", "--disable-gpu", "--remote-debugging-pipe"]
        command += [
            "--no-first-run",
            "--disable-background-networking",
            f"--user-data-dir={profile}",
        ]
        if os.geteuid() == 0:
            command.append("--no-sandbox")  # Chromium's own does not work for root
        self._process = subprocess.Popen(
            command,
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            preexec_fn=give_pipes,
            close_fds=False,
        )
        for end in (its_in, its_out):
            os.close(end)
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = None
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    _session: str | None = None

    def close(self) -> None:
        """End the browser."""
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._to)
        os.close(self._from)

    def open(self, page: Path, width: int = 1280, height: int = 1000) -> None:
        """Load a page, and wait until it is there."""
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        self._call("Page.navigate", url=page.resolve().as_uri())
        self.wait_for("document.readyState === 'complete' && document.title !== ''")

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for(self, expression: str, seconds: float = 60) -> None:
        """Until an expression is true."""
        end = time.monotonic() + seconds
        while not self.evaluate(expression):
            assert time.monotonic() < end, f"{expression} did not come true"
            time.sleep(0.02)

    def drag(self, start: tuple[float, float], stop: tuple[float, float]) -> None:
        """Press the mouse at a place of the window, move it, and let go."""
        button = {"button": "left", "clickCount": 1, "buttons": 1}
        self._call(
            "Input.dispatchMouseEvent", type="mousePressed", x=start[0], y=start[1], **button
        )
        for x, y in ((start[0] + 1, start[1]), stop):
            self._call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y, **button)
        self._call("Input.dispatchMouseEvent", type="mouseReleased", x=stop[0], y=stop[1], **button)

    def press(self, key: str, code: int, text: str = "") -> None:
        """Press a key."""
        about = {"key": key, "windowsVirtualKeyCode": code}
        self._call("Input.dispatchKeyEvent", type="keyDown", text=text, **about)
        self._call("Input.dispatchKeyEvent", type="keyUp", **about)

    def prefer(self, scheme: str = "light", media: str = "screen") -> None:
        """What the reader prefers: light or dark, screen or print."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._call("Emulation.setEmulatedMedia", media=media, features=features)

    def screenshot(self, path: Path) -> Path:
        """The whole page as a PNG."""
        shot = self._call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))
        return path

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self._note(answer.get("method", ""), answer.get("params", {}))

    def _next(self) -> dict[str, Any]:
        """One message of the browser; its pipe is at its end when it has died."""
        while b"\0" not in self._rest:
            there, _, _ = select.select([self._from], [], [], 120)
            found = os.read(self._from, 1 << 16) if there else b""
            assert found, f"{NAMES[0]} does not answer; exit code {self._process.poll()}"
            self._rest += found
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def _note(self, event: str, said: dict[str, Any]) -> None:
        if event == "Runtime.exceptionThrown":
            self.complaints.append(str(said["exceptionDetails"]))
        elif event == "Runtime.consoleAPICalled" and said["type"] in ("error", "warning", "assert"):
            self.complaints.append(str(said["args"]))
        elif event == "Log.entryAdded" and said["entry"]["level"] in ("error", "warning"):
            self.complaints.append(said["entry"]["text"])
        elif event == "Network.requestWillBeSent":
            self.asked_for.append(said["request"]["url"])
