/** The source against a misbehaving API server. The client is the real one, over TLS. */
import assert from 'node:assert/strict';
import type { ServerResponse } from 'node:http';
import { after, test } from 'node:test';
import { until } from '../../src/base/wait.js';
import { close, createApiServer, listen } from '../../test/support/api-server.js';
import { KubernetesSource, silenceAfter, type WatchSilence } from './kubernetes.js';

const closers: (() => void)[] = [];
after(() => closers.forEach((close) => close()));

const namespace = (name: string, resourceVersion: number): object => ({
  kind: 'Namespace',
  metadata: { name, uid: name, resourceVersion: String(resourceVersion) },
});

/** An API server that has only Namespaces. All other kinds are empty. */
class FakeApi {
  mode: 'well' | 'errors' | 'silent' = 'well';
  version = 1;
  readonly namespaces = new Map<string, object>();
  readonly watches = new Set<ServerResponse>();
  readonly gatewayWatches: string[] = [];
  /** Kinds that are forbidden, as with the roles of an older release. */
  gatewayRights = true;
  watchesBegun = 0;
  /** Paths of the watches of all kinds that were requested. */
  readonly kindsWatched = new Set<string>();
  refused = 0;
  readonly server = createApiServer((request, response) => {
    const url = new URL(request.url ?? '', 'https://x');
    if (this.mode === 'errors') {
      this.refused++;
      response.writeHead(500, { 'content-type': 'application/json' });
      return void response.end('{"kind":"Status","message":"etcd is away"}');
    }
    if (url.pathname.startsWith('/apis/gateway.networking.k8s.io/')) {
      // As a server with the CRDs of an older release, without TLSRoute.
      const discovery = /\/(v1|v1alpha\d)$/.exec(url.pathname)?.[1];
      if (discovery === 'v1' || discovery === 'v1alpha2') {
        response.writeHead(200, { 'content-type': 'application/json' });
        const name = discovery === 'v1' ? 'httproutes' : 'tcproutes';
        return void response.end(JSON.stringify({ resources: [{ name }] }));
      }
      if (!this.gatewayRights && discovery === undefined) {
        response.writeHead(403, { 'content-type': 'application/json' });
        return void response.end('{"kind":"Status","message":"forbidden"}');
      }
      const served = ['v1/httproutes', 'v1alpha2/tcproutes'].some((path) => url.pathname.endsWith(path));
      if (!served) {
        // As an API server responds if it does not serve the group and version at all.
        response.writeHead(404, { 'content-type': 'text/plain' });
        return void response.end('404 page not found\n');
      }
      if (url.searchParams.get('watch') === 'true') this.gatewayWatches.push(url.pathname);
    }
    response.writeHead(200, { 'content-type': 'application/json' });
    const ours = url.pathname === '/api/v1/namespaces';
    if (url.searchParams.get('watch') === 'true') {
      this.kindsWatched.add(url.pathname);
      if (!ours) return;
      this.watchesBegun++;
      this.watches.add(response);
      response.on('close', () => this.watches.delete(response));
      const from = Number(url.searchParams.get('resourceVersion'));
      // Events since the requested version, as the watch cache sends them.
      for (const object of this.namespaces.values()) {
        const { resourceVersion } = (object as { metadata: { resourceVersion: string } }).metadata;
        if (Number(resourceVersion) > from) response.write(`${JSON.stringify({ type: 'ADDED', object })}\n`);
      }
      response.flushHeaders();
      return;
    }
    const items = ours ? [...this.namespaces.values()] : [];
    response.end(JSON.stringify({ metadata: { resourceVersion: String(this.version) }, items }));
  });

  add(name: string): void {
    const object = namespace(name, ++this.version);
    this.namespaces.set(name, object);
    if (this.mode !== 'well') return;
    for (const watch of this.watches) watch.write(`${JSON.stringify({ type: 'ADDED', object })}\n`);
  }
}

/** Watches are silent when the test says so. */
const silenceOn =
  (waiting: Set<() => void>): WatchSilence =>
  (onSilent) => {
    waiting.add(onSilent);
    return { refresh: () => undefined, stop: () => void waiting.delete(onSilent) };
  };

test('a watch is silent when no event has come for the time', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let silent = 0;
  silenceAfter(500)(() => silent++);
  t.mock.timers.tick(499);
  assert.equal(silent, 0);
  t.mock.timers.tick(1);
  assert.equal(silent, 1);
  silenceAfter(500)(() => silent++).stop();
  t.mock.timers.tick(1_000);
  assert.equal(silent, 1);
});

async function setUp(
  silence?: WatchSilence,
  prepare: (api: FakeApi, errors: readonly string[]) => void = () => undefined,
): Promise<{ api: FakeApi; known: Set<string>; changes: string[]; errors: string[] }> {
  const api = new FakeApi();
  const errors: string[] = [];
  api.add('first');
  prepare(api, errors);
  const config = await listen(api.server);
  const known = new Set<string>();
  const changes: string[] = [];
  const source = new KubernetesSource({
    config,
    onChanges: (changed) => {
      for (const [key, object] of changed) {
        changes.push(`${object ? '+' : '-'}${key}`);
        if (object) known.add(object.metadata.name);
        else known.delete(key.split('/')[1] ?? '');
      }
    },
    onRefused: () => undefined,
    onWatchError: (kind, why) => errors.push(`${kind}: ${why}`),
    ...(silence === undefined ? {} : { silence }),
  });
  closers.push(() => {
    source.stop();
    close(api.server);
  });
  await source.start();
  assert.deepEqual([...known], ['first']);
  return { api, known, changes, errors };
}

test('while the API server responds with 500 the state stays, requests back off, and updates resume afterwards', async () => {
  const { api, known, changes, errors } = await setUp();
  await until('it watches', 30_000, () => api.watches.size > 0);
  api.mode = 'errors';
  for (const watch of api.watches) watch.destroy();
  await until('the error is reported', 30_000, () => errors.some((error) => error.startsWith('Namespace')));
  await new Promise((resolve) => setTimeout(resolve, 2_000));
  assert.ok(api.refused <= 10 * 6, `${api.refused} requests in two seconds`);
  assert.deepEqual(changes, ['+Namespace default/first']);
  api.add('second');
  api.mode = 'well';
  await until('what came meanwhile is known', 30_000, () => known.has('second'));
  assert.deepEqual(changes, ['+Namespace default/first', '+Namespace default/second']);
});

test('a silent watch resumes at its last version: missed changes arrive without a new list', async () => {
  const waiting = new Set<() => void>();
  const { api, known, changes } = await setUp(silenceOn(waiting));
  await until('it watches', 30_000, () => api.watches.size > 0);
  const begun = api.watchesBegun;
  api.mode = 'silent';
  api.add('missed');
  api.mode = 'well';
  for (const onSilent of [...waiting]) onSilent();
  await until('it is known', 30_000, () => known.has('missed'));
  assert.ok(api.watchesBegun > begun);
  assert.deepEqual(changes, ['+Namespace default/first', '+Namespace default/missed']);
});

test('an API server that accepts watches but never responds has at most one connection per kind', async () => {
  const waiting = new Set<() => void>();
  const { api } = await setUp(silenceOn(waiting));
  const open = (): Promise<number> =>
    new Promise((resolve) => api.server.getConnections((_error, count) => resolve(count)));
  // Each round ends all watches as silent once the server has accepted one of them again, however long that takes.
  for (let round = 1; round <= 10; round++) {
    await until(`watch ${round} came`, 120_000, () => api.watchesBegun >= round);
    for (const onSilent of [...waiting]) onSilent();
  }
  await until(
    'all are watched',
    120_000,
    () => api.kindsWatched.size >= 10 && waiting.size >= api.kindsWatched.size,
  );
  // If watches kept their connections, there would be ten per kind.
  let count = 0;
  await until('those of earlier watches are gone', 120_000, async () => {
    count = await open();
    return count <= api.kindsWatched.size;
  }).catch(() => assert.fail(`${count} connections for ${api.kindsWatched.size} kinds`));
});

test('the mesh starts without the kinds of the Gateway API, and watches those that exist in the served version', async () => {
  const { api, errors } = await setUp();
  await until('they are watched', 30_000, () => api.gatewayWatches.length >= 2);
  assert.deepEqual(api.gatewayWatches.sort(), [
    '/apis/gateway.networking.k8s.io/v1/httproutes',
    '/apis/gateway.networking.k8s.io/v1alpha2/tcproutes',
  ]);
  assert.deepEqual(errors, []);
});

test('a kind that may not be read blocks the start only if the server serves it', async () => {
  const kindsOf = (errors: readonly string[]): string[] =>
    [...new Set(errors.map((error) => error.split(':')[0] ?? ''))].sort();
  const { api, errors } = await setUp(undefined, (prepared, errors) => {
    prepared.gatewayRights = false;
    void until('each has been refused', 30_000, () => kindsOf(errors).length >= 2).then(
      () => (prepared.gatewayRights = true),
    );
  });
  await until('they are watched', 30_000, () => api.gatewayWatches.length >= 2);
  assert.deepEqual(kindsOf(errors), ['HTTPRoute', 'TCPRoute']);
});
