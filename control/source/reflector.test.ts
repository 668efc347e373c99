import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { isOlder, Reflector, type KindApi, type Page, type WatchPhase } from './reflector.js';

interface Thing {
  readonly name: string;
}
const thing = (name: string, resourceVersion = '1'): object => ({
  metadata: { uid: name, name, resourceVersion },
});

/** An API server whose responses the test provides one by one. */
class Server implements KindApi {
  readonly lists: ((answer: Page | Error) => void)[] = [];
  readonly listed: (string | undefined)[] = [];
  readonly watches: {
    readonly from: string;
    readonly event: (phase: WatchPhase, object: unknown) => void;
    readonly end: (error?: Error) => void;
  }[] = [];
  list(_limit: number, from: string | undefined): Promise<Page> {
    this.listed.push(from);
    return new Promise((resolve, reject) =>
      this.lists.push((answer) => (answer instanceof Error ? reject(answer) : resolve(answer))),
    );
  }
  watch(
    from: string,
    _seconds: number,
    event: (phase: WatchPhase, object: unknown) => void,
    stop: AbortSignal,
  ): Promise<void> {
    return new Promise((resolve, reject) => {
      stop.addEventListener('abort', () => resolve());
      this.watches.push({ from, event, end: (error) => (error ? reject(error) : resolve()) });
    });
  }
}
const page = (items: object[], next?: string): Page => ({ items, resourceVersion: '10', next });

const absent = new Error('the server could not find the requested resource');

function setUp(): {
  server: Server;
  reflector: Reflector<Thing>;
  names: () => string[];
  errors: string[];
  changes: string[];
} {
  const server = new Server();
  const errors: string[] = [];
  const changes: string[] = [];
  const reflector = new Reflector<Thing>({
    kind: 'Thing',
    api: server,
    pickFields: (object) => {
      const { name } = (object as { metadata: Thing }).metadata;
      return name.startsWith('x') ? undefined : { name };
    },
    onObject: (now, before) => changes.push(`${now ? '+' : '-'}${(now ?? before)?.name}`),
    onSynced: () => undefined,
    onWatchError: (_kind, why) => errors.push(why),
    isAbsent: (error) => error === absent,
    sleep: () => Promise.resolve(),
  });
  void reflector.run();
  return {
    server,
    reflector,
    names: () => [...reflector.objects()].map(({ name }) => name).sort(),
    errors,
    changes,
  };
}
const settle = async (): Promise<void> => {
  for (let i = 0; i < 10; i++) await turn();
};

test('lists page by page, then follows what is added, changed and deleted', async () => {
  const { server, reflector, names } = setUp();
  server.lists[0]?.(page([thing('a'), thing('x')], 'more'));
  await settle();
  assert.equal(reflector.synced, false, 'half a list is not complete');
  assert.deepEqual(names(), []);
  server.lists[1]?.(page([thing('b')]));
  await settle();
  assert.deepEqual(server.listed, [undefined, 'more']);
  assert.equal(reflector.synced, true);
  assert.deepEqual(names(), ['a', 'b']);
  const [watch] = server.watches;
  assert.equal(watch?.from, '10');
  watch.event('ADDED', thing('c', '11'));
  watch.event('DELETED', thing('a', '12'));
  watch.event('ADDED', thing('x2', '13'));
  assert.deepEqual(names(), ['b', 'c']);
  reflector.stop();
});

test('a watch that ends resumes at its last version, bookmarks included', async () => {
  const { server, reflector, names } = setUp();
  server.lists[0]?.(page([thing('a')]));
  await settle();
  server.watches[0]?.event('BOOKMARK', { metadata: { resourceVersion: '40' } });
  server.watches[0]?.end();
  await settle();
  assert.equal(server.watches[1]?.from, '40');
  assert.equal(server.listed.length, 1);
  assert.deepEqual(names(), ['a']);
  reflector.stop();
});

test('after expired history (410) the state stays until the new list is complete', async () => {
  const { server, reflector, names, errors, changes } = setUp();
  server.lists[0]?.(page([thing('a'), thing('b')]));
  await settle();
  server.watches[0]?.event('ERROR', { code: 410, message: 'too old resource version' });
  server.watches[0]?.end();
  await settle();
  assert.deepEqual(names(), ['a', 'b']);
  server.lists[1]?.(page([thing('b')]));
  await settle();
  assert.deepEqual(names(), ['b'], 'objects deleted meanwhile are removed');
  assert.deepEqual(changes, ['+a', '+b', '-a'], 'an unchanged object is not reported again');
  assert.deepEqual(errors, []);
  reflector.stop();
});

test('after errors of the API server requests are repeated, and the state is kept', async () => {
  const { server, reflector, names, errors } = setUp();
  server.lists[0]?.(new Error('500'));
  await settle();
  assert.equal(reflector.synced, false);
  server.lists[1]?.(page([thing('a')]));
  await settle();
  server.watches[0]?.end(new Error('connection reset'));
  await settle();
  assert.deepEqual(names(), ['a']);
  assert.equal(server.watches[1]?.from, '10', 'the watch resumes at its last version');
  assert.deepEqual(errors, ['500', 'connection reset']);
  reflector.stop();
});

test('a watch that fails resumes at its last version, not at its first one', async () => {
  const { server, reflector, changes } = setUp();
  server.lists[0]?.(page([thing('p', '9')]));
  await settle();
  server.watches[0]?.event('DELETED', thing('p', '20'));
  server.watches[0]?.event('ADDED', thing('q', '21'));
  server.watches[0]?.end(new Error('connection reset'));
  await settle();
  assert.equal(server.watches[1]?.from, '21');
  // An error event other than 410 keeps the resource version as well.
  server.watches[1].event('ERROR', { code: 500, message: 'etcd is slow' });
  server.watches[1].end();
  await settle();
  assert.equal(server.watches[2]?.from, '21');
  assert.equal(server.listed.length, 1);
  assert.deepEqual(changes, ['+p', '-p', '+q']);
  reflector.stop();
});

test('a watch that fails repeatedly at one version is replaced by a list', async () => {
  const { server, reflector } = setUp();
  server.lists[0]?.(page([thing('a')]));
  for (let i = 0; i < 3; i++) {
    await settle();
    server.watches[i]?.end(new Error('no'));
  }
  await settle();
  assert.equal(server.watches.length, 3);
  assert.equal(server.listed.length, 2);
  reflector.stop();
});

test('a list or an event with an older version than one seen before changes nothing, and is reported', async () => {
  const { server, reflector, names, errors } = setUp();
  server.lists[0]?.({ items: [thing('old', '5')], resourceVersion: '50', next: undefined });
  await settle();
  server.watches[0]?.event('DELETED', thing('old', '60'));
  server.watches[0]?.event('ADDED', thing('policy', '61'));
  server.watches[0]?.event('ADDED', thing('old', '5'));
  assert.deepEqual(names(), ['policy']);
  server.watches[0]?.event('ERROR', { code: 410 });
  server.watches[0]?.end();
  await settle();
  // The server lags behind, or was restored from a backup.
  server.lists[1]?.({ items: [thing('old', '5')], resourceVersion: '55', next: undefined });
  await settle();
  assert.deepEqual(names(), ['policy']);
  assert.match(errors.join(), /version 55, older than 61 seen before/);
  server.lists[2]?.({ items: [thing('policy', '61')], resourceVersion: '70', next: undefined });
  await settle();
  assert.deepEqual(names(), ['policy']);
  assert.equal(server.watches[1]?.from, '70');
  reflector.stop();
});

test('silence of the API server is measured from its last list or event', async () => {
  const { server, reflector } = setUp();
  server.lists[0]?.(page([thing('a')]));
  await settle();
  const before = performance.now();
  assert.ok(reflector.silentMs(before + 60_000) >= 60_000);
  server.watches[0]?.event('BOOKMARK', { metadata: { resourceVersion: '40' } });
  assert.ok(reflector.silentMs(performance.now()) < 10_000);
  assert.ok(reflector.silentMs(before + 60_000) <= 60_000);
  reflector.stop();
});

test('versions are compared as numbers, and a version that is not a number is never older', () => {
  assert.ok(isOlder('9', '10'));
  assert.ok(!isOlder('10', '9'));
  assert.ok(!isOlder('10', '10'));
  assert.ok(isOlder('99999999999999999998', '99999999999999999999'));
  for (const [a, b] of [
    ['x', '10'],
    ['9', 'x'],
    ['', '1'],
  ] as const)
    assert.ok(!isOlder(a, b));
  assert.ok(!isOlder('1', undefined));
});

test('a reflector that is stopped during a list begins no watch', async () => {
  const { server, reflector } = setUp();
  reflector.stop();
  server.lists[0]?.(page([thing('a')]));
  await settle();
  assert.equal(server.watches.length, 0);
});

test('an object that no longer concerns the mesh is removed', async () => {
  const { server, reflector, names } = setUp();
  server.lists[0]?.(page([thing('a')]));
  await settle();
  server.watches[0]?.event('MODIFIED', { metadata: { uid: 'a', name: 'x-now', resourceVersion: '11' } });
  assert.deepEqual(names(), []);
  reflector.stop();
});

test('a kind that the server does not serve is empty without an error, and is read once it is installed', async () => {
  const { server, reflector, names, errors } = setUp();
  assert.ok(!reflector.synced);
  server.lists[0]?.(absent);
  await settle();
  assert.ok(reflector.synced);
  server.lists[1]?.(page([thing('a')]));
  await settle();
  assert.deepEqual(names(), ['a']);
  assert.deepEqual(errors, []);
  reflector.stop();
});

test('objects of a kind are removed only after the server reported its absence twice', async () => {
  const { server, reflector, names, changes } = setUp();
  server.lists[0]?.(page([thing('a')]));
  await settle();
  server.watches[0]?.event('ERROR', { code: 410 });
  server.watches[0]?.end();
  await settle();
  server.lists[1]?.(absent);
  await settle();
  assert.deepEqual(names(), ['a']);
  server.lists[2]?.(absent);
  await settle();
  assert.deepEqual(names(), []);
  assert.deepEqual(changes, ['+a', '-a']);
  reflector.stop();
});
