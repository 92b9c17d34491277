"""Debian's Chromium without a window, driven over its debugging pipe. It verifies certificates as anyone's does: the
private root comes by the NSS database in its home folder, never by a switch that turns verification off."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import pathlib
import select
import shutil
import subprocess
import time

import server as servers

HERE = pathlib.Path(__file__).parent


class Refused(Exception):
    """The page did not load; the text is Chromium's `net::ERR_...`."""


def above_four(descriptor: int) -> int:
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return moved


class Chromium:
    """`with Chromium(folder, trust=ca) as browser: browser.open(url)`."""

    def __init__(self, folder: pathlib.Path, trust: pathlib.Path | None = None, arguments=()):
        self.home = folder / "chromium"
        database = self.home / ".pki" / "nssdb"
        database.mkdir(parents=True)
        certutil = [servers.client("certutil"), "-d", f"sql:{database}"]
        subprocess.run([*certutil, "-N", "--empty-password"], check=True, capture_output=True, timeout=30)
        if trust:
            subprocess.run([*certutil, "-A", "-n", "safeport", "-t", "C,,", "-i", trust], check=True, capture_output=True, timeout=30)
        # The browser reads from its descriptor 3 and writes to 4; ours lie above both.
        to_browser, self.to, self.source, from_browser = map(above_four, [*os.pipe(), *os.pipe()])
        script = f'exec "$@" 3<&{to_browser} 4>&{from_browser} {to_browser}<&- {from_browser}>&-'
        self.log = open(self.home / "output.log", "wb")
        self.process = subprocess.Popen(
            ["bash", "-c", script, "chromium", servers.client("chromium"), "--headless=new", "--no-sandbox", "--disable-gpu",
             "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking", "--disable-component-update",
             "--no-proxy-server", f"--user-data-dir={self.home / 'profile'}", "--remote-debugging-pipe", *arguments, "about:blank"],
            env={**os.environ, "HOME": str(self.home)}, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
            pass_fds=(to_browser, from_browser), start_new_session=True)
        os.close(to_browser)
        os.close(from_browser)
        self.buffer, self.number, self.events = b"", 0, []

    def __enter__(self):
        page = next(one for one in self.call("Target.getTargets")["targetInfos"] if one["type"] == "page")
        self.session = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Security", "Runtime"):
            self.call(f"{domain}.enable", page=True)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.to)
        os.close(self.source)
        self.log.close()
        shutil.rmtree(self.home, ignore_errors=True)

    def call(self, method: str, page=False, seconds=30.0, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if page:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + seconds
        while True:
            got = self.receive(deadline)
            if got.get("id") == self.number:
                assert "error" not in got, (method, got["error"])
                return got["result"]
            self.events.append(got)

    def receive(self, deadline: float) -> dict:
        while b"\0" not in self.buffer:
            left = deadline - time.monotonic()
            ready = left > 0 and select.select([self.source], [], [], left)[0]
            got = os.read(self.source, 1 << 20) if ready else b""
            assert got, f"Chromium says nothing:\n{(self.home / 'output.log').read_text(errors='replace')[-3000:]}"
            self.buffer += got
        one, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(one)

    def event(self, wanted, seconds=30.0) -> dict:
        """The first event that `wanted` accepts, seen already or yet to come."""
        deadline = time.monotonic() + seconds
        while True:
            for event in self.events:
                if wanted(event):
                    return event["params"]
            self.events.append(self.receive(deadline))

    def open(self, url: str) -> dict:
        """Loads a page: how its connection was secured."""
        loaded = self.call("Page.navigate", page=True, url=url)
        if loaded.get("errorText"):
            raise Refused(loaded["errorText"])
        answer = self.event(lambda event: event.get("method") == "Network.responseReceived"
                            and event["params"]["type"] == "Document"
                            and event["params"]["response"]["url"].startswith("https:"))["response"]
        self.event(lambda event: event.get("method") == "Page.loadEventFired")
        return {"state": answer["securityState"], "status": answer["status"], **answer["securityDetails"]}

    def run(self, script: str, seconds=30.0):
        """What a promise in the page becomes."""
        done = self.call("Runtime.evaluate", page=True, seconds=seconds, expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def fetch_by_mqttjs(self, url: str, topic: str) -> bytes:
        """A retained message, by MQTT.js in the page."""
        self.run((HERE / "node_modules" / "mqtt" / "dist" / "mqtt.min.js").read_text() + "\n;0")
        got = self.run(f"""(async () => {{
            const client = mqtt.connect({json.dumps(url)}, {{ reconnectPeriod: 0 }});
            const payload = await new Promise((done, failed) => {{
                client.on("connect", () => client.subscribe({json.dumps(topic)}));
                client.on("message", (topic, payload) => done(payload));
                client.on("error", failed);
                client.on("close", () => failed(new Error("closed")));
                setTimeout(() => failed(new Error("no message in 10 s")), 10000);
            }});
            client.end();
            return btoa(Array.from(payload, (byte) => String.fromCharCode(byte)).join(""));
        }})()""")
        return base64.b64decode(got)
