"""The peer that bench/ota.py writes `aiohttp`: bare handlers, as a small server in Python would have them.

    ota_aiohttp.py HOST PORT ANSWER.json FILE
"""

import json
import pathlib
import sys

from aiohttp import web

HOST, PORT, ANSWER, FILE = sys.argv[1:]
answer = json.loads(pathlib.Path(ANSWER).read_text())


async def check(request):
    asked = await request.json()
    return web.json_response({**answer, "firmware": {**answer["firmware"], "version": asked["application"]["version"]}})


async def fetch(_):
    return web.FileResponse(FILE)


app = web.Application()
app.add_routes([web.post("/xiaozhi/ota/", check), web.get("/firmware.bin", fetch)])
web.run_app(app, host=HOST, port=int(PORT), access_log=None, print=None, backlog=1024)
