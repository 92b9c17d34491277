
'use strict';
// Tries every address as a device would use it, and says what came of it.
const page = JSON.parse(document.getElementById('tests').textContent);
const patience = 10000;

function byFetch(test) {
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), patience);
  return fetch(test.url, {
    cache: 'no-store',
    credentials: 'omit',
    redirect: 'error',
    signal: stop.signal,
  })
    .then((answer) => answer.text())
    .then((text) => (text.trim() === test.answer ? 'reached' : 'foreign'))
    .finally(() => clearTimeout(timer));
}

function bySocket(test) {
  return new Promise((done, failed) => {
    const socket = new WebSocket(test.url, 'mqtt');
    let opened = false;
    const timer = setTimeout(() => {
      failed(new Error('too late'));
      socket.close();
    }, patience);
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => {
      opened = true;
    };
    socket.onmessage = (message) => {
      const text =
        typeof message.data === 'string' ? message.data : new TextDecoder().decode(message.data);
      done(text === test.answer ? 'reached' : 'foreign');
    };
    // After a result this changes nothing any more.
    socket.onclose = () => {
      clearTimeout(timer);
      if (opened) done('foreign');
      else failed(new Error('not opened'));
    };
  });
}

for (const test of page.tests) {
  const show = (result) => {
    const place = document.getElementById(test.id);
    place.textContent = page.words[result];
    place.className = result;
  };
  // A page that came by https may not look at http: the browser would refuse, which says nothing.
  if (location.protocol === 'https:' && !test.tls) {
    show('mixed');
    continue;
  }
  const look = test.socket ? bySocket : byFetch;
  Promise.resolve(test)
    .then(look)
    .then(show, () => show(test.tls ? 'untrusted' : 'failed'));
}
