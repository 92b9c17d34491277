"""Runs the commands of a README, so that what a newcomer types is what was tested.

    python e2e/readme.py README.md

Every ```console block must be preceded by a comment that says what to do with it:

    <!-- run -->               each `$ ` line runs in the repository's folder and must end with 0
    <!-- run: background -->   starts and stays; it must still run at the end, or have ended with 0
    <!-- run: background, while next -->   the same, but is ended after the next block
    <!-- run: 5s -->           may run for so long, is then ended; both are fine
    <!-- run: exits 19 -->     each command must end with this code
    <!-- run: needs /dev/x -->  is left out, aloud, where this file cannot be opened
    <!-- run: output -->       lines that follow a command must be among its output, in order; `…` stands for
                               anything (may be joined: `run: background, output`)
    <!-- skip: why -->         is not run

A block without such a comment is an error: no command of a README goes untested by oversight. Commands run with a
data folder of their own. If a default port is taken, everything runs in a network namespace of its own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
PORTS = (1883, 8883, 8002, 8443)
BLOCK = re.compile(r"(?:<!--\s*(?P<mark>(?:run|skip)\b[^>]*?)\s*-->\s*\n+)?^```(?:console|sh|bash|shell)\n(?P<body>.*?)^```$", re.M | re.S)


@dataclasses.dataclass
class Command:
    text: str
    expected: list[str]


@dataclasses.dataclass
class Running:
    command: Command
    process: subprocess.Popen
    log: pathlib.Path
    check_output: bool
    blocks_left: int | None


def commands(body: str) -> list[Command]:
    found: list[Command] = []
    continued = False
    for line in body.splitlines():
        if continued:
            found[-1].text += "\n" + line
        elif line.startswith("$ "):
            found.append(Command(line[2:], []))
        elif found and line.strip():
            found[-1].expected.append(line.strip())
        continued = found and line.endswith("\\") and not found[-1].expected
    return found


def missing(command: Command, output: str) -> str | None:
    """The first expected line that is not in `output` after the ones before it."""
    lines = iter(re.sub(r"\x1b\[[0-9;]*m", "", output).splitlines())
    for wanted in command.expected:
        pattern = re.compile(".*".join(re.escape(part) for part in re.split(r"…|\.\.\.", wanted)))
        if not any(pattern.search(line) for line in lines):
            return wanted
    return None


def start(text: str, log: pathlib.Path) -> subprocess.Popen:
    return subprocess.Popen(["bash", "-euo", "pipefail", "-c", text], cwd=ROOT, stdin=subprocess.DEVNULL,
                            stdout=log.open("wb"), stderr=subprocess.STDOUT, start_new_session=True)


def end(process: subprocess.Popen):
    """Ends the process group that we started."""
    for sign in (signal.SIGINT, signal.SIGKILL):
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)


def settle(text: str, process: subprocess.Popen):
    """Waits until a command in the background does its work: a server answers, another has had a moment."""
    deadline = time.monotonic() + (1800 if "cargo" in text else 30)
    while " serve" in text and time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError):
            if urllib.request.urlopen(f"http://127.0.0.1:{PORTS[2]}/healthz", timeout=1).status == 200:
                return
        time.sleep(0.2)
    time.sleep(1.5)


class Failure(Exception):
    pass


def finish(running: Running):
    end(running.process)
    if running.check_output and (wanted := missing(running.command, running.log.read_text(errors="replace"))):
        raise Failure(f"`{running.command.text}` never said: {wanted}\nit said:\n{running.log.read_text(errors='replace')[-3000:]}")


def run(path: pathlib.Path, scratch: pathlib.Path) -> int:
    count, background = 0, []
    try:
        for number, block in enumerate(BLOCK.finditer(path.read_text())):
            mark, body = block["mark"], block["body"]
            line = path.read_text()[: block.start("body")].count("\n") + 1
            if mark is None:
                raise Failure(f"{path.name}:{line}: a block of commands without `<!-- run -->` or `<!-- skip: why -->` before it")
            if mark.startswith("skip"):
                print(f"{path.name}:{line}: left out: {mark.partition(':')[2].strip() or 'no reason given'}")
                continue
            options = {o.strip() for o in mark.partition(":")[2].split(",") if o.strip()}
            seconds = next((float(o[:-1]) for o in options if re.fullmatch(r"\d+s", o)), None)
            exits = next((int(o.removeprefix("exits ")) for o in options if o.startswith("exits ")), 0)
            needs = next((o.removeprefix("needs ") for o in options if o.startswith("needs ")), None)
            if needs and not os.access(needs, os.R_OK | os.W_OK):
                print(f"{path.name}:{line}: left out: {needs} cannot be opened here")
                continue
            due = [each for each in background if each.blocks_left == 0]
            found = commands(body)
            if not found:
                raise Failure(f"{path.name}:{line}: no `$ ` line in a block that is to be run")
            for command in found:
                print(f"{path.name}:{line}: $ {command.text}", flush=True)
                count += 1
                log = scratch / f"{number}-{count}.log"
                process = start(command.text, log)
                if "background" in options:
                    settle(command.text, process)
                    if process.poll() not in (None, 0):
                        raise Failure(f"`{command.text}` ended with {process.returncode}:\n{log.read_text(errors='replace')[-3000:]}")
                    background.append(Running(command, process, log, "output" in options, 1 if "while next" in options else None))
                    continue
                try:
                    process.wait(seconds or 1800)
                except subprocess.TimeoutExpired:
                    end(process)
                    if seconds is None:
                        raise Failure(f"`{command.text}` did not end") from None
                said = log.read_text(errors="replace")
                if seconds is None and process.returncode != exits:
                    raise Failure(f"`{command.text}` ended with {process.returncode}:\n{said[-3000:]}")
                if "output" in options and (wanted := missing(command, said)):
                    raise Failure(f"`{command.text}` did not say: {wanted}\nit said:\n{said[-3000:]}")
            for each in background:
                if each.blocks_left is not None:
                    each.blocks_left -= 1
            for each in due:
                background.remove(each)
                finish(each)
        time.sleep(1)
        for each in background:
            if each.process.poll() not in (None, 0):
                raise Failure(f"`{each.command.text}` ended with {each.process.returncode} before its time:\n"
                              f"{each.log.read_text(errors='replace')[-3000:]}")
        for each in reversed(background):
            finish(each)
    finally:
        for each in reversed(background):
            end(each.process)
    if not count:
        raise Failure(f"{path.name} has no command that is run")
    return count


def taken(port: int) -> bool:
    with contextlib.suppress(OSError), socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("0.0.0.0", port))
        return False
    return True


def main() -> int:
    busy = [port for port in PORTS if taken(port)]
    if busy and "README_IN_NAMESPACE" not in os.environ:
        print(f"ports {busy} are taken here: running in a network namespace")
        os.environ["README_IN_NAMESPACE"] = "1"
        inner = 'ip link set lo up && exec "$@"'
        os.execvp("unshare", ["unshare", "--net", *([] if os.getuid() == 0 else ["--map-root-user"]), "bash", "-c", inner,
                              "bash", sys.executable, *sys.argv])
    path = ROOT / sys.argv[1]
    if not path.exists():
        print(f"{path.name} does not exist")
        return 1
    with tempfile.TemporaryDirectory(prefix="safeport-readme-") as folder:
        os.environ["SAFEPORT__SERVER__DATA"] = f"{folder}/data"
        os.environ["NO_COLOR"] = "1"
        try:
            count = run(path, pathlib.Path(folder))
        except Failure as failure:
            print(f"FAILED {failure}")
            return 1
    print(f"{count} commands of {path.name} ran as written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
