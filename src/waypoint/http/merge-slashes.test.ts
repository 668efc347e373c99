/** Consecutive slashes in paths, through a waypoint that merges them and through one that keeps them. */
import assert from 'node:assert/strict';
import http2 from 'node:http2';
import { test, type TestContext } from 'node:test';
import { filter } from '../../../test/support/filters.js';
import { anyRequest, policy } from '../../../test/support/mesh.js';
import {
  ask,
  httpUpstream,
  route,
  startWaypoint,
  echoHandler,
  askEcho,
  type WaypointOptions,
} from '../../../test/support/waypoint.js';

async function start(
  t: TestContext,
  mergeSlashes: boolean | undefined,
  more: Partial<WaypointOptions> = {},
): Promise<number> {
  const { port } = await httpUpstream(t, echoHandler('api'));
  const set = mergeSlashes === undefined ? {} : { mergeSlashes };
  return (await startWaypoint(t, { backends: { api: [port] }, protocol: 'http1', ...set, ...more })).port;
}

/** The requested path, and the path at the endpoint: with merged slashes (the default), and with slashes kept. */
const table: readonly [string, string, string][] = [
  ['/a/b', '/a/b', '/a/b'],
  ['//a/b', '/a/b', '//a/b'],
  ['/a//b/?x=//y', '/a/b/?x=//y', '/a//b/?x=//y'],
  ['/a/..//%62', '/b', '//b'],
];

test('HTTP/1 and HTTP/2: the endpoint gets merged or kept slashes by the waypoint’s setting', async (t) => {
  for (const merge of [undefined, true, false]) {
    const port = await start(t, merge);
    const session = http2.connect(`http://127.0.0.1:${port}`);
    t.after(() => session.destroy());
    for (const [path, merged, kept] of table) {
      const expected = merge === false ? kept : merged;
      assert.equal((await askEcho(port, { path })).url, expected, path);
      const text = await new Promise<string>((resolve, reject) => {
        let body = '';
        const stream = session.request({ ':path': path, ':authority': 'api.shop' });
        stream.on('data', (bytes: Buffer) => (body += bytes.toString('latin1')));
        stream.on('end', () => resolve(body));
        stream.on('error', reject);
      });
      assert.equal((JSON.parse(text) as { url: string }).url, expected, `HTTP/2: ${path}`);
    }
  }
});

test('with slashes kept, a DENY also matches as if they were merged, an ALLOW has to match as they are', async (t) => {
  const of = (action: 'deny' | 'allow', value: string) =>
    policy('p', action, { http: { ...anyRequest, paths: [{ kind: 'exact', value }] } });
  const statuses = async (port: number): Promise<number[]> => {
    const all: number[] = [];
    for (const path of ['/a/b', '//a/b', '/a//b', '//c']) all.push((await ask(port, { path })).status);
    return all;
  };
  assert.deepEqual(
    await statuses(await start(t, false, { policies: [of('deny', '/a/b')] })),
    [403, 403, 403, 200],
  );
  assert.deepEqual(
    await statuses(await start(t, false, { policies: [of('allow', '/a/b')] })),
    [200, 403, 403, 403],
  );
  assert.deepEqual(
    await statuses(await start(t, true, { policies: [of('allow', '/a/b')] })),
    [200, 200, 200, 403],
  );
});

test('with slashes kept, routes match the path as it is, and a rewrite keeps the rest after its prefix', async (t) => {
  const routes = [
    route('r', [
      {
        matches: [{ path: { kind: 'prefix', value: '/v1' }, headers: [], query: [] }],
        filters: [filter('rewrite', { path: { kind: 'prefix', value: '/' } })],
      },
    ]),
  ];
  const kept = await start(t, false, { routes });
  assert.equal((await askEcho(kept, { path: '/v1/a//b' })).url, '/a//b');
  assert.equal((await askEcho(kept, { path: '/v1' })).url, '/');
  assert.equal((await ask(kept, { path: '//v1/a' })).status, 404);
  const merged = await start(t, true, { routes });
  assert.equal((await askEcho(merged, { path: '//v1/a//b' })).url, '/a/b');
});
