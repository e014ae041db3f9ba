"""A small client of Chromium's DevTools protocol: one page, its clicks, keys, errors, screenshots.

Invariant: every console message, exception, policy violation and request of the page is recorded,
so that a test can assert that there were none.
"""

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

ARTEFACTS = Path(__file__).parent / "artefacts"
"""Screenshots to look at; git ignores them."""

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--remote-debugging-port=0",
)
_SECONDS = 30.0
_KEY_CODES = {
    "Tab": 9,
    "Enter": 13,
    "Escape": 27,
    " ": 32,
    "End": 35,
    "Home": 36,
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
}


class Page:
    """The one page of a browser. Methods wait until the browser has finished."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._last_id = 0
        self.messages: list[str] = []
        self.requests: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result."""
        self._last_id += 1
        self._socket.send(json.dumps({"id": self._last_id, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=_SECONDS))
            if message.get("id") == self._last_id:
                assert "error" not in message, f"{method}: {message['error']}"
                return dict(message["result"])
            self._note(message)

    def open(
        self,
        url: str,
        *,
        width: int = 1000,
        dark: bool = False,
        still: bool = True,
        scripts: bool = True,
    ) -> None:
        """Open `url` at a width; `still`: the user prefers reduced motion."""
        self.messages.clear()
        self.requests.clear()
        features = [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce" if still else "no-preference"},
        ]
        self.call("Emulation.setEmulatedMedia", features=features)
        self.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.resize(width)
        self.call("Page.navigate", url=url)
        self.wait_for("document.readyState === 'complete' && location.href !== 'about:blank'")

    def resize(self, width: int, height: int = 900) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def value(self, expression: str) -> Any:
        """The value of a JavaScript expression; a promise is awaited."""
        result = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Wait until the expression is true."""
        deadline = time.monotonic() + _SECONDS
        while not self.value(expression):
            assert time.monotonic() < deadline, f"never true: {expression}"
            time.sleep(0.02)

    def text(self, selector: str) -> str:
        """The text of the element, its no-break spaces as plain ones."""
        found = self.value(f"document.querySelector({json.dumps(selector)}).textContent")
        return str(found).replace("\N{NO-BREAK SPACE}", " ")

    def count(self, selector: str) -> int:
        """How many elements there are."""
        return int(self.value(f"document.querySelectorAll({json.dumps(selector)}).length"))

    def focus(self, selector: str) -> None:
        self.value(f"document.querySelector({json.dumps(selector)}).focus()")

    def click(self, selector: str) -> None:
        """Press the mouse in the middle of the element."""
        self._mouse(selector, "mousePressed", "mouseReleased")

    def point(self, selector: str) -> None:
        """Move the mouse to the middle of the element."""
        self._mouse(selector, "mouseMoved")

    def press(self, key: str) -> None:
        """Press a key where the focus is."""
        text = {"Enter": "\r", " ": " "}.get(key, key if len(key) == 1 else "")
        code = _KEY_CODES.get(key, 0)
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                windowsVirtualKeyCode=code,
                **({"text": text} if text and kind == "keyDown" else {}),
            )

    def screenshot(self, path: Path) -> None:
        """Write a screenshot of the whole page as a PNG."""
        result = self.call("Page.captureScreenshot", captureBeyondViewport=True, format="png")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(result["data"]))

    def _mouse(self, selector: str, *kinds: str) -> None:
        middle = self.value(
            f"(async () => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center'});"
            "await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));"
            "const r = e.getBoundingClientRect();"
            "return {x: r.x + r.width / 2, y: r.y + r.height / 2}; })()"
        )
        for kind in kinds:
            self.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **middle)

    def _note(self, message: Mapping[str, Any]) -> None:
        method, facts = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            thrown = facts["exceptionDetails"]
            self.messages.append(thrown.get("exception", thrown).get("description", str(thrown)))
        elif method == "Runtime.consoleAPICalled":
            self.messages.append(f"console.{facts['type']}: {facts['args']}")
        elif method == "Log.entryAdded":
            self.messages.append(str(facts["entry"]["text"]))
        elif method == "Network.requestWillBeSent":
            self.requests.append(str(facts["request"]["url"]))


@contextmanager
def browser(profile: Path) -> Iterator[Page]:
    """A fresh Chromium with an empty profile, and its page."""
    assert CHROMIUM is not None
    command = [CHROMIUM, *_FLAGS, f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ}
    )
    try:
        port = _port(profile, process)
        # Without keepalive: its thread draws from `random` every 20 s, for as long as the browser
        # is open, and Hypothesis then rejects the strategy that another test draws at that moment.
        address = _page_address(port)
        with connect(address, max_size=None, proxy=None, ping_interval=None) as socket:
            yield Page(socket)
            socket.send(json.dumps({"id": 0, "method": "Browser.close"}))
    finally:
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _port(profile: Path, process: subprocess.Popen[bytes]) -> int:
    """The port that the browser chose, which it writes into its profile."""
    file, deadline = profile / "DevToolsActivePort", time.monotonic() + _SECONDS
    while not (file.is_file() and file.read_text().count("\n")):
        assert process.poll() is None, "chromium exited at startup"
        assert time.monotonic() < deadline, "chromium never wrote its port"
        time.sleep(0.05)
    return int(file.read_text().splitlines()[0])


def _page_address(port: int) -> str:
    import urllib.request

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{port}/json/list", timeout=_SECONDS) as answer:
        targets = json.load(answer)
    return str(next(each for each in targets if each["type"] == "page")["webSocketDebuggerUrl"])
