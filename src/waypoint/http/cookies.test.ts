import assert from 'node:assert/strict';
import http2 from 'node:http2';
import { test } from 'node:test';
import { filter } from '../../../test/support/filters.js';
import {
  converse,
  http2Upstream,
  httpUpstream,
  route,
  backend,
  startWaypoint,
  echoHandler,
} from '../../../test/support/waypoint.js';
import { joinCookies } from './cookies.js';
import type { Headers } from './headers.js';

test('cookies are joined at the position of the first; other fields keep their order', () => {
  const joined = (...headers: Headers): Headers => {
    joinCookies(headers);
    return headers;
  };
  assert.deepEqual(joined('a', '1', 'b', '2'), ['a', '1', 'b', '2']);
  assert.deepEqual(
    joined('x', 'cookie', 'cookie', 'a=1', 'y', '2', 'cookie', 'b=2', 'z', '3', 'cookie', 'c=3'),
    ['x', 'cookie', 'cookie', 'a=1; b=2; c=3', 'y', '2', 'z', '3'],
  );
});

const twoLines =
  'GET / HTTP/1.1\r\nHost: api.shop\r\nx-word: cookie\r\nCookie: a=1\r\nCookie: b=2; c=3\r\nConnection: close\r\n\r\n';

test('two cookie lines are joined for HTTP/1 and HTTP/2 endpoints', async (t) => {
  const upstream = await httpUpstream(t, echoHandler('a'));
  const waypoint = await startWaypoint(t, { backends: { api: [upstream.port] }, protocol: 'http1' });
  const answer = await converse(t, waypoint.port, twoLines);
  const { raw } = JSON.parse(/\{.*\}/.exec(answer)?.[0] ?? '') as { raw: string[] };
  assert.deepEqual(
    raw.filter((_text, i) => i % 2 === 1 && raw[i - 1]?.toLowerCase() === 'cookie'),
    ['a=1; b=2; c=3'],
  );
  const seen: unknown[] = [];
  const two = await http2Upstream(t, (stream, headers) => {
    seen.push(headers.cookie);
    stream.respond({ ':status': 200 }, { endStream: true });
  });
  const toTwo = await startWaypoint(t, {
    backends: { api: [two.port] },
    protocol: 'http2',
    routes: [
      route('r', [
        {
          filters: [
            filter('requestHeaders', { set: [], add: [{ name: 'cookie', value: 'd=4' }], remove: [] }),
          ],
          backends: [backend('api')],
        },
      ]),
    ],
  });
  assert.match(await converse(t, toTwo.port, twoLines), /^HTTP\/1\.1 200 /);
  assert.equal(seen.length, 1);
  assert.doesNotMatch(String(seen[0]), /,/);
  assert.deepEqual(String(seen[0]).split('; ').sort(), ['a=1', 'b=2', 'c=3', 'd=4']);
});

test('split HTTP/2 cookies are joined for an HTTP/1 endpoint, also after a field whose value is "cookie"', async (t) => {
  const upstream = await httpUpstream(t, echoHandler('a'));
  const waypoint = await startWaypoint(t, { backends: { api: [upstream.port] }, protocol: 'http1' });
  const session = http2.connect(`http://127.0.0.1:${waypoint.port}`);
  t.after(() => session.destroy());
  const stream = session.request({ ':path': '/', 'x-word': 'cookie', cookie: ['a=1', 'b=2'] });
  let body = '';
  for await (const part of stream) body += String(part);
  const { raw } = JSON.parse(body) as { raw: string[] };
  assert.deepEqual(
    raw.filter((_text, i) => i % 2 === 1 && raw[i - 1]?.toLowerCase() === 'cookie'),
    ['a=1; b=2'],
  );
});
