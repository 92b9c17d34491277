"""MQTT.js, the client of browsers and Node-RED, by its own tests under Node.js."""

import os
import pathlib
import re
import subprocess

import server as servers

HERE = pathlib.Path(__file__).parent


def test_mqttjs_suite(server):
    assert (HERE / "node_modules" / "mqtt").exists(), "MQTT.js is not installed: run `npm install` in e2e/, or ./check"
    environment = {**os.environ, "E2E_MQTT": str(server.mqtt_port), "E2E_HTTP": str(server.http_port)}
    if server.has_tls:
        environment |= {"E2E_MQTTS": str(server.mqtts_port), "E2E_HTTPS": str(server.https_port), "E2E_CA": str(server.ca)}
    done = subprocess.run([servers.client("node"), "--test", "--test-force-exit", "--test-timeout=20000", "--test-reporter=tap", "node/mqttjs.test.mjs"], cwd=HERE,
                          env=environment, text=True, capture_output=True, timeout=110)
    failed = re.findall(r"^not ok \d+ - (.*)$", done.stdout, re.M)
    passed = re.findall(r"^ok \d+ - (.*)$", done.stdout, re.M)
    assert done.returncode == 0 and not failed, f"failed: {failed}\n{done.stdout[-6000:]}\n{done.stderr[-2000:]}"
    assert len(passed) >= 16, f"only {len(passed)} tests of MQTT.js ran"
