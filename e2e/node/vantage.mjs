// Opens the page that tests addresses "from a phone" and runs its own script, with the little of a browser that it
// touches. Prints what the page would show for each address: `node vantage.mjs URL`.
import { runInNewContext } from "node:vm";
import WebSocket from "ws";

const [, , address] = process.argv;
const answer = await fetch(address, { headers: { accept: "text/html" } });
const page = await answer.text();
if (!answer.ok) {
  console.log(JSON.stringify({ status: answer.status, page }));
  process.exit(0);
}
const tests = page.match(/<script[^>]*id="?tests"?[^>]*>([\s\S]*?)<\/script>/)[1];
const script = page.match(/<script(?![^>]*id=)[^>]*>([\s\S]*?)<\/script>/)[1];
const places = {};
const document = {
  getElementById: (id) => (id === "tests" ? { textContent: tests } : (places[id] ??= { textContent: "", className: "" })),
};
// A browser's socket that fails fires an event and ends no program.
class Socket extends WebSocket {
  constructor(...words) {
    super(...words);
    this.on("error", () => {});
  }
}
runInNewContext(script, {
  document, fetch, WebSocket: Socket, AbortController, TextDecoder, setTimeout, clearTimeout, location: new URL(address),
});
const wanted = JSON.parse(tests).tests;
const deadline = Date.now() + 15000;
while (Date.now() < deadline && wanted.some((test) => !places[test.id]?.className))
  await new Promise((done) => setTimeout(done, 50));
const results = Object.fromEntries(wanted.map((test) => [test.url.split("/").slice(0, 3).join("/"), places[test.id]?.className ?? ""]));
console.log(JSON.stringify({ status: answer.status, results, page }));
process.exit(0);
