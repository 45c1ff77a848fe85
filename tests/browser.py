"""A headless Chromium, driven through its DevTools protocol over a pipe: no library, no port.

https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
_OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-component-update", "--no-first-run", "--window-size=1280,900"),
    "--remote-debugging-pipe",
)
# What a page has asked for, said or raised.
_NOTED = {
    "Network.requestWillBeSent",
    "Runtime.consoleAPICalled",
    "Runtime.exceptionThrown",
    "Log.entryAdded",
}


class Browser:
    """One page of one browser; a context manager, which ends it."""

    def __init__(self, folder: Path) -> None:
        """`folder` is for its profile, and has to be empty."""
        assert CHROMIUM is not None
        to_read, self._requests = os.pipe()
        self._answers, to_write = os.pipe()
        # it reads its descriptor 3 and writes to 4: a shell puts there what is out of their way
        theirs = [fcntl.fcntl(number, fcntl.F_DUPFD, 10) for number in (to_read, to_write)]
        command = f'exec "$0" "$@" 3<&{theirs[0]} 4>&{theirs[1]}'
        self._process = subprocess.Popen(
            [
                *("bash", "-c", command, CHROMIUM),
                *(*_OPTIONS, f"--user-data-dir={folder}", "about:blank"),
            ],
            pass_fds=theirs,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for number in (to_read, to_write, *theirs):
            os.close(number)
        self._rest = b""
        self._numbers = itertools.count(1)
        self._session: str | None = None
        self._noted: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        os.close(self._requests)
        os.close(self._answers)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol; its result."""
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._requests, json.dumps(message).encode() + b"\0")
        answer = self._until(lambda message: message.get("id") == number)
        assert "error" not in answer, answer["error"]
        result: dict[str, Any] = answer["result"]
        return result

    def open(self, page: Path | str) -> None:
        """Open a file or an address, and wait until it is loaded."""
        self._noted.clear()
        self.call("Page.navigate", url=page if isinstance(page, str) else page.as_uri())
        self._until(lambda message: message.get("method") == "Page.loadEventFired")

    def eval(self, expression: str) -> Any:
        """The value of an expression of JavaScript; of what it promises."""
        result = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def noted(self) -> list[str]:
        """What the page that was opened last has asked for, said or raised; but for itself."""
        self.eval("0")  # what it did before is known when this is
        found = [message for message in self._noted if message["method"] in _NOTED]
        requests = [m for m in found if m["method"] == "Network.requestWillBeSent"]
        own = [m for m in requests if m["params"].get("type") == "Document"][:1]
        icon = [m for m in requests if m["params"]["request"]["url"] == "data:,"]
        return [json.dumps(m["params"])[:500] for m in found if m not in own and m not in icon]

    # --- what a user does

    def click(self, selector: str, *, count: int = 1) -> None:
        """Click into the middle of the first element that fits."""
        x, y = self._middle(selector)
        self._mouse("mouseMoved", x, y)
        for number in range(1, count + 1):
            self._mouse("mousePressed", x, y, button="left", clickCount=number)
            self._mouse("mouseReleased", x, y, button="left", clickCount=number)

    def move_to(self, selector: str) -> None:
        self._mouse("mouseMoved", *self._middle(selector))

    def drag(self, selector: str, dx: int) -> None:
        x, y = self._middle(selector)
        self._mouse("mousePressed", x, y, button="left", clickCount=1)
        self._mouse("mouseMoved", x + dx / 2, y, buttons=1)
        self._mouse("mouseMoved", x + dx, y, buttons=1)
        self._mouse("mouseReleased", x + dx, y, button="left", clickCount=1)

    def wheel(self, selector: str, dy: int, *, ctrl: bool = False) -> None:
        x, y = self._middle(selector)
        self._mouse("mouseWheel", x, y, deltaX=0, deltaY=dy, modifiers=2 if ctrl else 0)

    def press(self, key: str) -> None:
        """Press a key: "Enter", "ArrowDown", or what it types."""
        text = {"Enter": "\r", "Space": " "}.get(key, key if len(key) == 1 else "")
        name = " " if key == "Space" else key
        code = {"Enter": 13, "Space": 32, "Tab": 9, "Escape": 27}.get(key, 0)
        values: dict[str, Any] = {"key": name, "windowsVirtualKeyCode": code}
        if text:
            values["text"] = text
        self.call("Input.dispatchKeyEvent", type="keyDown", **values)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=name, windowsVirtualKeyCode=code)

    def _middle(self, selector: str) -> tuple[float, float]:
        box = self.eval(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'nearest'}); const b = e.getBoundingClientRect();"
            "return [b.left + b.width / 2, b.top + b.height / 2]; })()"
        )
        return box[0], box[1]

    def _mouse(self, kind: str, x: float, y: float, **values: Any) -> None:
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **values)

    def _until(self, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        while True:
            while b"\0" not in self._rest:
                data = os.read(self._answers, 1 << 16)
                assert data, "the browser has ended"
                self._rest += data
            text, _, self._rest = self._rest.partition(b"\0")
            message: dict[str, Any] = json.loads(text)
            if fits(message):
                return message
            if "method" in message:
                self._noted.append(message)
