"""A page in a browser is a device, too: it checks at another origin, and talks by WebSocket and Opus."""

import functools
import http.server
import json
import threading
from pathlib import Path

import pytest

import chromium
import server as servers
from models import Models
from test_agents import sections
from test_voice import SPEECH
from test_xiaozhi_ota import Device

PAGES = Path(__file__).parent / "pages"


class Files(http.server.SimpleHTTPRequestHandler):
    """The page, and a recording, at an origin of their own."""

    def translate_path(self, path):
        name = Path(path).name
        return str((SPEECH if name.endswith(".packets") else PAGES) / name)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def pages():
    files = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Files, directory=str(PAGES)))
    threading.Thread(target=files.serve_forever, daemon=True).start()
    # Browsers give pages of localhost what others get by HTTPS alone.
    yield f"http://localhost:{files.server_address[1]}"
    files.shutdown()
    files.server_close()


def test_a_page_of_another_origin_checks_opens_a_websocket_speaks_and_hears(pages, tmp_path):
    with Models() as models, servers.serving(servers.Safeport, open_to_all=False, settings=sections(models)) as hub:
        # As such pages draw them: an address in upper case, and a Client-Id that all of them share.
        device = Device(hub, mac="02:AB:CD:EF:01:23", client_id="web_test_client").taken_in("page")
        models.hear("turn on the lamp")
        models.say("你好！", "The lamp is on.")
        with chromium.Chromium(tmp_path) as browser:
            loaded = browser.call("Page.navigate", page=True, url=f"{pages}/talk.html")
            assert not loaded.get("errorText"), loaded
            browser.event(lambda event: event.get("method") == "Page.loadEventFired")
            how = {"ota": f"http://{hub.host}:{hub.http_port}/xiaozhi/ota/", "mac": device.mac, "client": device.client_id,
                   "name": "Web测试设备", "speech": f"{pages}/lamp.en.packets"}
            done = browser.run(f"talk({json.dumps(how)})", seconds=60)
        hello = done["hello"]
        assert hello["type"] == "hello" and hello["transport"] == "websocket" and hello["session_id"], hello
        typed, heard = done["typed"], done["heard"]
        assert [one["text"] for one in typed["said"] if one.get("state") == "sentence_start"] == ["你好！"], typed["said"]
        assert heard["said"][0] == {"type": "stt", "text": "turn on the lamp", "session_id": hello["session_id"]}, heard["said"]
        assert [one["text"] for one in heard["said"] if one.get("state") == "sentence_start"] == ["The lamp is on."]
        for answer, text in ((typed, "你好！"), (heard, "The lamp is on.")):
            assert answer["loudest"] > 0.02, "it is no silence"
            assert abs(answer["seconds"] - models.seconds_of(text)) < 0.3, answer
        (listened,) = models.asked("transcription")
        assert listened.rate == 16000 and 1.0 < listened.seconds < done["spoken"] * 0.06 + 0.5
