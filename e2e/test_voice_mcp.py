"""Tools of other programs, called by a model in a talk: of MCP servers over standard input and output and over HTTP, and of
programs that come to the access point. The servers are real ones, by the official package."""

import asyncio
import contextlib
import json
import pathlib
import subprocess
import threading
import time

import pytest
import websockets

import server as servers
from conftest import eventually
from models import Call, Models
from test_agents import api, ask, sections
from test_xiaozhi_ota import Device, sound
from tool_server import PROGRAM, HttpTools

KEY = "open-sesame"
LONG = 60
"""Seconds: Python with the package takes its time to start, here while other tests run."""


@pytest.fixture
def models():
    with Models() as running:
        yield running


@pytest.fixture
def web():
    with HttpTools("web", KEY) as running:
        yield running


def program(name, **more):
    command = json.dumps([*PROGRAM, name])
    return "\n".join([f'kind = "mcp"\ncommand = {command}'] + [f"{key} = {value}" for key, value in more.items()])


def by_http(url, key=KEY, **more):
    return "\n".join([f'kind = "mcp"\nurl = "{url}"\nkey = "{key}"'] + [f"{name} = {value}" for name, value in more.items()])


def servers_of(hub, agent="kitchen"):
    """How its servers stand, by name."""
    (row,) = [row for row in hub.json("agent", "list") if row["name"] == agent]
    return {server["name"]: server for server in row["servers"]}


def wait_for(hub, name, state="ready"):
    found = eventually(lambda: (known := servers_of(hub)[name])["state"] == state and known, seconds=2 * LONG, every=0.3)
    assert found, (servers_of(hub), hub.log_text()[-3000:])
    return found


def device_of(hub, name="box"):
    device = Device(hub).taken_in(name)
    device.told = sound(device.check())["websocket"]
    return device


def told_of(models, hub, device, *calls):
    """The model calls these; what it was told of each, and the names of the tools that it was offered."""
    models.requests.clear()
    models.say(list(calls), "That is all.")
    assert ask(hub, device, "Do it") == ["That is all."], hub.log_text()[-3000:]
    first, second = models.asked("chat")
    answers = [message["content"] for message in second.body["messages"] if message["role"] == "tool"][-len(calls):]
    return answers, [tool["function"]["name"] for tool in first.body.get("tools", [])]


# ------------------------------------------------------------ how servers stand

def test_agent_list_says_of_each_server_whether_it_answers_since_when_and_what_to_do(home, models, web):
    settings = sections(models) | {
        "provider.house": program("house"),
        "provider.web": by_http(web.url),
        "provider.shut": by_http(web.url, "wrong-key"),
        "provider.away": by_http("http://127.0.0.1:9/mcp?token=hidden-token"),
        "provider.lost": 'kind = "mcp"\ncommand = ["/no/such/program"]',
        "agent.bath": 'model = "brain"\ntools = ["device", "web"]',
        "agent.hall": 'model = "brain"\ntools = []',
    }
    here = home(settings=settings)
    # Nobody knows before a server runs, and nothing is started for the list.
    assert {server["state"] for server in servers_of(here).values()} == {"unknown"}
    assert "no server is running" in here.cli("agent", "list").stdout
    began = time.time()
    here.start()
    wait_for(here, "house")
    wait_for(here, "web")
    for name in ("shut", "away", "lost"):
        wait_for(here, name, "broken")
    known = servers_of(here)
    assert list(known) == ["away", "house", "lost", "shut", "web"]
    for name in ("house", "web"):
        one = known[name]
        assert one["tools"] == 6 and one["complete"] and one["failure"] is None, one
        assert began - 2 <= one["since"] <= time.time() + 1
    kinds = {name: known[name]["failure"]["kind"] for name in ("shut", "away", "lost")}
    assert kinds == {"shut": "not-allowed", "away": "unreachable", "lost": "missing"}
    assert list(servers_of(here, "bath")) == ["web"] and servers_of(here, "hall") == {}
    shown = here.cli("agent", "list")
    assert "house (mcp)  connected since" in shown.stdout and "tools: 6" in shown.stdout
    assert "shut (mcp)  does not work since" in shown.stdout
    for words in ("[provider.shut] does not let this server in", "provider.shut.key", "provider.away.url",
                  "Run the command of provider.lost"):
        assert words in shown.stderr, shown.stderr
    chinese = here.cli("agent", "list", "--lang", "zh-CN")
    assert "起已连接" in chinese.stdout and "起不可用" in chinese.stdout and "[provider.shut] 不让本服务器使用" in chinese.stderr
    for secret in (KEY, "wrong-key", "hidden-token"):
        assert secret not in shown.stdout + shown.stderr + json.dumps(known) + here.log_text(), secret
    # The same over the API, for who may look at settings, and as figures.
    reader = here.json("token", "add", "reader", "--scope", "settings:read")["token"]
    status, answer = api(here, "GET", "/agents", reader)
    assert status == 200 and [agent["name"] for agent in answer["agents"]] == ["bath", "hall", "kitchen"]
    assert {server["name"]: server["state"] for server in answer["agents"][2]["servers"]} == {
        "house": "ready", "web": "ready", "shut": "broken", "away": "broken", "lost": "broken"}
    other = here.json("token", "add", "other", "--scope", "devices:read")["token"]
    assert api(here, "GET", "/agents", other)[0] == 403
    rows = [line for line in here.get("/metrics")[1].splitlines() if line.startswith("safeport_voice_mcp_up{")]
    assert sorted(rows) == [f'safeport_voice_mcp_up{{server="{name}"}} {int(name in ("house", "web"))}'
                            for name in sorted(known)]


def test_a_server_that_ends_while_nobody_calls_it_is_told_and_is_back_by_itself(home, models, web):
    here = home(settings=sections(models) | {"provider.web": by_http(web.url)}).start()
    before = wait_for(here, "web")
    web.stop()
    broken = wait_for(here, "web", "broken")
    assert broken["failure"]["kind"] in ("unreachable", "broken"), broken
    web.start()
    assert wait_for(here, "web")["since"] >= before["since"]


# ------------------------------------------------------------ called by a model

@pytest.fixture(params=["program", "http"])
def house(request, home, models):
    """A server, and a device whose agent has the tools of `tools`."""
    with HttpTools("tools", KEY) as web:
        own = program("tools", timeout='"3s"') if request.param == "program" else by_http(web.url, timeout='"3s"')
        here = home(settings=sections(models) | {"provider.tools": own}).start()
        wait_for(here, "tools")
        here.web = web if request.param == "http" else None
        yield here, device_of(here)


def test_a_model_calls_a_tool_and_is_told_what_came_of_it_also_of_what_fails(house, models):
    hub, device = house
    answers, offered = told_of(models, hub, device, Call("add", {"a": 1, "b": 2}), Call("fails"), Call("add", {"a": "x"}),
                               Call("nothing"))
    assert offered == ["end_conversation", "add", "slow", "fails", "huge", "long", "die"]
    assert answers[0] == "tools says 3"
    assert answers[1].startswith("The tool failed") and "sour" in answers[1], answers
    assert answers[2].startswith("The tool failed"), answers
    assert "no tool of this name" in answers[3]


def test_an_answer_that_is_long_is_cut_one_of_10_mb_fails_and_the_next_call_works(house, models):
    hub, device = house
    (long,), _ = told_of(models, hub, device, Call("long"))
    assert long.startswith("yyy") and len(long) < 20_000 and "cut off" in long
    (huge,), _ = told_of(models, hub, device, Call("huge"))
    assert huge.startswith("The tool failed") and len(huge) < 1000, huge[:500]
    wait_for(hub, "tools")
    (after,), _ = told_of(models, hub, device, Call("add", {"a": 20, "b": 3}))
    assert after == "tools says 23"
    assert hub.process.poll() is None


def test_a_slow_call_is_waited_for_one_that_takes_too_long_is_given_up_and_others_go_on(house, models):
    hub, device = house
    (answer,), _ = told_of(models, hub, device, Call("slow", {"seconds": 1.0}))
    assert answer == "done at last"
    answers, _ = told_of(models, hub, device, Call("slow", {"seconds": 40.0}), Call("add", {"a": 2, "b": 2}))
    assert answers[0].startswith("The tool failed") and "3 s" in answers[0], answers
    assert answers[1] == "tools says 4"


def test_a_server_that_dies_in_the_middle_of_a_call_is_told_and_works_again_when_it_is_back(house, models):
    hub, device = house
    (answer,), _ = told_of(models, hub, device, Call("die"))
    assert answer.startswith("The tool failed"), answer
    if hub.web:
        hub.web.process.wait(20)
        wait_for(hub, "tools", "broken")
        # Its tools are not offered meanwhile.
        _, offered = told_of(models, hub, device, Call("add", {"a": 1, "b": 1}))
        assert offered == ["end_conversation"]
        hub.web.start()
    wait_for(hub, "tools")
    (again,), _ = told_of(models, hub, device, Call("add", {"a": 30, "b": 3}))
    assert again == "tools says 33"


def test_tools_of_the_same_name_at_two_servers_are_told_apart_and_reach_their_own(home, models, web):
    settings = sections(models) | {"provider.house": program("house"), "provider.web": by_http(web.url),
                                   "agent.bath": 'model = "brain"\ntools = ["web"]', "xiaozhi": 'agent = "kitchen"'}
    here = home(settings=settings).start()
    wait_for(here, "house")
    wait_for(here, "web")
    box, bath = device_of(here), device_of(here, "bath")
    sum_of = {"a": 1, "b": 1}
    answers, offered = told_of(models, here, box, Call("add", sum_of), Call("web_add", sum_of))
    assert {"add", "web_add", "slow", "web_slow"} <= set(offered) and len(set(offered)) == len(offered)
    assert answers == ["house says 2", "web says 2"]
    # Where only one of them is the agent's, it keeps its name.
    here.cli("config", "set", "--device", "bath", "xiaozhi.agent", "bath")
    answers, offered = told_of(models, here, bath, Call("add", sum_of))
    assert answers == ["web says 2"] and "web_add" not in offered


# ------------------------------------------------------------ before any device is there

def test_an_agent_is_tried_with_its_tools_and_says_which_it_called(home, models, web):
    here = home(settings=sections(models) | {"provider.house": program("house"), "provider.web": by_http(web.url)})
    models.say([Call("add", {"a": 1, "b": 2}), Call("web_fails")], "It is three.")
    done = here.cli("agent", "try", "kitchen", "What is one and two?")
    assert done.stdout.strip() == "It is three."
    assert 'called add {"a":1,"b":2}, which answered: house says 3' in done.stderr, done.stderr
    assert "called web_fails {}, which answered: The tool failed" in done.stderr and "kitchen works" in done.stderr
    models.say([Call("add", {"a": 1, "b": 2})], "It is three.")
    shown = here.json("agent", "try", "kitchen", "What is one and two?")
    assert shown["calls"] == [{"tool": "add", "arguments": {"a": 1, "b": 2}, "answer": "house says 3"}]
    assert shown["servers"] == [{"name": "house", "tools": 6}, {"name": "web", "tools": 6}]
    models.requests.clear()
    here.cli("agent", "try", "kitchen", "Hello", "--no-tools")
    assert "tools" not in models.asked("chat")[0].body
    # No program is left behind.
    assert eventually(lambda: not programs_of(here), seconds=10), programs_of(here)


def programs_of(hub):
    """Processes of servers of tools that run in this test's folder."""
    found = []
    for place in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (place / "cmdline").read_bytes().split(b"\0")
            if str(PROGRAM[1]).encode() in words and b"house" in words and (place / "cwd").resolve() == hub.folder.resolve():
                found.append(place.name)
    return found


def test_a_server_that_does_not_answer_is_named_when_an_agent_is_tried_and_the_model_is_asked_all_the_same(home, models):
    here = home(settings=sections(models) | {"provider.lost": 'kind = "mcp"\ncommand = ["/no/such/program"]'})
    done = here.cli("agent", "try", "kitchen", "Hello", check=False)
    assert done.returncode == 1 and done.stdout.strip() == models.answer
    assert "[provider.lost]" in done.stderr and "/no/such/program" in done.stderr, done.stderr


# ------------------------------------------------------------ at the access point

class Bridge:
    """Carries a program's standard input and output to the access point, a line for a text frame, as bridges do."""

    def __init__(self, url, name):
        self.url, self.name, self.ended = url, name, None
        self.thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self):
        self.process = subprocess.Popen([*PROGRAM, self.name], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.thread.start()
        return self

    async def _run(self):
        def lines(loop, queue):
            # The loop may have ended before the program does.
            with contextlib.suppress(RuntimeError):
                for line in self.process.stdout:
                    loop.call_soon_threadsafe(queue.put_nowait, line.decode())
                loop.call_soon_threadsafe(queue.put_nowait, None)

        queue, loop = asyncio.Queue(), asyncio.get_running_loop()
        threading.Thread(target=lines, args=(loop, queue), daemon=True).start()
        async with websockets.connect(self.url, compression=None, max_size=None) as socket:
            async def speak():
                while (line := await queue.get()) is not None:
                    await socket.send(line)
                await socket.close()

            speaking = asyncio.create_task(speak())
            try:
                async for text in socket:
                    self.process.stdin.write(text.encode() + b"\n")
                    self.process.stdin.flush()
            except (websockets.ConnectionClosedError, BrokenPipeError) as error:
                self.ended = str(error)
            speaking.cancel()

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.thread.join(20)


def address_of(hub, name, agent="kitchen"):
    """A new program; where it may come to."""
    added = hub.json("agent", "program", "add", agent, name)
    (url,) = [url for url in added["urls"] if url.startswith("ws://")]
    return url


def programs(hub):
    return int(hub.metric("safeport_voice_access_point_programs"))


def offered_to(models, hub, device):
    models.requests.clear()
    models.say("Yes.")
    ask(hub, device, "Hello")
    return [tool["function"]["name"] for tool in models.asked("chat")[0].body.get("tools", [])]


def test_a_model_calls_the_tools_of_a_program_at_the_access_point_until_it_has_gone(home, models):
    here = home(settings=sections(models)).start()
    device, url = device_of(here), address_of(here, "shed")
    with Bridge(url, "shed"):
        assert eventually(lambda: "add" in offered_to(models, here, device), seconds=LONG, every=0.3)
        answers, _ = told_of(models, here, device, Call("add", {"a": 4, "b": 4}), Call("fails"),
                             Call("slow", {"seconds": 1.0}), Call("long"))
        assert answers[0] == "shed says 8" and "sour" in answers[1] and answers[2] == "done at last"
        assert answers[3].startswith("yyy") and len(answers[3]) < 20_000
        (died,), _ = told_of(models, here, device, Call("die"))
        assert died.startswith("The tool failed"), died
    assert eventually(lambda: programs(here) == 0, seconds=20)
    assert offered_to(models, here, device) == ["end_conversation"]
    # It comes back, and with it its tools; another of the same kind has the same names.
    with Bridge(url, "shed"), Bridge(address_of(here, "barn"), "barn"):
        assert eventually(lambda: len(offered_to(models, here, device)) == 13, seconds=LONG, every=0.3)
        second = next(name for name in offered_to(models, here, device) if name in ("shed_add", "barn_add"))
        answers, _ = told_of(models, here, device, Call("add", {"a": 1, "b": 1}), Call(second, {"a": 1, "b": 1}))
        assert sorted(answers) == ["barn says 2", "shed says 2"] and answers[1].startswith(second[:4]), answers


def test_an_answer_of_10_mb_at_the_access_point_fails_and_the_talk_goes_on(home, models):
    here = home(settings=sections(models)).start()
    device, url = device_of(here), address_of(here, "shed")
    with Bridge(url, "shed"):
        assert eventually(lambda: "add" in offered_to(models, here, device), seconds=LONG, every=0.3)
        (huge,), _ = told_of(models, here, device, Call("huge"))
        assert huge.startswith("The tool failed") and len(huge) < 1000, huge[:500]
        assert here.process.poll() is None
    with Bridge(url, "shed"):
        assert eventually(lambda: "add" in offered_to(models, here, device), seconds=LONG, every=0.3)
        (answer,), _ = told_of(models, here, device, Call("add", {"a": 40, "b": 4}))
        assert answer == "shed says 44"


def test_programs_are_listed_by_name_and_one_that_is_removed_is_shut_out_while_others_stay(home, models):
    here = home(settings=sections(models) | {"agent.bath": 'model = "brain"'}).start()
    shed, barn = address_of(here, "shed"), address_of(here, "barn")
    address_of(here, "shed", agent="bath")
    again = here.cli("agent", "program", "add", "kitchen", "shed", check=False)
    assert again.returncode == 1 and "taken" in again.stderr, again.stderr
    assert here.cli("agent", "program", "add", "kitchen", "a b", check=False).returncode != 0
    assert here.cli("agent", "program", "add", "nobody", "shed", check=False).returncode != 0
    listed = lambda agent="kitchen": {row["name"]: row for row in here.json("agent", "program", "list", agent)}
    assert [(row["last_seen"], row["connections"]) for row in listed().values()] == [(None, 0), (None, 0)]
    assert "never seen" in here.cli("agent", "program", "list", "kitchen").stdout
    with Bridge(shed, "shed") as out, Bridge(barn, "barn"):
        assert eventually(lambda: [row["connections"] for row in listed().values()] == [1, 1], seconds=LONG, every=0.2)
        assert eventually(lambda: all(row["last_seen"] for row in listed().values()), seconds=10)
        assert listed("bath")["shed"]["connections"] == 0
        assert "connected: 1" in here.cli("agent", "program", "list", "kitchen").stdout
        (row,) = [agent for agent in api(here, "GET", "/agents", reader(here))[1]["agents"] if agent["name"] == "kitchen"]
        assert row["programs"] == 2
        here.cli("agent", "program", "remove", "kitchen", "shed")
        out.thread.join(20)
        assert not out.thread.is_alive(), "its connection goes on"
        assert {name: row["connections"] for name, row in listed().items()} == {"barn": 1}
        assert "removed" in here.log_text()
    with pytest.raises(websockets.InvalidStatus) as refused:
        asyncio.run(come(shed))
    assert refused.value.response.status_code == 401
    # The same name again is another program, and what there is outlives the server.
    new = address_of(here, "shed")
    assert new != shed
    here.stop()
    here.start()
    assert list(listed()) == ["barn", "shed"] and listed()["barn"]["last_seen"]
    moved = lambda url: f"ws://{here.host}:{here.http_port}/mcp_endpoint/mcp/?token={url.split('token=')[1]}"
    asyncio.run(come(moved(new)))
    with pytest.raises(websockets.InvalidStatus):
        asyncio.run(come(moved(shed)))
    for url in (shed, barn, new):
        assert url.split("token=")[1] not in here.log_text()
    # Who may only look is told of them, without their tokens, and removes none.
    status, answer = api(here, "GET", "/agents/kitchen/programs", reader(here))
    assert status == 200 and "sp_" not in json.dumps(answer)
    assert api(here, "DELETE", "/agents/kitchen/programs/barn", reader(here))[0] == 403


async def come(url):
    async with websockets.connect(url, compression=None) as socket:
        await asyncio.wait_for(socket.recv(), 20)


def reader(hub):
    return hub.json("token", "add", f"reader-{time.monotonic_ns()}", "--scope", "settings:read")["token"]
