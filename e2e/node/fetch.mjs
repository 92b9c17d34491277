// Fetches one retained message over TLS by MQTT.js. What and where comes as JSON on standard input.
import { readFileSync } from "node:fs";
import mqtt from "mqtt";

const { url, ca, topic, ...tls } = JSON.parse(readFileSync(0, "utf8"));
const client = await mqtt.connectAsync(url, { reconnectPeriod: 0, ca: readFileSync(ca), ...tls });
client.on("message", (_topic, payload) => {
  process.stdout.write(JSON.stringify({ payload: payload.toString("hex"), version: client.stream.getProtocol() }));
  client.end();
});
await client.subscribeAsync(topic);
