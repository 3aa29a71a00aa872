"""A headless Chromium, spoken to by the DevTools protocol over a pair of pipes."""
import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

from harness import ROOT, Failure, check, skip, wait_until


class Browser:
    """One tab. Use it as a context."""

    def __init__(self, width=1280, height=900, dark=False):
        self.size = (width, height)
        self.dark = dark
        self.program = shutil.which("chromium") or skip("no chromium here")
        self.profile = tempfile.mkdtemp(prefix="preforkd-browser-")
        self.process = None
        self.buffer = b""
        self.number = 0
        self.session = None
        self.events = []

    def __enter__(self):
        to_read, self.to = os.pipe()
        self.back, to_write = os.pipe()

        def descriptors():
            os.dup2(to_read, 103)
            os.dup2(to_write, 104)
            os.dup2(103, 3)
            os.dup2(104, 4)
        options = ["--headless=new", "--remote-debugging-pipe", "--disable-gpu", "--mute-audio",
                   "--no-first-run", "--disable-dev-shm-usage", "--disable-background-networking",
                   "--disable-component-update", "--hide-scrollbars",
                   f"--user-data-dir={self.profile}", *(["--no-sandbox"] if ROOT else [])]
        with open(f"{self.profile}.log", "wb") as log:
            self.process = subprocess.Popen(
                [self.program, *options, "about:blank"], stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, close_fds=False, preexec_fn=descriptors, start_new_session=True)
        os.close(to_read)
        os.close(to_write)
        try:
            self._open_tab()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *error):
        self.close()

    def close(self):
        try:
            self.call("Browser.close", timeout=10)
            self.process.wait(10)
        except (Failure, OSError, subprocess.TimeoutExpired):
            os.killpg(self.process.pid, 9)
            self.process.wait()
        os.close(self.to)
        os.close(self.back)
        shutil.rmtree(self.profile, ignore_errors=True)
        os.unlink(f"{self.profile}.log")

    def _open_tab(self):
        target = self.call("Target.createTarget", url="about:blank", timeout=60)["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        width, height = self.size
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=width < 600)
        scheme = "dark" if self.dark else "light"
        self.call("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": scheme}])

    def _receive(self, deadline):
        while b"\0" not in self.buffer:
            check(select.select([self.back], [], [], max(0, deadline - time.monotonic()))[0],
                  "the browser does not answer")
            data = os.read(self.back, 1 << 20)
            check(data, "the browser has ended")
            self.buffer += data
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)

    def call(self, method, timeout=30, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + timeout
        while True:
            answer = self._receive(deadline)
            if answer.get("id") == self.number:
                check("error" not in answer, f"{method}: {answer.get('error')}")
                return answer["result"]
            self.events.append(answer)

    def open(self, url):
        self.call("Page.navigate", url=url)

    def run(self, script):
        """The value of an expression in the page."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        check("exceptionDetails" not in answer, f"{script}: {answer.get('exceptionDetails')}")
        return answer["result"].get("value")

    def wait(self, script, what, timeout=30):
        return wait_until(lambda: self.run(script), what, timeout)

    def screenshot(self, path):
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(data))

    def complaints(self):
        """What the console showed: errors, warnings, exceptions, and what was loaded from elsewhere."""
        self.run("0")  # so that what was said before has come
        found = []
        for event in self.events:
            params = event.get("params", {})
            if event["method"] == "Runtime.exceptionThrown":
                found.append(params["exceptionDetails"])
            elif event["method"] == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
                found.append(params["args"])
            elif event["method"] == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
                found.append(params["entry"])
        return found

    def requests(self):
        """The URLs that the page asked for."""
        self.run("0")
        return [event["params"]["request"]["url"] for event in self.events
                if event["method"] == "Network.requestWillBeSent"]
