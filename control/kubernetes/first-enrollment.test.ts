/** First enrollments against a stub API server that checks resource versions as the real one does. The client is the real one, over TLS. */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { pino } from 'pino';
import { sleep, until } from '../../src/base/wait.js';
import { parseTrustDomain } from '../../src/model/identity.js';
import { close, createApiServer, listen } from '../../test/support/api-server.js';
import { Compiler } from '../compile/compile.js';
import { objectKey } from '../objects/object-key.js';
import type { CompileSettings } from '../compile/settings.js';
import { isEnrolling } from '../compile/first-enrollment.js';
import type { Condition, MeshObject, NamespaceObject } from '../objects/objects.js';
import { pickFields } from '../kinds/kinds.js';
import { FirstEnrollment } from './first-enrollment.js';

interface Stored {
  metadata: { name: string; resourceVersion: string; labels: Record<string, string> };
  status: { conditions: Condition[] };
}
const strict = { 'weft.dev/mesh': 'enabled', 'weft.dev/mode': 'strict' };

/** A cluster's Namespaces, and replicas of the control plane. The test passes watch events to each replica. */
async function cluster(t: TestContext) {
  const stored = new Map<string, Stored>();
  let version = 1;
  const gate = { open: true, refuse: false, waiting: [] as (() => void)[] };
  const server = createApiServer((request, response) => {
    let text = '';
    request.on('data', (part: Buffer) => (text += part.toString()));
    request.on('end', () => {
      const answer = (): void => {
        const name = /namespaces\/([^/]+)\/status/.exec(request.url ?? '')?.[1] ?? '';
        const found = stored.get(name);
        const asked = JSON.parse(text) as Stored;
        const refuse = (status: number): void => void response.writeHead(status).end('{"message":"no"}');
        if (gate.refuse) return refuse(403);
        if (!found) return refuse(404);
        if (asked.metadata.resourceVersion !== found.metadata.resourceVersion) return refuse(409);
        found.status = asked.status;
        found.metadata = { ...found.metadata, resourceVersion: String(++version) };
        response.end(JSON.stringify(found));
      };
      if (gate.open) answer();
      else gate.waiting.push(answer);
    });
  });
  const config = await listen(server);
  t.after(() => close(server));
  const set = (name: string, labels: Record<string, string>): NamespaceObject => {
    const conditions = stored.get(name)?.status.conditions ?? [];
    stored.set(name, {
      metadata: { name, resourceVersion: String(++version), labels },
      status: { conditions },
    });
    return read(name);
  };
  const read = (name: string): NamespaceObject =>
    pickFields('Namespace', structuredClone(stored.get(name))) as NamespaceObject;
  const conditionOf = (name: string): Condition | undefined => stored.get(name)?.status.conditions[0];
  const replica = (
    leading: boolean,
    more: Partial<CompileSettings> = {},
    byDefault: 'available' | 'closed' = 'available',
  ) => {
    const compiler = new Compiler({ trustDomain: parseTrustDomain('test'), rootsVersion: '1', ...more });
    /** After each change: whether nodes receive strict mode. */
    const history: boolean[] = [];
    const take = (changed: ReadonlyMap<string, MeshObject | undefined>): void => {
      compiler.apply(changed);
      history.push([...compiler.all()].some(({ kind }) => kind === 'policy'));
    };
    const first = new FirstEnrollment({
      config,
      compiler,
      take,
      leading: () => leading,
      byDefault,
      log: pino({ level: 'silent' }),
    });
    t.after(() => first.stop());
    const hear = (...objects: readonly MeshObject[]): void =>
      take(first.admit(new Map(objects.map((one) => [objectKey(one), one]))));
    const held = (): string[] =>
      [...compiler.all()].filter(({ kind }) => kind === 'nodePod').map(() => 'pod');
    const enrolling = (name: string): boolean => isEnrolling(compiler.namespace(name));
    return { compiler, first, hear, held, history, enrolling };
  };
  return { set, read, conditionOf, replica, gate, stored };
}
const podOf = (captured?: string): MeshObject => ({
  kind: 'Pod',
  metadata: { name: 'web', namespace: 'shop', creationTimestamp: '2026-01-01T00:00:00Z' },
  spec: { nodeName: 'n1' },
  status: {
    phase: 'Running',
    podIPs: [{ ip: '10.0.0.1' }],
    conditions: captured ? [{ type: 'weft.dev/captured', status: captured }] : [],
  },
});

test('a namespace labeled before Weft is installed: its first enrollment is written before any node is served', async (t) => {
  const { set, replica, conditionOf } = await cluster(t);
  const a = replica(false);
  a.hear(set('shop', strict), podOf());
  await a.first.start();
  assert.equal(conditionOf('shop')?.reason, 'Enrolling');
  assert.ok(a.enrolling('shop'));
  assert.equal(a.history.at(-1), false);
});

test('two replicas start at once: one starts the first enrollment, the other reads it from the watch', async (t) => {
  const { set, read, replica, stored } = await cluster(t);
  const shop = set('shop', strict);
  const [a, b] = [replica(false), replica(false)];
  for (const one of [a, b]) one.hear(shop, podOf());
  const started = Promise.all([a.first.start(), b.first.start()]);
  await until('one has written', 30_000, () => stored.get('shop')?.status.conditions.length === 1);
  for (const one of [a, b]) one.hear(read('shop'));
  await started;
  assert.ok(a.enrolling('shop') && b.enrolling('shop'));
});

test('a namespace labeled later is not in the mesh until its first enrollment is written', async (t) => {
  const { set, replica, gate } = await cluster(t);
  const a = replica(false);
  a.hear(set('shop', {}), podOf());
  await a.first.start();
  gate.open = false;
  a.hear(set('shop', strict));
  await until('it is being written', 30_000, () => gate.waiting.length === 1);
  assert.deepEqual(a.held(), []);
  gate.waiting.splice(0).forEach((answer) => answer());
  await until('it is in the mesh', 30_000, () => a.held().length === 1);
  assert.ok(a.enrolling('shop'));
  assert.ok(!a.history.includes(true), 'strict mode was never in force before');
});

test('if the condition cannot be written, no first enrollment starts: the namespace is strict from the start and stays strict', async (t) => {
  const { set, read, replica, gate, stored } = await cluster(t);
  const a = replica(false);
  a.hear(set('shop', {}), podOf());
  await a.first.start();
  gate.refuse = true;
  a.hear(set('shop', strict));
  await until('it is in the mesh', 30_000, () => a.held().length === 1);
  assert.equal(a.history.at(-1), true);
  // A write that has reached the API server after all, or one of a replica with older state.
  const shop = stored.get('shop');
  assert.ok(shop);
  shop.status.conditions = [{ type: 'weft.dev/Enrolled', status: 'False', reason: 'Enrolling' }];
  a.hear(read('shop'));
  assert.equal(a.history.at(-1), true);
  assert.ok(!a.enrolling('shop'));
});

test('a label on a namespace that is already in the mesh does not open it, with or without the condition', async (t) => {
  const { set, replica, conditionOf } = await cluster(t);
  const a = replica(false, {}, 'closed');
  a.hear(set('shop', { 'weft.dev/mesh': 'enabled' }), podOf());
  await a.first.start();
  const b = replica(false);
  b.hear(set('shop', { 'weft.dev/mesh': 'enabled' }), podOf('True'));
  await b.first.start();
  b.hear(podOf('False'));
  for (const one of [a, b]) {
    one.hear(set('shop', strict));
    assert.equal(one.history.at(-1), true);
  }
  await sleep(200);
  assert.equal(conditionOf('shop'), undefined);
});

test('the leader reports the unreported pods and ends the first enrollment for good once all pods are reported', async (t) => {
  const { set, read, replica, conditionOf } = await cluster(t);
  const a = replica(true);
  a.hear(set('shop', strict), podOf());
  await a.first.start();
  await until(
    'the condition names the unreported pods',
    30_000,
    () => conditionOf('shop')?.message?.includes('1 on n1') === true,
  );
  a.hear(read('shop'), podOf('True'));
  await until('it is over', 30_000, () => {
    a.hear(read('shop'));
    return conditionOf('shop')?.status === 'True';
  });
  assert.equal(conditionOf('shop')?.reason, 'Enrolled');
  a.hear(read('shop'));
  assert.equal(a.history.at(-1), true);
  // Neither an unreported pod nor a new replica reverts it.
  a.hear(podOf('False'));
  const b = replica(false);
  b.hear(read('shop'), podOf('False'));
  await b.first.start();
  await sleep(1_500);
  assert.equal(conditionOf('shop')?.status, 'True');
  assert.ok(!a.enrolling('shop') && !b.enrolling('shop'));
  assert.equal(b.history.at(-1), true);
});

test('a restarted control plane does not resume an expired first enrollment whose end was never written', async (t) => {
  const { set, read, replica, stored } = await cluster(t);
  set('shop', strict);
  const shop = stored.get('shop');
  assert.ok(shop);
  const began = (agoMs: number): Condition => ({
    type: 'weft.dev/Enrolled',
    status: 'False',
    reason: 'Enrolling',
    lastTransitionTime: new Date(Date.now() - agoMs).toISOString(),
  });
  // Replicas have treated it as over by their own clocks and have sent strict mode to nodes, but the API server refused the write.
  for (const agoMs of [100_000, 86_400_000, -100_000]) {
    shop.status.conditions = [began(agoMs)];
    const a = replica(false);
    a.hear(read('shop'), podOf());
    await a.first.start();
    assert.ok(!a.enrolling('shop'), String(agoMs));
    assert.ok(!a.history.includes(false), String(agoMs));
  }
  shop.status.conditions = [began(20_000)];
  const b = replica(false);
  b.hear(read('shop'), podOf());
  await b.first.start();
  assert.ok(b.enrolling('shop'));
});

test('a namespace from before an upgrade, whose pods are captured, is never opened; its condition becomes True', async (t) => {
  const { set, replica, conditionOf } = await cluster(t);
  const a = replica(true);
  a.hear(set('shop', strict), podOf('True'));
  await a.first.start();
  await until('the condition is written', 30_000, () => conditionOf('shop')?.status === 'True');
  assert.ok(!a.history.includes(false));
});

test('closed by default: strict from the start; unlabeling the namespace or uninstalling Weft removes the condition', async (t) => {
  const { set, read, replica, conditionOf } = await cluster(t);
  const a = replica(true, {}, 'closed');
  a.hear(set('shop', strict), podOf());
  await a.first.start();
  assert.equal(a.history.at(-1), true);
  await until('the condition is written', 30_000, () => conditionOf('shop')?.status === 'True');
  a.hear(set('shop', {}));
  await until('the condition is removed', 30_000, () => conditionOf('shop') === undefined);
  a.hear(set('shop', strict));
  await until('the condition is written again', 30_000, () => conditionOf('shop')?.status === 'True');
  a.first.stop();
  const b = replica(true, { removal: 'open' });
  b.hear(read('shop'), podOf('True'));
  await b.first.start();
  await until('the condition is removed', 30_000, () => conditionOf('shop') === undefined);
});
