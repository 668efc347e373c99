import assert from 'node:assert/strict';
import type http from 'node:http';
import type { Duplex } from 'node:stream';
import { test } from 'node:test';
import {
  eventually,
  httpUpstream,
  RawClient,
  rawUpstream,
  startWaypoint,
} from '../../../test/support/waypoint.js';

const get = (path = '/', ...lines: string[]): string =>
  [`GET ${path} HTTP/1.1`, 'Host: api.shop', ...lines, '', ''].join('\r\n');
/** Status lines of the responses, in the order of arrival. */
const statuses = (text: string): number[] =>
  [...text.matchAll(/HTTP\/1\.1 (\d{3}) [^\r\n]*\r\n/g)].map((match) => Number(match[1]));

test('an upgraded connection relays bytes both ways, and each direction ends by itself', async (t) => {
  let asked = '';
  const port = await rawUpstream(t, (socket) => {
    let upgraded = false;
    socket.on('data', (bytes: Buffer) => {
      if (!upgraded) {
        asked = bytes.toString();
        upgraded = true;
        socket.write(
          'HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nX-Extra: 1\r\n\r\nhello',
        );
        return;
      }
      socket.write(bytes);
      if (bytes.includes('bye')) socket.end();
      else if (bytes.includes('last')) assert.fail('the client had ended');
    });
    socket.on('end', () => socket.end(':closed'));
  });
  const waypoint = await startWaypoint(t, { backends: { api: [port] } });
  const upgrade = get('/', 'Connection: Upgrade', 'Upgrade: websocket, other', 'Sec-WebSocket-Key: k');
  const client = await RawClient.open(waypoint.port);
  client.write(`${upgrade}early`);
  await client.until((text) => text.endsWith('helloearly') || text.endsWith('earlyhello'), 'the first bytes');
  assert.match(asked, /\r\nconnection: upgrade\r\nupgrade: websocket, other\r\n/i);
  assert.match(client.text, /^HTTP\/1\.1 101 .*\r\n[^]*x-extra: 1\r\n/);
  assert.equal(client.text.match(/upgrade: websocket\r\n/g)?.length, 1);
  assert.doesNotMatch(client.text, /other/);
  client.write('\0\x01binary');
  await client.until((text) => text.endsWith('\0\x01binary'));
  client.socket.end();
  assert.equal(await client.untilClosed(), 'end');
  assert.ok(client.text.endsWith(':closed'), 'bytes after the client’s end');
  await eventually(
    () => waypoint.context.exchanges.size === 0 && waypoint.clusters.connections === 0,
    'nothing is left open',
  );
  // The upstream ends first: later bytes of the client still reach it.
  const other = await RawClient.open(waypoint.port);
  other.write(upgrade);
  await other.until((text) => text.endsWith('hello'));
  other.write('bye');
  await other.untilClosed();
  other.socket.end('still');
  await eventually(
    () => waypoint.context.exchanges.size === 0 && waypoint.clusters.connections === 0,
    'nothing is left open',
  );
});

test('a refused upgrade is an ordinary response, and no upgrade leads to HTTP', async (t) => {
  const seen: http.IncomingHttpHeaders[] = [];
  const upstream = await httpUpstream(t, (request, response) => {
    seen.push(request.headers);
    response.end('no');
  });
  upstream.server.on('upgrade', (request: http.IncomingMessage, socket: Duplex) => {
    seen.push(request.headers);
    socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno');
  });
  const waypoint = await startWaypoint(t, { backends: { api: [upstream.port] } });
  const client = await RawClient.open(waypoint.port);
  client.write(get('/', 'Connection: Upgrade', 'Upgrade: websocket'));
  await client.until((text) => text.endsWith('no'));
  client.write(
    get('/', 'Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABkAAQAAP__'),
  );
  await client.until((text) => statuses(text).length === 2 && text.endsWith('\r\n\r\nno'));
  assert.deepEqual(statuses(client.text), [403, 200]);
  assert.equal(seen[0]?.upgrade, 'websocket');
  assert.equal(seen[1]?.upgrade, undefined);
  assert.equal(seen[1]?.['http2-settings'], undefined);
  client.socket.destroy();
});
