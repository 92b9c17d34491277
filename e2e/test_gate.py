"""The gate: devices are told only addresses that were proved to reach this very server. In front of it stand a real
nginx, a real mosquitto, and a page that looks from elsewhere."""

from __future__ import annotations

import contextlib
import json
import pathlib
import re
import select
import signal
import socket
import ssl
import subprocess
import threading
import time

import paho.mqtt.client as paho
import pytest

import server as servers
import wire
from conftest import eventually
from nginx import Nginx, own_address

HERE = pathlib.Path(__file__).parent
CHINESE = re.compile(r"[\u4e00-\u9fff]")


def advertised(here, *language: str) -> dict[str, tuple[str, str]]:
    """State and reason of each address."""
    return {row["url"]: (row["state"], row["why"]) for row in here.json("ports", *language)["advertised"]}


def becomes(here, url: str, state: str, seconds=20):
    """Asks for new proofs until an address has a state; the reason that is given for it."""
    deadline = time.monotonic() + seconds
    while True:
        seen = lambda: advertised(here).get(url, ("absent", ""))
        if eventually(lambda: seen()[0] == state, 2, 0.2):
            return seen()[1]
        assert time.monotonic() < deadline, f"{url} is not {state}:\n{here.cli('ports').stdout}"
        # Three failures make what was verified broken; every reload proves all addresses again.
        here.cli("config", "reload")


@pytest.fixture
def front(home, tmp_path):
    """A server with a declared nginx in front of its HTTP; the addresses that nginx gives it."""
    own, (port,) = own_address(), servers.free_ports(1)
    here = home(settings={"proxy.front": f'url = "http://{own}:{port}"'})
    proxy = Nginx(tmp_path / "nginx", own, port, f"http://127.0.0.1:{here.http_port}").start()
    try:
        yield here, proxy, f"http://{own}:{port}", f"ws://{own}:{port}"
    finally:
        proxy.stop()


def mqtt_through(host: str, port: int, **options) -> bool:
    """Whether paho can exchange a message over WebSocket."""
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, transport="websockets", protocol=paho.MQTTv311)
    client.ws_set_options(path="/mqtt")
    if "ca" in options:
        client.tls_set(ca_certs=str(options["ca"]))
    client.username_pw_set("me", "a long password")
    heard = threading.Event()
    client.on_connect = lambda c, *_: c.subscribe("through/it", 1)
    client.on_subscribe = lambda c, *_: c.publish("through/it", "yes", 1)
    client.on_message = lambda *_: heard.set()
    try:
        client.connect(host, port, 20)
    except (OSError, ValueError):  # paho says WebsocketConnectionError, an OSError, for a refused upgrade
        return False
    client.loop_start()
    try:
        return heard.wait(5)
    finally:
        client.disconnect()
        client.loop_stop()


def test_addresses_behind_nginx_verify_through_it_and_lose_only_the_websocket_with_its_upgrade_headers(front):
    here, proxy, http, ws = front
    here.cli("user", "add", "me", "--password-stdin", stdin="a long password\n")
    here.start()
    assert becomes(here, http, "verified") == becomes(here, ws, "verified") == ""
    assert {row["via"] for row in here.json("ports")["advertised"] if row["url"] in (http, ws)} == {"proxy.front"}
    assert f":{here.http_port}" not in "".join(advertised(here)), "what the proxy hides is not told beside it"
    assert eventually(lambda: re.search(rf"Devices are told.*{http}", here.log_text())), "the greeting names the proxy"
    assert mqtt_through(proxy.host, proxy.port)

    proxy.change(f"http://127.0.0.1:{here.http_port}", upgrade=False)
    assert not mqtt_through(proxy.host, proxy.port), "the gate would be wrong to call this broken"
    why = becomes(here, ws, "broken")
    for word in ("WebSocket", "nginx", "proxy_set_header Upgrade", "426"):
        assert word in why, why
    assert advertised(here)[http] == ("verified", "")
    why = advertised(here, "--lang", "zh-CN")[ws][1]
    assert CHINESE.search(why) and "proxy_set_header Upgrade" in why, why
    shown = here.cli("ports").stdout
    assert re.search(rf"{ws} +BROKEN, told to nobody", shown), shown
    assert CHINESE.search(here.cli("ports", "--lang", "zh-CN").stdout)
    assert re.search(rf"WARN.*{ws} is broken now", here.log_text())

    proxy.change(f"http://127.0.0.1:{here.http_port}")
    assert becomes(here, ws, "verified") == ""


def test_a_proxy_that_never_let_websockets_through_is_broken_from_the_start(front):
    here, proxy, http, ws = front
    proxy.change(f"http://127.0.0.1:{here.http_port}", upgrade=False)
    here.start()
    assert eventually(lambda: advertised(here)[http][0] == "verified" and advertised(here)[ws][0] == "broken", 10, 0.2), \
        advertised(here)
    assert re.search(rf"WARN.*{ws} is broken", here.log_text()), here.log_text()
    assert not re.search(rf"Devices are told.*{ws}", here.log_text())


def test_a_proxy_whose_backend_is_down_is_told_as_last_verified_until_it_failed_three_times(front):
    here, proxy, http, ws = front
    here.start()
    becomes(here, http, "verified")
    nothing, = servers.free_ports(1)
    proxy.change(f"http://127.0.0.1:{nothing}")
    here.cli("config", "reload")
    assert eventually(lambda: advertised(here)[http][0] == "degraded", 10, 0.2), advertised(here)
    assert "502" in advertised(here)[http][1], advertised(here)
    assert "502" in becomes(here, http, "broken")
    becomes(here, ws, "broken")


def test_a_name_that_leads_to_another_server_is_broken_at_once_even_if_that_is_a_safeport_too(front, home):
    here, proxy, http, ws = front
    here.start()
    becomes(here, http, "verified")
    becomes(here, ws, "verified")
    other = home().start()
    proxy.change(f"http://127.0.0.1:{other.http_port}")
    here.cli("config", "reload")
    assert eventually(lambda: advertised(here)[http][0] == "broken" and advertised(here)[ws][0] == "broken", 10, 0.2), \
        advertised(here)
    assert re.search(r"another|not this", advertised(here)[http][1]), advertised(here)
    assert CHINESE.search(advertised(here, "--lang", "zh-CN")[http][1])


class Relay:
    """A router that forwards a port, byte for byte."""

    def __init__(self, listen, to):
        self.to = to
        self.listener = socket.create_server(listen)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self.carry, args=(self.listener.accept()[0],), daemon=True).start()

    def carry(self, one):
        with contextlib.suppress(OSError), one, socket.create_connection(self.to, 5) as two:
            while True:
                for end in select.select([one, two], [], [], 30)[0]:
                    data = end.recv(1 << 16)
                    if not data:
                        return
                    (two if end is one else one).sendall(data)

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def listens(*address) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection(address, 1).close()
        return True
    return False


def test_a_device_is_told_a_forwarded_port_only_while_it_leads_here_and_not_to_another_broker(home, tmp_path):
    own, (port,) = own_address(), servers.free_ports(1)
    url = f"mqtt://{own}:{port}"
    here = home(settings={"proxy.router": f'url = "{url}"\nto = "mqtt"'})
    relay = Relay((own, port), here.mqtt)
    here.start()
    becomes(here, url, "verified")
    assert url in here.cli("device", "add", "plain", "--name", "lamp").stdout
    relay.stop()

    config = tmp_path / "mosquitto.conf"
    config.write_text(f"listener {port} {own}\nallow_anonymous true\n")
    mosquitto = subprocess.Popen([servers.client("mosquitto"), "-c", str(config)], stdin=subprocess.DEVNULL,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert eventually(lambda: listens(own, port))
        here.cli("config", "reload")
        assert eventually(lambda: advertised(here)[url][0] == "broken", 10, 0.2), advertised(here)
        for language in ("en", "zh-CN"):
            done = here.cli("device", "add", "plain", "--name", "other", "--lang", language, check=False)
            assert str(port) not in done.stdout and done.returncode == 1, done
            assert "safeport ports" in done.stderr and "--host" in done.stderr, done.stderr
        assert CHINESE.search(done.stderr)
        assert "other" not in here.cli("device", "list").stdout, "a device that could not be told was not added"
    finally:
        mosquitto.terminate()
        mosquitto.wait(10)
    relay = Relay((own, port), here.mqtt)
    becomes(here, url, "verified")
    assert url in here.cli("device", "add", "plain", "--name", "other").stdout
    relay.stop()


def ipv6_of_this_machine() -> str | None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(("2001:db8::1", 9))
        address = probe.getsockname()[0]
        return None if address == "::1" or address.startswith("fe80") else address


def test_addresses_of_both_families_are_found_and_proved_on_every_listener(home):
    here = home(host="0.0.0.0")
    for listener in servers.LISTENERS:
        here.cli("config", "set", f"{listener}.bind", f"[::]:{getattr(here, f'{listener}_port')}")
    here.start()
    hosts = [own_address()] + [f"[{six}]" for six in [ipv6_of_this_machine()] if six]
    for scheme, port in (("mqtt", here.mqtt_port), ("mqtts", here.mqtts_port), ("http", here.http_port),
                         ("ws", here.http_port), ("https", here.https_port), ("wss", here.https_port)):
        for host in hosts:
            becomes(here, f"{scheme}://{host}:{port}", "verified")


def test_an_address_set_for_one_device_is_told_to_it_only_when_it_was_proved(home):
    own = own_address()
    here = home(host=own)
    here.start()
    proved = f"mqtt://{own}:{here.mqtt_port}"
    becomes(here, proved, "verified")
    here.cli("device", "add", "plain", "--name", "lamp")
    wrong = ("config", "set", "advertise.host", "nowhere.invalid", "--device", "lamp")
    for language in ("en", "zh-CN"):
        done = here.cli(*wrong, "--lang", language, check=False)
        assert done.returncode == 1 and f"mqtt://nowhere.invalid:{here.mqtt_port}" in done.stderr, done.stderr
    assert CHINESE.search(done.stderr)
    assert proved in here.cli("device", "passwd", "lamp").stdout

    here.stop()
    here.cli(*wrong)  # nobody can prove it while no server runs
    here.start()
    becomes(here, f"mqtt://nowhere.invalid:{here.mqtt_port}", "broken")
    assert "nowhere.invalid" not in here.cli("device", "passwd", "lamp", check=False).stdout
    assert proved in here.cli("device", "add", "plain", "--name", "other").stdout
    here.cli("config", "unset", "advertise.host", "--device", "lamp")
    assert proved in here.cli("device", "passwd", "lamp").stdout


# ------------------------------------------------------------ the page for phones

def phone_page(here, host: str) -> str:
    """The URL that `ports --from-phone` prints for a host, once all was looked at from here."""
    assert eventually(lambda: not {"unknown", "probing"} & {state for state, _ in advertised(here).values()}, 10, 0.2)
    program = subprocess.Popen([str(servers.BINARY), "ports", "--from-phone", "--data", str(here.data)], text=True,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               env=here.environment, cwd=here.folder,
                               # Whoever started these tests in the background may have switched Ctrl-C off for all of them.
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    try:
        said = ""
        for line in program.stdout:
            said += line
            if line.startswith(f"http://{host}"):
                return line.strip()
        raise AssertionError(f"no URL was printed: {said}")
    finally:
        program.send_signal(signal.SIGINT)
        program.communicate(timeout=10)


def script_of(page: str) -> dict:
    """What the page's own script finds out."""
    done = subprocess.run([servers.client("node"), "node/vantage.mjs", page], cwd=HERE, text=True, capture_output=True,
                          timeout=30)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def seen_from(here, url: str) -> dict | None:
    return next(row["seen_from"] for row in here.json("ports")["advertised"] if row["url"] == url)


def test_the_phone_page_through_the_proxy_marks_the_addresses_that_its_script_reaches(front):
    here, proxy, http, ws = front
    here.start()
    becomes(here, ws, "verified")
    page = phone_page(here, f"{proxy.host}:{proxy.port}")
    assert seen_from(here, http) is None
    shown = subprocess.run([servers.client("curl"), "-sS", "--max-time", "5", "-H", "Accept: text/html", page], text=True,
                           capture_output=True, check=True).stdout
    assert http in shown and ws in shown, shown
    assert eventually(lambda: seen_from(here, http)), "that the page was loaded proves the address it was loaded from"
    assert seen_from(here, ws) is None

    results = script_of(page)["results"]
    assert results[http] == results[ws] == "reached", results
    assert eventually(lambda: seen_from(here, ws))

    proxy.change(f"http://127.0.0.1:{here.http_port}", upgrade=False)
    results = script_of(page)["results"]
    assert (results[http], results[ws]) == ("reached", "failed"), results

    wrong = page[:-1] + ("0" if page[-1] != "0" else "1")
    assert script_of(wrong)["status"] == 404, "nobody guesses the page"


def test_an_address_that_cannot_be_tried_from_here_is_verified_once_a_phone_has_reached_it(home, tmp_path):
    own, (port,) = own_address(), servers.free_ports(1)
    name = f"hub-of-this-test.local:{port}"
    here = home(settings={"proxy.front": f'url = "http://{name}"'})
    proxy = Nginx(tmp_path / "nginx", own, port, f"http://127.0.0.1:{here.http_port}").start()
    try:
        here.start()
        state, why = advertised(here)[f"http://{name}"]
        assert state != "verified" and "hub-of-this-test.local" in why, "nothing here knows the name"
        page = phone_page(here, name)
        # The phone knows the name by mDNS; curl by its own list.
        done = subprocess.run([servers.client("curl"), "-sS", "--max-time", "5", "--resolve", f"{name}:{own}", page],
                              text=True, capture_output=True)
        assert done.returncode == 0, done.stderr
        assert eventually(lambda: seen_from(here, f"http://{name}") == "phone"), done.stdout
        assert advertised(here)[f"http://{name}"][0] == "verified", advertised(here)
    finally:
        proxy.stop()


def test_the_browser_of_the_server_itself_is_no_second_look(home):
    here = home(host="0.0.0.0", settings={"advertise": 'host = "hub-of-this-test.local"'})
    here.start()
    name = f"hub-of-this-test.local:{here.http_port}"
    page = phone_page(here, name)
    subprocess.run([servers.client("curl"), "-sS", "--max-time", "5", "--resolve", f"{name}:127.0.0.1", page],
                   text=True, capture_output=True, check=True)
    assert seen_from(here, f"http://{name}") is None
    assert advertised(here)[f"http://{name}"][0] != "verified"


# ------------------------------------------------------------ TLS

def own_authority(folder: pathlib.Path, name: str):
    """An authority that nobody else knows, and a certificate of it for an address; openssl makes both."""
    folder.mkdir()
    run = lambda *words: subprocess.run([servers.client("openssl"), *words], check=True, capture_output=True, cwd=folder)
    run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "ca.key", "-out",
        "ca.pem", "-days", "30", "-subj", "/CN=Proxy authority")
    run("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "front.key", "-out",
        "front.csr", "-subj", "/CN=front")
    (folder / "front.ext").write_text(f"subjectAltName = IP:{name}\nbasicConstraints = CA:FALSE\n")
    run("x509", "-req", "-in", "front.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "30",
        "-extfile", "front.ext", "-out", "front.pem")
    return folder / "ca.pem", (folder / "front.pem", folder / "front.key")


def test_an_https_proxy_with_an_authority_of_its_own_verifies_once_that_is_named(home, tmp_path):
    own, (port,) = own_address(), servers.free_ports(1)
    ca, certificate = own_authority(tmp_path / "authority", own)
    here = home(settings={"proxy.front": f'url = "https://{own}:{port}"'})
    here.cli("user", "add", "me", "--password-stdin", stdin="a long password\n")
    proxy = Nginx(tmp_path / "nginx", own, port, f"http://127.0.0.1:{here.http_port}", certificate=certificate).start()
    https, wss = f"https://{own}:{port}", f"wss://{own}:{port}"
    try:
        here.start()
        why = becomes(here, https, "broken")
        assert "TLS" in why and "advertise.ca_file" in why, why
        here.cli("config", "set", "advertise.ca_file", str(ca))
        becomes(here, https, "verified")
        becomes(here, wss, "verified")
        assert mqtt_through(own, port, ca=ca)
    finally:
        proxy.stop()


def test_mqtt_over_websocket_in_tls_works_with_the_ca_of_this_server_and_not_without(home):
    here = home(host=own_address())
    here.cli("user", "add", "me", "--password-stdin", stdin="a long password\n")
    here.start()
    url = f"wss://{here.host}:{here.https_port}"
    becomes(here, url, "verified")
    assert mqtt_through(here.host, here.https_port, ca=here.ca)
    with pytest.raises(ssl.SSLCertVerificationError):
        wire.Client(here.https, wire.V311, tls=ssl.create_default_context())
