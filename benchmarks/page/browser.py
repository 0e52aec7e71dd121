"""Headless Chromium over its DevTools protocol: open a file, run JavaScript in it, press keys, take a picture."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

_NAMES = ("chromium", "chromium-browser", "google-chrome")
#: Generous: the machine may be busy.
_START_S, _REPLY_S, _WAIT_S = 300, 300, 180


def why_not() -> str:
    """Why no browser can be had here; empty where one can."""
    if not any(map(shutil.which, _NAMES)):
        return f"none of {', '.join(_NAMES)} is installed (Debian: apt-get install chromium)"
    try:
        import websockets.sync.client  # noqa: F401
    except ImportError:
        return "the package websockets is not installed"
    return ""


class Page:
    """One tab. Errors and console messages of the page are kept in `errors`."""

    def __init__(self, socket: Any) -> None:
        self._socket, self._number = socket, 0
        self.errors: list[str] = []
        self.requests: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of a command of the protocol."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=_REPLY_S))
            if message.get("id") == self._number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                result: dict[str, Any] = message["result"]
                return result
            self._see(message)

    def _see(self, message: dict[str, Any]) -> None:
        told = message.get("params", {})
        match message.get("method"):
            case "Runtime.exceptionThrown":
                self.errors.append(str(told["exceptionDetails"].get("exception", told)))
            case "Log.entryAdded" if told["entry"]["level"] == "error":
                self.errors.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")
            case "Network.requestWillBeSent":
                self.requests.append(told["request"]["url"])

    def js(self, expression: str) -> Any:
        """The value of an expression, a promise's when it is kept."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(f"{expression}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def until(self, expression: str, seconds: float = _WAIT_S) -> None:
        """Waits until the expression is true.

        Raises:
            TimeoutError: it never was.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.js(f"!!({expression})"):
                return
            time.sleep(0.02)
        raise TimeoutError(f"never true: {expression}; errors of the page: {self.errors}")

    def open(self, path: Path, fragment: str = "") -> float:
        """Opens a page of ours afresh; returns the milliseconds until its first case stands there."""
        self.call("Page.navigate", url="about:blank")
        self.until("location.href === 'about:blank'")
        self.call("Page.navigate", url=path.resolve().as_uri() + fragment)
        self.until("document.documentElement?.dataset.ready")
        return float(self.js("document.documentElement.dataset.ready"))

    def key(self, key: str) -> None:
        text = {"text": key} if len(key) == 1 else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def click(self, selector: str) -> None:
        """A click of the mouse at the middle of the first element that matches."""
        quoted = json.dumps(selector)
        # Pictures that are still to come would move what follows.
        self.until("[...document.querySelectorAll('#case img')].every(image => image.complete)")
        x, y = self.js(
            f"(() => {{ const e = document.querySelector({quoted}); e.scrollIntoView({{block: 'center'}});"
            "const b = e.getClientRects()[0]; return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def size(self, width: int, height: int) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))


@contextmanager
def browser() -> Iterator[Page]:
    """A tab of a browser with a profile of its own, while it runs.

    Raises:
        RuntimeError: it did not start.
    """
    from websockets.sync.client import connect

    name = next(filter(None, map(shutil.which, _NAMES)))
    with TemporaryDirectory() as profile:
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        command = [name, *flags, "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            with connect(_address(Path(profile), process), max_size=None) as socket:
                yield Page(socket)
        finally:
            process.terminate()
            process.wait(_REPLY_S)


def _address(profile: Path, process: subprocess.Popen[bytes]) -> str:
    """Of the first tab."""
    end = time.monotonic() + _START_S
    port = profile / "DevToolsActivePort"
    while time.monotonic() < end and process.poll() is None:
        if port.exists() and (lines := port.read_text(encoding="utf-8").split()):
            with urllib.request.urlopen(f"http://127.0.0.1:{lines[0]}/json") as reply:
                for tab in json.load(reply):
                    if tab["type"] == "page":
                        return str(tab["webSocketDebuggerUrl"])
        time.sleep(0.1)
    raise RuntimeError(f"the browser did not start (exit code {process.poll()})")
