"""A headless Chromium, driven by the DevTools protocol over a pipe; nothing but the standard library is needed."""

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def program() -> str | None:
    """The path of a Chromium, where one is installed."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


START = """
import fcntl, os, sys
reads, writes = (fcntl.fcntl(int(each), fcntl.F_DUPFD, 10) for each in sys.argv[1:3])
os.dup2(reads, 3), os.dup2(writes, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Chromium reads commands from descriptor 3 and writes answers to descriptor 4."""


class Browser:
    """One page in a browser of its own; to be used as a context.

    complaints: errors and warnings of the console, what was thrown, and what was refused or could not be loaded.
    requests: the addresses that were asked for.
    """

    def __init__(self, profile: Path, timeout: float = 60):
        self.timeout = timeout
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self._last, self._rest, self._session = 0, b"", None
        self._from_browser, to_us = os.pipe()
        from_us, self._to_browser = os.pipe()
        command = [
            *(program() or "", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *("--remote-debugging-pipe", f"--user-data-dir={profile}", "--no-first-run", "--hide-scrollbars"),
            *("--disable-background-networking", "--disable-component-update", "about:blank"),
        ]
        words = [sys.executable, "-c", START, str(from_us), str(to_us), *command]
        with open(os.devnull, "r+b") as nothing:
            self._process = subprocess.Popen(
                words, stdin=nothing, stdout=nothing, stderr=nothing, pass_fds=(from_us, to_us)
            )
        os.close(from_us)
        os.close(to_us)

    def __enter__(self) -> "Browser":
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        return self

    def __exit__(self, *_: Any) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._from_browser)
        os.close(self._to_browser)

    # ---- what a test asks for --------------------------------------------------------------------------------------

    def size(self, width: int, height: int, mobile: bool = False, scheme: str = "light") -> None:
        """Set the window, in CSS pixels, and whether light or dark is preferred."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def open(self, path: Path) -> None:
        """Go to a file, until it is loaded."""
        self.send("Page.navigate", url=path.resolve().as_uri())
        end = time.monotonic() + self.timeout
        while self.js("document.readyState") != "complete" or self.js("location.href") == "about:blank":
            assert time.monotonic() < end, f"{path} was not loaded in {self.timeout} s"
            time.sleep(0.05)

    def js(self, expression: str) -> Any:
        """The value of an expression in the page, as plain values."""
        done = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def screenshot(self, path: Path, whole: bool = False) -> None:
        """Save what is seen as a png; or the whole page."""
        shot = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))

    def pdf(self, path: Path) -> None:
        """Print the page to a file."""
        path.write_bytes(base64.b64decode(self.send("Page.printToPDF", printBackground=True)["data"]))

    # ---- the protocol ----------------------------------------------------------------------------------------------

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """A command's result."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to_browser, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + self.timeout
        while True:
            answer = self._next(end)
            if answer.get("id") == self._last:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self._note(answer)

    def _next(self, end: float) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._from_browser], [], [], max(0, end - time.monotonic()))
            assert ready, f"the browser said nothing for {self.timeout} s"
            piece = os.read(self._from_browser, 1 << 20)
            assert piece, f"the browser ended with {self._process.wait()}"
            self._rest += piece
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def _note(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        match event.get("method"):
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(params["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                self.complaints.append(json.dumps(params["args"]))
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                self.complaints.append(params["entry"]["text"])
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"][:200])
