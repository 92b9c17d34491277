"""The clients that people use: mosquitto's programs, paho-mqtt, aiomqtt, over TCP, TLS and WebSocket."""

import asyncio
import queue
import ssl
import subprocess
import threading
import time

import aiomqtt
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

import server as servers

TRANSPORTS = ["tcp", "tls", "websocket"]
VERSIONS = {"31": paho.MQTTv31, "311": paho.MQTTv311, "5": paho.MQTTv5}


def endpoint(server, transport):
    """Host and port; `localhost` because that is a name in the certificate."""
    if transport == "tls" and not server.has_tls:
        pytest.skip("no TLS at this peer")
    return "localhost" if transport == "tls" else "127.0.0.1", {
        "tcp": server.mqtt_port, "tls": server.mqtts_port, "websocket": server.http_port}[transport]


# ------------------------------------------------------- mosquitto's programs

class Program:
    """A mosquitto_sub that runs beside the test; its lines come through a queue."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen(["stdbuf", "-oL", servers.client("mosquitto_sub"), *arguments], text=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.lines: queue.Queue = queue.Queue()
        self.reader = threading.Thread(target=lambda: [self.lines.put(line.rstrip("\n")) for line in self.process.stdout])
        self.reader.start()

    def line(self, timeout=5.0):
        return self.lines.get(timeout=timeout)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(5)
        self.reader.join()
        self.process.stdout.close()


def place(server, transport):
    host, port = endpoint(server, transport)
    return ["-h", host, "-p", str(port), *(["--cafile", str(server.ca)] if transport == "tls" else [])]


def run(program, *arguments, timeout=15):
    return subprocess.run([servers.client(program), *arguments], text=True, capture_output=True, timeout=timeout)


def subscriber(server, transport, version, topic, *more):
    """mosquitto_sub that is known to be subscribed: a retained marker has come through."""
    marker = f"{topic}/ready"
    done = run("mosquitto_pub", *place(server, "tcp"), "-t", marker, "-m", "ready", "-r", "-q", "1")
    assert done.returncode == 0, done.stderr
    program = Program(*place(server, transport), "-V", version, "-t", f"{topic}/#", "-F", "%t %q %r %p", *more)
    got = program.line()
    if got != f"{marker} {min(1, int(more[more.index('-q') + 1]) if '-q' in more else 0)} 1 ready":
        program.__exit__()
        raise AssertionError(got)
    return program


@pytest.mark.parametrize("transport", ["tcp", "tls"])
@pytest.mark.parametrize("version", ["mqttv31", "mqttv311", "mqttv5"])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_mosquitto_pub_reaches_mosquitto_sub(server, topic, transport, version, qos):
    with subscriber(server, transport, version, topic, "-q", str(qos)) as program:
        done = run("mosquitto_pub", *place(server, transport), "-V", version, "-t", f"{topic}/x", "-m", "grüße", "-q", str(qos))
        assert (done.returncode, done.stderr) == (0, "")
        assert program.line() == f"{topic}/x {qos} 0 grüße"


def test_mosquitto_sub_with_an_offline_session_gets_what_it_missed(server, topic, name):
    for version in ("mqttv311", "mqttv5"):
        durable = [*place(server, "tcp"), "-V", version, "-i", name + version, "-c", "-q", "1", "-t", f"{topic}/{version}",
                   *(["-x", "300"] if version == "mqttv5" else [])]
        done = run("mosquitto_sub", *durable, "-E")
        assert done.returncode == 0, done.stderr
        for number in range(5):
            run("mosquitto_pub", *place(server, "tcp"), "-t", f"{topic}/{version}", "-m", str(number), "-q", "1")
        done = run("mosquitto_sub", *durable, "-C", "5", "-W", "5")
        assert done.stdout.split() == ["0", "1", "2", "3", "4"], (version, done)


def test_mosquitto_clients_with_properties_wills_and_removed_retained_messages(server, topic):
    assert run("mosquitto_pub", *place(server, "tcp"), "-V", "mqttv5", "-t", f"{topic}/p", "-m", "x", "-r", "-q", "1",
               "-D", "publish", "user-property", "a", "b", "-D", "publish", "content-type", "text/plain",
               "-D", "publish", "message-expiry-interval", "100").returncode == 0
    done = run("mosquitto_sub", *place(server, "tcp"), "-V", "mqttv5", "-t", f"{topic}/p", "-C", "1", "-W", "5",
               "-F", "%p %P %C %E")
    assert done.stdout.startswith("x a:b text/plain "), done
    assert run("mosquitto_sub", *place(server, "tcp"), "-t", f"{topic}/p", "--remove-retained", "-W", "1").returncode in (0, 27)
    assert run("mosquitto_sub", *place(server, "tcp"), "-t", f"{topic}/p", "-W", "1").stdout == ""
    with subscriber(server, "tcp", "mqttv5", topic) as program:
        victim = Program(*place(server, "tcp"), "-t", "nothing/here", "--will-topic", f"{topic}/will", "--will-payload", "bye")
        time.sleep(0.5)
        victim.process.kill()
        victim.__exit__()
        assert program.line() == f"{topic}/will 0 0 bye"


def test_mosquitto_rr_asks_and_is_answered(server, topic):
    answerer = paho_client(server, "tcp", "5")
    answerer.client.on_message = lambda c, _, m: c.publish(m.properties.ResponseTopic, m.payload[::-1], 1, properties=reply_to(m))
    answerer.client.subscribe(f"{topic}/q", 1)
    answerer.subscribed.get(timeout=5)
    done = run("mosquitto_rr", *place(server, "tcp"), "-t", f"{topic}/q", "-e", f"{topic}/a", "-m", "abc", "-q", "1", "-W", "5",
               "-V", "mqttv5")
    answerer.close()
    assert done.stdout.strip() == "cba", done


def reply_to(message):
    props = Properties(PacketTypes.PUBLISH)
    if hasattr(message.properties, "CorrelationData"):
        props.CorrelationData = message.properties.CorrelationData
    return props


# -------------------------------------------------------------------- paho

class Paho:
    def __init__(self, server, transport, version, client_id="", **kwargs):
        host, port = endpoint(server, transport)
        self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id, protocol=VERSIONS[version],
                                  transport="websockets" if transport == "websocket" else "tcp",
                                  **({"clean_session": kwargs.pop("clean_session", True)} if version != "5" else {}))
        self.connected, self.subscribed, self.messages, self.gone, self.sent = (queue.Queue() for _ in range(5))
        self.client.on_connect = lambda c, u, flags, code, props: self.connected.put((flags, code, props))
        self.client.on_subscribe = lambda c, u, mid, codes, props: self.subscribed.put(codes)
        self.client.on_message = lambda c, u, message: self.messages.put(message)
        self.client.on_disconnect = lambda c, u, flags, code, props: self.gone.put((flags, code, props))
        self.client.on_publish = lambda c, u, mid, code, props: self.sent.put((mid, code))
        if transport == "tls":
            self.client.tls_set(ca_certs=str(server.ca))
        if "will" in kwargs:
            self.client.will_set(*kwargs.pop("will"))
        if "credentials" in kwargs:
            self.client.username_pw_set(*kwargs.pop("credentials"))
        if transport == "websocket":
            self.client.ws_set_options(path="/mqtt")
        self.client.connect(host, port, keepalive=30, **kwargs)
        self.client.loop_start()
        self.flags, self.code, self.props = self.connected.get(timeout=10)

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


def paho_client(*arguments, **kwargs):
    made = Paho(*arguments, **kwargs)
    assert not made.code.is_failure, made.code
    return made


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("version", list(VERSIONS))
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_paho_hears_what_paho_says(server, topic, name, transport, version, qos):
    one = paho_client(server, transport, version, name)
    one.client.subscribe(f"{topic}/+", qos)
    one.subscribed.get(timeout=5)
    for size in (0, 1, 125, 126, 1024, 70_000):
        info = one.client.publish(f"{topic}/{size}", b"p" * size, qos)
        info.wait_for_publish(5)
        got = one.messages.get(timeout=5)
        assert (got.topic, len(got.payload), got.qos, got.retain) == (f"{topic}/{size}", size, qos, False)
    one.close()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_paho_of_mqtt5_exchanges_properties(server, topic, name, transport):
    one = paho_client(server, transport, "5", name)
    props = Properties(PacketTypes.SUBSCRIBE)
    props.SubscriptionIdentifier = 12
    one.client.subscribe(topic, options=SubscribeOptions(qos=1, retainAsPublished=True), properties=props)
    one.subscribed.get(timeout=5)
    props = Properties(PacketTypes.PUBLISH)
    props.UserProperty = [("a", "1"), ("b", "2")]
    props.ContentType, props.MessageExpiryInterval, props.CorrelationData = "t", 60, b"c"
    one.client.publish(topic, b"x", 1, True, props).wait_for_publish(5)
    got = one.messages.get(timeout=5)
    assert got.retain and got.properties.UserProperty == [("a", "1"), ("b", "2")]
    assert (got.properties.ContentType, got.properties.CorrelationData, got.properties.SubscriptionIdentifier) == ("t", b"c", [12])
    one.client.publish(topic, b"", 1, True).wait_for_publish(5)
    one.close()


@pytest.mark.parametrize("transport", ["tcp", "websocket"])
def test_a_will_of_paho_comes_when_its_process_dies(server, topic, transport):
    watcher = paho_client(server, "tcp", "311")
    watcher.client.subscribe(topic, 1)
    watcher.subscribed.get(timeout=5)
    victim = paho_client(server, transport, "311", will=(topic, b"died", 1, False))
    victim.client.loop_stop()
    victim.client.socket().close()
    assert watcher.messages.get(timeout=5).payload == b"died"
    watcher.close()


@pytest.mark.parametrize("version", ["311", "5"])
def test_paho_reconnects_into_its_session(server, topic, name, version):
    props = None
    if version == "5":
        props = Properties(PacketTypes.CONNECT)
        props.SessionExpiryInterval = 300
    options = {"clean_start": False, "properties": props} if version == "5" else {"clean_session": False}
    one = paho_client(server, "tcp", version, name, **options)
    one.client.subscribe(topic, 1)
    one.subscribed.get(timeout=5)
    one.close()
    other = paho_client(server, "tcp", version)
    for number in range(20):
        other.client.publish(topic, str(number), 1).wait_for_publish(5)
    other.close()
    again = paho_client(server, "tcp", version, name, **options)
    assert again.flags.session_present
    assert [int(again.messages.get(timeout=5).payload) for _ in range(20)] == list(range(20))
    again.close()


def test_tls_works_in_versions_1_2_and_1_3_and_refuses_strangers_to_trust(server, topic):
    endpoint(server, "tls")
    import socket
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = server.tls_context()
        context.minimum_version = context.maximum_version = version
        with socket.create_connection(server.mqtts) as raw, context.wrap_socket(raw, server_hostname="localhost") as sock:
            assert sock.version() == {ssl.TLSVersion.TLSv1_2: "TLSv1.2", ssl.TLSVersion.TLSv1_3: "TLSv1.3"}[version]
    with pytest.raises(ssl.SSLCertVerificationError), socket.create_connection(server.mqtts) as raw:
        ssl.create_default_context().wrap_socket(raw, server_hostname="localhost")


def test_tls_offers_the_suite_that_devices_need(server):
    """ECDHE-RSA-AES128-GCM-SHA256 with P-256 and an RSA leaf: all that some devices know."""
    endpoint(server, "tls")
    import socket
    context = server.tls_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")
    context.set_ecdh_curve("prime256v1")
    context.check_hostname = False  # a device pins the key and asks for no name
    with socket.create_connection(server.mqtts) as raw, context.wrap_socket(raw) as sock:
        assert sock.cipher()[0] == "ECDHE-RSA-AES128-GCM-SHA256"


def records_of(server, version, payload_size):
    """What the server wrote: (content type, length) of every TLS record while a large message comes."""
    import socket

    import wire
    context = server.tls_context()
    context.minimum_version = context.maximum_version = version
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    seen = bytearray()
    with socket.create_connection(server.mqtts, 5) as sock:
        def until(action):
            while True:
                try:
                    return action()
                except ssl.SSLWantReadError:
                    sock.sendall(outgoing.read())
                    got = sock.recv(65536)
                    assert got, "closed"
                    seen.extend(got)
                    incoming.write(got)

        until(tls.do_handshake)
        handshake = len(seen)
        tls.write(wire.connect(wire.V311, "") + wire.subscribe(wire.V311, 1, [("big", 0)])
                  + wire.publish(wire.V311, "big", bytes(payload_size)))
        sock.sendall(outgoing.read())
        wanted, got = payload_size + 10, 0
        while got < wanted:
            got += len(until(lambda: tls.read(65536)))
    found, at = [], 0
    while at < len(seen):
        length = int.from_bytes(seen[at + 3:at + 5], "big")
        found.append((seen[at], length, at < handshake))
        at += 5 + length
    return found


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
@pytest.mark.parametrize("size, most, least_records", [("1KiB", 1024, 29), ("512B", 512, 58), ("16KiB", 16_384, 2), ("auto", 16_384, 2)])
def test_tls_records_are_as_long_as_the_listener_says(own_server, version, size, most, least_records):
    """By itself OpenSSL, which has room for the longest, gets those; a record may add a nonce and a tag."""
    server = own_server(settings={"mqtts": f'record_size = "{size}"'})
    records = records_of(server, version, 30_000)
    data = [length for kind, length, handshake in records if kind == 23 and not handshake]
    assert least_records <= len(data) < 2 * least_records + 4 and max(data) <= most + 25, data


# ----------------------------------------------------------------- aiomqtt

@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("version", [aiomqtt.ProtocolVersion.V31, aiomqtt.ProtocolVersion.V311, aiomqtt.ProtocolVersion.V5])
def test_aiomqtt_publishes_and_subscribes(server, topic, transport, version):
    host, port = endpoint(server, transport)

    async def talk():
        options = dict(hostname=host, port=port, protocol=version)
        if transport == "websocket":
            options |= dict(transport="websockets", websocket_path="/mqtt")
        if transport == "tls":
            options |= dict(tls_context=server.tls_context())
        async with aiomqtt.Client(**options) as one, aiomqtt.Client(**options) as two:
            await one.subscribe(f"{topic}/#", qos=2)
            for qos in (0, 1, 2):
                await two.publish(f"{topic}/{qos}", f"payload {qos}", qos=qos)
            got = []
            async for message in one.messages:
                got.append((str(message.topic), message.payload.decode(), message.qos))
                if len(got) == 3:
                    break
            return got

    assert sorted(asyncio.run(asyncio.wait_for(talk(), 20))) == [(f"{topic}/{q}", f"payload {q}", q) for q in range(3)]


def test_fifty_aiomqtt_clients_chat_at_once(server, topic):
    async def one(number, ready, start):
        async with aiomqtt.Client("127.0.0.1", server.mqtt_port, identifier=f"chat{topic}{number}") as client:
            await client.subscribe(f"{topic}/chat", qos=1)
            ready.release()
            await start.wait()
            await client.publish(f"{topic}/chat", str(number), qos=1)
            heard = set()
            async for message in client.messages:
                heard.add(int(message.payload))
                if len(heard) == 50:
                    return True

    async def all_of_them():
        ready, start = asyncio.Semaphore(0), asyncio.Event()
        tasks = [asyncio.create_task(one(number, ready, start)) for number in range(50)]
        for _ in tasks:
            await ready.acquire()
        start.set()
        return await asyncio.wait_for(asyncio.gather(*tasks), 30)

    assert all(asyncio.run(all_of_them()))
