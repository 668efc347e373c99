/** The source against an API server that misbehaves; the client is the real one, over TLS. */
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

/** Namespaces alone are there; every other kind is empty. */
class FakeApi {
  mode: 'well' | 'errors' | 'silent' = 'well';
  version = 1;
  readonly namespaces = new Map<string, object>();
  readonly watches = new Set<ServerResponse>();
  readonly gatewayWatches: string[] = [];
  /** As where the roles of an older release are in force. */
  gatewayRights = true;
  watchesBegun = 0;
  /** Of all kinds: paths of the watches that came. */
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
      // As a server of which somebody installed the kinds of an older release, without TLSRoute.
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
        // As an API server answers where it has no such group and version at all.
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
      // What happened since, as the watch cache gives it.
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

async function setUp(
  silence?: WatchSilence,
  prepare: (api: FakeApi, watchErrors: readonly string[]) => void = () => undefined,
): Promise<{ api: FakeApi; known: Set<string>; changes: string[]; watchErrors: string[] }> {
  const api = new FakeApi();
  const watchErrors: string[] = [];
  api.add('first');
  prepare(api, watchErrors);
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
    onWatchError: (kind, why) => watchErrors.push(`${kind}: ${why}`),
    ...(silence === undefined ? {} : { silence }),
  });
  closers.push(() => {
    source.stop();
    close(api.server);
  });
  await source.start();
  assert.deepEqual([...known], ['first']);
  return { api, known, changes, watchErrors };
}

test('an API server that answers 500 takes nothing away, is not asked in a rush, and is heard again once it is well', async () => {
  const { api, known, changes, watchErrors } = await setUp();
  await until('it watches', 30_000, () => api.watches.size > 0);
  api.mode = 'errors';
  for (const watch of api.watches) watch.destroy();
  await until('it was told of', 30_000, () => watchErrors.some((text) => text.startsWith('Namespace')));
  await new Promise((resolve) => setTimeout(resolve, 2_000));
  assert.ok(api.refused <= 10 * 6, `${api.refused} requests in two seconds`);
  assert.deepEqual(changes, ['+Namespace default/first']);
  api.add('second');
  api.mode = 'well';
  await until('what came meanwhile is known', 30_000, () => known.has('second'));
  assert.deepEqual(changes, ['+Namespace default/first', '+Namespace default/second']);
});

test('a watch that goes silent is taken up anew where it was: what was missed is told, nothing is listed again', async () => {
  const { api, known, changes } = await setUp(silenceAfter(500));
  await until('it watches', 30_000, () => api.watches.size > 0);
  const begun = api.watchesBegun;
  api.mode = 'silent';
  api.add('missed');
  api.mode = 'well';
  await until('it is known', 30_000, () => known.has('missed'));
  assert.ok(api.watchesBegun > begun);
  assert.deepEqual(changes, ['+Namespace default/first', '+Namespace default/missed']);
});

test('an API server that takes watches and never answers them has one connection a kind at a time', async () => {
  const waiting = new Set<() => void>();
  const { api } = await setUp((onSilent) => {
    waiting.add(onSilent);
    return { refresh: () => undefined, stop: () => void waiting.delete(onSilent) };
  });
  const open = (): Promise<number> =>
    new Promise((resolve) => api.server.getConnections((_error, count) => resolve(count)));
  // Each round ends all watches as silent once the server has taken one of them up again, whatever time that takes.
  for (let round = 1; round <= 10; round++) {
    await until(`watch ${round} came`, 120_000, () => api.watchesBegun >= round);
    for (const onSilent of [...waiting]) onSilent();
  }
  await until(
    'all are watched',
    120_000,
    () => api.kindsWatched.size >= 10 && waiting.size >= api.kindsWatched.size,
  );
  // A watch that kept its connection would leave ten a kind.
  let count = 0;
  await until('those of earlier watches are gone', 120_000, async () => {
    count = await open();
    return count <= api.kindsWatched.size;
  }).catch(() => assert.fail(`${count} connections for ${api.kindsWatched.size} kinds`));
});

test('without the kinds of the Gateway API the mesh starts, and follows those that are there in the version that is', async () => {
  const { api, watchErrors } = await setUp();
  await until('they are watched', 30_000, () => api.gatewayWatches.length >= 2);
  assert.deepEqual(api.gatewayWatches.sort(), [
    '/apis/gateway.networking.k8s.io/v1/httproutes',
    '/apis/gateway.networking.k8s.io/v1alpha2/tcproutes',
  ]);
  assert.deepEqual(watchErrors, []);
});

test('kinds that may not be read hold the start up where the server has them, and only there', async () => {
  const kindsOf = (watchErrors: readonly string[]): string[] =>
    [...new Set(watchErrors.map((text) => text.split(':')[0] ?? ''))].sort();
  const { api, watchErrors } = await setUp(undefined, (prepared, said) => {
    prepared.gatewayRights = false;
    void until('each has been refused', 30_000, () => kindsOf(said).length >= 2).then(
      () => (prepared.gatewayRights = true),
    );
  });
  await until('they are watched', 30_000, () => api.gatewayWatches.length >= 2);
  assert.deepEqual(kindsOf(watchErrors), ['HTTPRoute', 'TCPRoute']);
});
