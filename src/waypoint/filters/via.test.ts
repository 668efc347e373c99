import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { filter } from '../../../test/support/filters.js';
import { anyRequest, id, policy } from '../../../test/support/mesh.js';
import {
  ask,
  askEcho,
  converse,
  echoHandler,
  http2Upstream,
  httpUpstream,
  route,
  startWaypoint,
  type TestWaypoint,
  type WaypointOptions,
} from '../../../test/support/waypoint.js';
import { listsPseudonym } from './via.js';

async function start(t: TestContext, more: Partial<WaypointOptions> = {}): Promise<TestWaypoint> {
  const upstream = await httpUpstream(t, echoHandler('api'));
  const filters = [filter('via', { pseudonym: 'api.shop' })];
  return startWaypoint(t, {
    backends: { api: [upstream.port] },
    routes: [route('r', [{ filters }])],
    ...more,
  });
}

test('Via has one element for each hop, with the version in which the message was received', async (t) => {
  const { port } = await start(t);
  assert.equal((await askEcho(port)).headers.via, '1.1 api.shop');
  const { headers } = await askEcho(port, { headers: { via: '1.0 edge (a, b)' } });
  assert.equal(headers.via, '1.0 edge (a, b), 1.1 api.shop');
  assert.equal((await ask(port)).headers.via, '1.1 api.shop');
  const old = await converse(t, port, 'GET / HTTP/1.0\r\nhost: a\r\n\r\n');
  assert.match(old, /"via":"1\.0 api\.shop"/);

  const two = await http2Upstream(t, (stream) =>
    stream.respond({ ':status': 200, via: '1.1 inner' }, { endStream: true }),
  );
  const toTwo = await start(t, { backends: { api: [two.port] }, protocol: 'http2' });
  assert.equal((await ask(toTwo.port)).headers.via, '1.1 inner, 2.0 api.shop');
});

test('the waypoint’s own responses have no Via, and without the filter nothing is added', async (t) => {
  const refusing = await start(t, { backends: { api: [] } });
  const { status, headers } = await ask(refusing.port);
  assert.deepEqual([status, headers.via], [503, undefined]);
  const transparent = await start(t, { routes: [] });
  assert.equal((await askEcho(transparent.port)).headers.via, undefined);
  const passed = await askEcho(transparent.port, { method: 'OPTIONS', headers: { 'max-forwards': '0' } });
  assert.equal(passed.headers['max-forwards'], '0');
});

test('a request that has passed by the same name is refused', async (t) => {
  const { port, records } = await start(t);
  assert.equal((await ask(port, { headers: { via: '1.1 edge, 2.0 API.shop (x)' } })).status, 508);
  assert.deepEqual([records[0]?.code, records[0]?.flag], ['WEFT_LOOP_DETECTED', 'LR']);
  assert.equal((await ask(port, { headers: { via: '1.1 other.shop, 1.1 x (1.1 api.shop)' } })).status, 200);
});

test('names in a Via list: comments, quoted characters and missing parts are no names', () => {
  for (const list of [
    '1.1 a',
    'HTTP/1.1 a',
    '1.1 x,1.1\ta',
    '1.1 b (c, (d)), 1.1 A',
    '1.1 (c) a',
    ' , 1.1 a',
  ])
    assert.ok(listsPseudonym(list, 'a'), list);
  for (const list of [
    '',
    'a',
    '1.1',
    '1.1 b (1.1 a)',
    '1.1 b (\\), 1.1 a',
    '1.1 b (x, 1.1 a',
    '1.1 a:80',
    ')',
    '1.1 b a',
  ])
    assert.ok(!listsPseudonym(list, 'a'), list);
  const long = '1.1 b ('.repeat(8_000);
  assert.ok(!listsPseudonym(long, 'a'));
});

test('Max-Forwards: the waypoint responds to 0, larger values are decremented, for OPTIONS and TRACE', async (t) => {
  const { port, records } = await start(t);
  const forwarded = async (value: string, method = 'OPTIONS') =>
    (await askEcho(port, { method, headers: { 'max-forwards': value } })).headers['max-forwards'];
  assert.equal(await forwarded('1'), '0');
  assert.equal(await forwarded('2', 'TRACE'), '1');
  assert.equal(await forwarded('9'.repeat(400)), '255');
  assert.equal(await forwarded('0', 'GET'), '0', 'other methods are not limited');
  const own = async (method: string, value: string) => {
    const { status, headers, body } = await ask(port, {
      method,
      headers: { 'max-forwards': value, cookie: 'a=b' },
    });
    assert.equal(body, '');
    return [status, headers.allow];
  };
  assert.deepEqual(await own('OPTIONS', '0'), [200, 'OPTIONS']);
  assert.deepEqual(await own('TRACE', '000'), [405, 'OPTIONS']);
  for (const value of ['', '-1', '1.0', 'x', '1, 2']) {
    assert.deepEqual(await own('OPTIONS', value), [400, undefined], value);
    assert.equal(records.at(-1)?.code, 'WEFT_MAX_FORWARDS_INVALID');
  }
});

test('policies match the Via that the client sent', async (t) => {
  const has = (value: string) =>
    policy('p', 'deny', {
      http: { ...anyRequest, headers: [{ name: 'via', values: [{ kind: 'exact', value }], negated: false }] },
    });
  const { port } = await start(t, { identity: id('web'), policies: [has('1.1 edge')] });
  assert.equal((await ask(port, { headers: { via: '1.1 edge' } })).status, 403);
  assert.equal((await ask(port)).status, 200);
});
