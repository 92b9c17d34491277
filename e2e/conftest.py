"""Fixtures shared by all end-to-end tests."""

import itertools
import os
import time

import pytest

import server as servers
import wire
from models import Models

os.environ.setdefault("NO_PROXY", "127.0.0.1,localhost")


def pytest_addoption(parser):
    parser.addoption("--peer", choices=["safeport", "mosquitto"], default="safeport",
                     help="which server the protocol tests meet; mosquitto shows whose reading differs")


# They measure, fill a disk, use up descriptors, or bind ports that are fixed.
ALONE = {"test_acme", "test_bench", "test_bench_tables", "test_exhaustion", "test_full_disk"}


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.stem in ALONE:
            item.add_marker(pytest.mark.alone)


@pytest.fixture(scope="session")
def kind(request):
    return servers.Mosquitto if request.config.getoption("--peer") == "mosquitto" else servers.Safeport


@pytest.fixture(scope="module")
def server(kind):
    """One server per test module; tests keep apart by their own client ids and topics."""
    with servers.serving(kind) as running:
        yield running
        assert running.process.poll() is None, f"the server died:\n{running.log_text()[-4000:]}"


@pytest.fixture(scope="module")
def services():
    """Stand-ins of recognisers, models and voices, for a test module."""
    with Models() as running:
        yield running


@pytest.fixture
def models(services):
    """The same for all tests of a module, as if it was new."""
    services.heal_all()
    services.requests.clear()
    yield services


@pytest.fixture
def own_server(request):
    """A safeport of this test alone: call it with options of `Safeport`."""
    from contextlib import ExitStack
    if request.config.getoption("--peer") != "safeport":
        pytest.skip("concerns safeport's own command line")
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(servers.serving(servers.Safeport, **options))


@pytest.fixture
def home(request, tmp_path):
    """A folder with settings of this test alone: call it with options of `Safeport`. Nothing is started; what the
    test starts there is stopped."""
    if request.config.getoption("--peer") != "safeport":
        pytest.skip("concerns safeport's own command line")
    made = []

    def make(**options):
        folder = tmp_path / f"home-{len(made)}"
        folder.mkdir()
        made.append(servers.Safeport(folder, **{"settings": {}, "open_to_all": False, **options}))
        return made[-1]

    yield make
    for each in made:
        if request.node.stash.get(failed, False):
            print(f"--- log of {each.folder.name} ---\n{each.log_text()[-4000:]}")
        each.stop()


failed = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if call.when == "call":
        item.stash[failed] = report.failed
    return report


numbers = itertools.count(1)


@pytest.fixture
def topic():
    """A topic prefix that no other test uses."""
    return f"e2e/{os.getpid()}/{next(numbers)}"


@pytest.fixture
def name():
    """A client identifier that no other test uses."""
    return f"e2e-{os.getpid()}-{next(numbers)}"


@pytest.fixture
def dial(server):
    """Opens raw connections that are closed after the test. `dial(version)` is connected, with `raw=True` only a socket."""
    opened = []

    def open_one(version=wire.V5, client_id=None, *, raw=False, to=None, tls=None, **kwargs):
        made = wire.Client(to or server.mqtt, version, tls=tls)
        opened.append(made)
        if not raw:
            if client_id is None:
                client_id = f"raw-{os.getpid()}-{next(numbers)}"
            made.connack = made.hello(client_id, **kwargs)
            assert made.connack.code == 0, str(made.connack)
        return made

    yield open_one
    for each in opened:
        each.close()


def eventually(check, seconds=5.0, every=0.05):
    """Waits until `check()` is true; its last value is returned."""
    deadline = time.monotonic() + seconds
    while True:
        value = check()
        if value or time.monotonic() > deadline:
            return value
        time.sleep(every)
