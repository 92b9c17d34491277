"""The server is killed while images come in: an image is there with every byte, or not at all."""

import hashlib
import http.client
import json
import random
import socket
import time

import pytest

import server as servers
from conftest import eventually
from house import images  # noqa: F401

PIECE = 16 * 1024


class Uploads:
    """A server, a token for its API, and the image that is sent to it."""

    def __init__(self, here, path):
        self.here, self.data = here, path.read_bytes()
        here.start()
        self.token = here.json("token", "add", "e2e")["token"]
        self.hash = hashlib.sha256(self.data).hexdigest()

    def begin(self, until):
        """Sends the head and the first bytes of an upload, and leaves it at that."""
        stream = socket.create_connection(self.here.http, 10)
        stream.sendall((f"POST /api/v1/images?name=app.bin HTTP/1.1\r\nHost: {self.here.host}\r\n"
                        f"Authorization: Bearer {self.token}\r\nContent-Type: application/octet-stream\r\n"
                        f"Content-Length: {len(self.data)}\r\n\r\n").encode())
        for at in range(0, until, PIECE):
            stream.sendall(self.data[at:min(at + PIECE, until)])
        return stream

    def whole(self):
        connection = http.client.HTTPConnection(*self.here.http, timeout=30)
        connection.request("POST", "/api/v1/images?name=app.bin", self.data,
                           {"Authorization": f"Bearer {self.token}", "Content-Type": "application/octet-stream"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())

    def kept(self):
        return self.here.json("firmware", "list")

    def files(self):
        """What lies in the folder of images, with its length."""
        return {str(path.relative_to(self.here.data / "blobs")): path.stat().st_size
                for path in (self.here.data / "blobs").rglob("*") if path.is_file()}

    def listed(self):
        kept = self.kept()
        return [each["sha256"] for each in (kept["images"] if isinstance(kept, dict) else kept)]


@pytest.fixture
def uploads(home, images, tmp_path):  # noqa: F811
    import pathlib
    path = pathlib.Path(images("--family", "idf", "--chip", "esp32c3", "--version", "2.0.0", "--size", "3000000"))
    return Uploads(home(), path)


def test_what_was_half_uploaded_or_half_inspected_when_the_server_was_killed_is_not_there(uploads):
    length = len(uploads.data)
    chosen = random.Random(6)
    # In the head, in the middle, at the last byte; and at places that nobody chose.
    cuts = [0, 1, 4096, length // 2, length - 1] + [chosen.randrange(length) for _ in range(3)]
    for cut in cuts:
        stream = uploads.begin(cut)
        if cut > 1 << 20:
            assert eventually(lambda: uploads.files(), 5), "it streams into a file of its own"
        time.sleep(chosen.random() * 0.1)
        uploads.here.kill()
        stream.close()
        uploads.here.start()
        assert uploads.listed() == [], cut
        assert uploads.files() == {}, cut
    status, said = uploads.whole()
    assert status == 201 and said["sha256"] == uploads.hash, said
    assert list(uploads.files().values()) == [length]


def test_killed_while_the_last_byte_is_answered_it_is_there_whole_or_not_at_all(uploads):
    length = len(uploads.data)
    chosen = random.Random(7)
    for _ in range(6):
        stream = uploads.begin(length)
        # Inspection, fsync, rename and the row: anywhere between.
        time.sleep(chosen.random() * 0.06)
        uploads.here.kill()
        answered = b"201" in received(stream)
        uploads.here.start()
        listed, files = uploads.listed(), uploads.files()
        assert listed in ([], [uploads.hash]), listed
        if listed:
            assert list(files.values()) == [length], files
            bytes_of = uploads.here.data / "blobs" / next(iter(files))
            assert hashlib.sha256(bytes_of.read_bytes()).hexdigest() == uploads.hash
            uploads.here.cli("firmware", "remove", uploads.hash)
            assert eventually(lambda: uploads.files() == {}, 10), uploads.files()
        else:
            assert not answered, "it was told that the image is kept"
            assert files == {}, files
        # It can be sent again.
        assert uploads.whole()[0] == 201
        uploads.here.cli("firmware", "remove", uploads.hash)
    assert uploads.listed() == []


def received(stream):
    stream.settimeout(2)
    try:
        return stream.recv(65536)
    except OSError:
        return b""
    finally:
        stream.close()
