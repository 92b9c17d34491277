// MQTT.js against the real server: TCP, TLS and WebSocket, versions 3.1, 3.1.1 and 5.
// Run by `pytest test_node.py`, which starts the server and passes its ports, or by hand with the same variables.
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import mqtt from "mqtt";

const { E2E_MQTT, E2E_MQTTS, E2E_HTTP, E2E_HTTPS, E2E_CA } = process.env;
assert.ok(E2E_MQTT && E2E_HTTP, "E2E_MQTT and E2E_HTTP must hold ports; run `pytest test_node.py`");

const transports = {
  tcp: { url: `mqtt://127.0.0.1:${E2E_MQTT}` },
  websocket: { url: `ws://127.0.0.1:${E2E_HTTP}/mqtt` },
  ...(E2E_MQTTS ? { tls: { url: `mqtts://localhost:${E2E_MQTTS}`, ca: readFileSync(E2E_CA) } } : {}),
  ...(E2E_HTTPS ? { "websocket in TLS": { url: `wss://localhost:${E2E_HTTPS}/mqtt`, ca: readFileSync(E2E_CA) } } : {}),
};
const versions = {
  3.1: { protocolId: "MQIsdp", protocolVersion: 3 },
  "3.1.1": { protocolVersion: 4 },
  5: { protocolVersion: 5 },
};
let numbers = 0;
const fresh = (what) => `${what}/js/${process.pid}/${(numbers += 1)}`;

async function client(transport, version, options = {}) {
  const { url, ...more } = transports[transport];
  return mqtt.connectAsync(url, { reconnectPeriod: 0, ...versions[version], ...more, ...options });
}

async function within(promise, what, ms = 5000) {
  let timer;
  const late = new Promise((_, no) => (timer = setTimeout(() => no(new Error(`no ${what} within ${ms} ms`)), ms)));
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

function collect(one, count) {
  const got = [];
  return within(new Promise((done) => one.on("message", (topic, payload, packet) => {
    got.push({ topic, payload: payload.toString(), qos: packet.qos, retain: packet.retain, properties: packet.properties });
    if (got.length === count) done(got);
  })), `${count} messages`);
}

for (const transport of Object.keys(transports))
  for (const version of Object.keys(versions))
    test(`${version} over ${transport}: every QoS arrives as it was sent`, async () => {
      const topic = fresh("qos");
      const one = await client(transport, version);
      const [granted] = await one.subscribeAsync(`${topic}/#`, { qos: 2 });
      assert.equal(granted.qos, 2);
      const messages = collect(one, 3);
      for (const qos of [0, 1, 2]) await one.publishAsync(`${topic}/${qos}`, `käse ${qos}`, { qos });
      const got = (await messages).sort((a, b) => a.qos - b.qos);
      assert.deepEqual(got.map((m) => [m.topic, m.payload, m.qos]), [0, 1, 2].map((q) => [`${topic}/${q}`, `käse ${q}`, q]));
      await one.endAsync();
    });

for (const transport of Object.keys(transports))
  test(`large payloads pass over ${transport}`, async () => {
    const topic = fresh("large");
    const one = await client(transport, 5);
    await one.subscribeAsync(topic);
    const messages = collect(one, 1);
    await one.publishAsync(topic, "x".repeat(300_000), { qos: 1 });
    assert.equal((await messages)[0].payload.length, 300_000);
    await one.endAsync();
  });

test("a retained message greets a later subscriber, once", async () => {
  const topic = fresh("retained");
  const one = await client("websocket", 5);
  await one.publishAsync(topic, "kept", { qos: 1, retain: true });
  const messages = collect(one, 1);
  await one.subscribeAsync(topic);
  assert.equal((await messages)[0].retain, true);
  await one.publishAsync(topic, "", { qos: 1, retain: true });
  await one.endAsync();
});

test("a will is published when the stream is cut", async () => {
  const topic = fresh("will");
  const watcher = await client("tcp", 5);
  await watcher.subscribeAsync(topic);
  const messages = collect(watcher, 1);
  const victim = await client("websocket", 5, { will: { topic, payload: "cut", qos: 1 } });
  victim.stream.destroy();
  assert.equal((await messages)[0].payload, "cut");
  await watcher.endAsync();
});

test("properties, subscription identifiers and aliases of version 5", async () => {
  const topic = fresh("props");
  const one = await client("websocket", 5, { properties: { topicAliasMaximum: 5 }, autoAssignTopicAlias: true });
  await one.subscribeAsync(topic, { qos: 1, properties: { subscriptionIdentifier: 9 } });
  const messages = collect(one, 3);
  for (let n = 0; n < 3; n += 1)
    await one.publishAsync(topic, String(n), { qos: 1, properties: { userProperties: { a: "b" }, contentType: "t",
      responseTopic: "r", correlationData: Buffer.from("c"), messageExpiryInterval: 50 } });
  for (const [n, message] of (await messages).entries()) {
    assert.equal(message.topic, topic);
    assert.equal(message.payload, String(n));
    assert.equal(message.properties.contentType, "t");
    assert.equal(message.properties.subscriptionIdentifier, 9);
    assert.deepEqual({ ...message.properties.userProperties }, { a: "b" });
  }
  await one.endAsync();
});

test("a session of 3.1.1 keeps messages while its client is away", async () => {
  const topic = fresh("session");
  const options = { clientId: `js-${process.pid}`, clean: false };
  const first = await client("tcp", "3.1.1", options);
  await first.subscribeAsync(topic, { qos: 1 });
  await first.endAsync();
  const other = await client("tcp", "3.1.1");
  for (let n = 0; n < 10; n += 1) await other.publishAsync(topic, String(n), { qos: 1 });
  await other.endAsync();
  const { url, ...more } = transports.tcp;
  const second = mqtt.connect(url, { reconnectPeriod: 0, ...more, ...versions["3.1.1"], ...options });
  const messages = collect(second, 10);
  const [connack] = await once(second, "connect");
  assert.equal(connack.sessionPresent, true);
  assert.deepEqual((await messages).map((m) => m.payload), [..."0123456789"]);
  await second.endAsync();
});

test("a taken-over client hears why", async () => {
  const clientId = `js-twice-${process.pid}`;
  const first = await client("websocket", 5, { clientId });
  const told = within(once(first, "disconnect"), "DISCONNECT");
  const second = await client("tcp", 5, { clientId });
  assert.equal((await told)[0].reasonCode, 0x8e);
  await second.endAsync();
});

test("a hundred WebSocket clients hear one message each", async () => {
  const topic = fresh("crowd");
  const crowd = await Promise.all(Array.from({ length: 100 }, () => client("websocket", "3.1.1")));
  await Promise.all(crowd.map((one) => one.subscribeAsync(topic, { qos: 1 })));
  const heard = crowd.map((one) => collect(one, 1));
  await crowd[0].publishAsync(topic, "all", { qos: 1 });
  assert.equal((await Promise.all(heard)).length, 100);
  await Promise.all(crowd.map((one) => one.endAsync()));
});
