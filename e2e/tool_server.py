"""A real server of tools, by the official package of the Model Context Protocol. As a program it is one:

    python tool_server.py NAME                 over its standard input and output
    python tool_server.py NAME PORT [KEY]      by streamable HTTP at http://127.0.0.1:PORT/mcp, for who has the key

`HttpTools` starts the second kind for a test, ends it, and starts it again at the same place.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import socket
import subprocess
import sys
import time

from server import free_ports

HUGE = 10_000_000


def make(name: str):
    """A server with one tool for everything that can happen."""
    import anyio
    from mcp.server.mcpserver import MCPServer
    from mcp.server.mcpserver.exceptions import ToolError
    server = MCPServer(name, log_level="ERROR")

    @server.tool()
    def add(a: int, b: int) -> str:
        """Adds two numbers"""
        return f"{name} says {a + b}"

    @server.tool()
    async def slow(seconds: float) -> str:
        """Takes a while"""
        await anyio.sleep(seconds)
        return "done at last"

    @server.tool()
    def fails() -> str:
        """Always fails"""
        raise ToolError("the milk is sour")

    @server.tool()
    def huge() -> str:
        """Says far too much"""
        return "x" * HUGE

    @server.tool()
    def long() -> str:
        """Says much"""
        return "y" * 200_000

    @server.tool()
    def die() -> str:
        """Ends the program in the middle of the call"""
        os._exit(7)

    return server


def by_http(name: str, port: int, key: str | None):
    import uvicorn
    app = make(name).streamable_http_app(host="127.0.0.1")

    async def guarded(scope, receive, send):
        headers = dict(scope.get("headers", []))
        if key and scope["type"] == "http" and headers.get(b"authorization") != f"Bearer {key}".encode():
            await send({"type": "http.response.start", "status": 401, "headers": []})
            await send({"type": "http.response.body", "body": f"{headers.get(b'authorization')} is not known".encode()})
            return
        await app(scope, receive, send)

    uvicorn.run(guarded, host="127.0.0.1", port=port, log_level="error")


class HttpTools:
    """One by HTTP, in a process of its own."""

    def __init__(self, name: str, key: str | None = None):
        self.name, self.key, self.port, self.process = name, key, free_ports(1)[0], None
        self.url = f"http://127.0.0.1:{self.port}/mcp"

    def start(self):
        arguments = [self.name, str(self.port)] + ([self.key] if self.key else [])
        self.process = subprocess.Popen([*PROGRAM, *arguments], stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            assert self.process.poll() is None, f"{self.name} ended with {self.process.returncode}"
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            time.sleep(0.05)
        raise AssertionError(f"{self.name} did not start")

    def stop(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()


PROGRAM = [sys.executable, str(pathlib.Path(__file__).resolve())]

if __name__ == "__main__":
    if len(sys.argv) == 2:
        make(sys.argv[1]).run("stdio")
    else:
        by_http(sys.argv[1], int(sys.argv[2]), *(sys.argv[3:] or [None]))
