/** What `weft tap` shows as it happens: the kernel path, connections between nodes, refused ones, and requests at a waypoint. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import http from 'node:http';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { projectRoot } from '../../native/index.js';
import { until } from '../../src/base/wait.js';
import { run, sh } from '../../src/cli/run.js';
import { tapEvents } from '../../src/cli/tap/tap-events.js';
import type { TapEvent } from '../../src/model/mesh-snapshot.js';
import type { TapFilter, TapLine } from '../../src/model/tap.js';
import { DemoMesh } from '../support/demo-mesh.js';
import { startObserved, statusOf } from '../support/observed-mesh.js';

const mesh = new DemoMesh('tap');
const weft = join(projectRoot, 'dist', 'src', 'cli', 'weft.js');
const seenMs = 30_000;

interface Open {
  readonly lines: readonly TapLine[];
  readonly events: () => readonly TapEvent[];
  close(): Promise<void>;
}

/** A tap that has begun: its first line says so. */
async function tap(filter: TapFilter, sampleOf = 1): Promise<Open> {
  const lines: TapLine[] = [];
  const end = new AbortController();
  const reading = (async () => {
    for await (const line of tapEvents(
      { state: mesh.state, kubernetes: false },
      { filter, sampleOf },
      end.signal,
    ))
      lines.push(line);
  })();
  await until('the tap has begun', seenMs, () => lines.some((line) => 'programs' in line));
  return {
    lines,
    events: () => lines.flatMap((line) => ('event' in line ? [line.event] : [])),
    close: async () => {
      end.abort();
      await reading;
    },
  };
}

/** What a tap with this filter shows, while `act` is repeated. */
async function seen(
  filter: TapFilter,
  act: () => Promise<unknown>,
  holds: (event: TapEvent) => boolean = () => true,
): Promise<TapEvent> {
  const open = await tap(filter);
  try {
    let found: TapEvent | undefined;
    await until(`an event of ${JSON.stringify(filter)}`, 60_000, async () => {
      await act();
      found = open.events().find(holds);
      return found !== undefined;
    });
    return found as TapEvent;
  } finally {
    await open.close();
  }
}

const spiffe = (account: string): string => `spiffe://cluster.local/ns/shop/sa/${account}`;

before(async () => {
  await startObserved(mesh, { workers: 2, flags: ['--access-log-mode', 'all'] });
  for (const url of ['http://10.96.0.10/', 'http://10.244.1.12:6379/', 'http://10.96.0.21/'])
    await until(`${url} responds`, 30_000, async () => (await statusOf('web', url)) === '200');
});
after(() => mesh.remove());

test('a connection on the kernel path is shown, with identities and bytes', async () => {
  const event = await seen({ ways: ['kernel'] }, () => statusOf('web', 'http://10.244.1.12:6379/'));
  assert.deepEqual(
    [event.kind, event.outcome, event.source.identity, event.destination.identity, event.reporter],
    ['connection', 'allowed', spiffe('web'), spiffe('cache'), 'node-a'],
  );
  assert.deepEqual([event.source.workload, event.destination.workload], ['web', 'cache']);
  assert.equal(event.destination.port, 6379);
  assert.ok((event.bytesReceived ?? 0) > (event.bytesSent ?? 0));
});

test('a refused connection is shown with the policy and the reason', async () => {
  const event = await seen(
    { outcomes: ['refused'], policies: ['shop/only-web'] },
    () => statusOf('intruder', 'http://10.96.0.10/'),
    ({ seenBy }) => seenBy === 'destination',
  );
  assert.deepEqual(
    [event.path, event.policy, event.code, event.source.identity],
    ['refused', 'shop/only-web', 'WEFT_DENIED', spiffe('intruder')],
  );
  assert.ok(event.why !== undefined && event.why !== '');
});

test('a request at a waypoint is shown without its query and headers, and weft explain finds it by its id', async () => {
  const event = await seen({ kinds: ['request'], requestPaths: ['/orders/*'], statuses: ['2xx'] }, () =>
    statusOf('web', 'http://10.96.0.21/orders/7?token=secret', ['authorization: Bearer secret']),
  );
  assert.deepEqual(
    [event.request?.method, event.request?.path, event.request?.status, event.path, event.reporter],
    ['GET', '/orders/7', 200, 'waypoint', 'shop/waypoint'],
  );
  assert.deepEqual([event.source.workload, event.destination.workload], ['web', 'echo']);
  assert.doesNotMatch(JSON.stringify(event), /secret/);
  await until('the access log has the request', seenMs, () => {
    try {
      // What would happen now is known, too (exit code 0), though the Service has several ports.
      return /^RESPONSE 200 {2}GET [^]*^now: GET \/orders\/7\S* ALLOWED/m.test(
        sh(process.execPath, [weft, 'explain', event.id, '--state', mesh.state]),
      );
    } catch {
      return false;
    }
  });
});

test('a connection to a waypoint is shown as it was dialed, and its line in the log has the waypoint', async () => {
  const event = await seen(
    { kinds: ['connection'], ways: ['waypoint'] },
    () => statusOf('web', 'http://10.96.0.21/'),
    ({ seenBy }) => seenBy === 'source',
  );
  assert.deepEqual(
    [event.destination.service, event.destination.port, event.destination.workload, event.source.workload],
    ['echo-v1.shop.svc.cluster.local', 80, '', 'web'],
  );
  const text = await until('its line is in the log', seenMs, () => {
    try {
      return sh(process.execPath, [weft, 'explain', event.id, '--state', mesh.state]);
    } catch {
      return undefined;
    }
  });
  assert.match(
    text,
    /^ {2}to +10\.96\.0\.21:80 {2}by Service echo-v1\.shop\.svc\.cluster\.local {2}through the waypoint at \S+:15008$/m,
  );
});

test('only what the filter wants is shown, and of a sample only some', async () => {
  const others = await tap({ requestPaths: ['/none'] });
  const some = await tap({ kinds: ['request'], requestPaths: ['/many'] }, 4);
  const all = await tap({ kinds: ['request'], requestPaths: ['/many'] });
  const args = ['-sS', '-m', '20', '--noproxy', '*', '-o', '/dev/null', 'http://10.96.0.21/many?[1-200]'];
  await run('weft-web', 'curl', args, 30_000);
  await until('every request is shown', seenMs, () => all.events().length === 200);
  await until('some requests are shown', seenMs, () => some.events().length > 0);
  assert.ok(some.events().length < 200);
  assert.deepEqual(others.events(), []);
  await Promise.all([others, some, all].map((one) => one.close()));
});

test('a slow reader is told how many events it has lost, and traffic goes on', async () => {
  const lines: string[] = [];
  const socketPath = join(mesh.state, 'control', 'admin.sock');
  const response = await new Promise<http.IncomingMessage>((resolve, reject) => {
    http.get({ socketPath, path: '/taps?kind=request&requestPath=/slow*' }, resolve).on('error', reject);
  });
  response.setEncoding('utf8');
  let rest = '';
  response.on('data', (part: string) => {
    const parts = (rest + part).split('\n');
    rest = parts.pop() ?? '';
    lines.push(...parts);
  });
  await until('the tap has begun', seenMs, () => lines.length > 0);
  response.pause();
  let sent = 0;
  // More than the socket, the response and the control plane hold for one reader.
  const long = `/slow${'x'.repeat(1_000)}`;
  const args = ['-sS', '-m', '60', '--noproxy', '*', '-o', '/dev/null', '-Z', '--parallel-max', '8'];
  for (let round = 0; round < 8; round++) {
    const done = await run('weft-web', 'curl', [...args, `http://10.96.0.21${long}?[1-1000]`], 90_000);
    assert.equal(done.code, 0, done.stderr);
    sent += 1_000;
  }
  response.resume();
  const countOf = (name: string): number =>
    lines.reduce((sum, line) => {
      const value = (JSON.parse(line) as Record<string, unknown>)[name];
      return sum + (name === 'event' ? (value ? 1 : 0) : typeof value === 'number' ? value : 0);
    }, 0);
  await until(
    'every event was shown or is counted as lost',
    seenMs,
    () => countOf('event') + countOf('lost') === sent,
  );
  assert.ok(countOf('lost') > 0);
  response.destroy();
});

test('weft tap prints what happens, with its policy, and ends after --limit', async () => {
  const child = spawn(
    process.execPath,
    [weft, 'tap', '--state', mesh.state, '-n', 'shop', '--outcome', 'refused', '--limit', '1'],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  let out = '';
  let code: number | null | undefined;
  child.stdout.setEncoding('utf8').on('data', (part: string) => (out += part));
  child.on('exit', (exit) => (code = exit));
  await until('weft tap has ended', 60_000, async () => {
    await statusOf('intruder', 'http://10.96.0.10/');
    return code !== undefined;
  });
  assert.equal(code, 0);
  assert.match(out, /^\d\d:\d\d:\d\d\.\d{3} REFUSED shop\/intruder -> .*refused {2}connection {2}/);
  assert.equal(out.trim().split('\n').length, 1);
});

test('another user than the owner of the state directory cannot tap', () => {
  const args = ['-u', 'nobody', '--', process.execPath, weft, 'tap', '--state', mesh.state, '--limit', '1'];
  assert.throws(() => sh('runuser', args), /WEFT_ADMIN|EACCES|permission|there is no/i);
  const curl = [
    '-u',
    'nobody',
    '--',
    'curl',
    '-sS',
    '--unix-socket',
    join(mesh.state, 'control', 'admin.sock'),
  ];
  assert.throws(() => sh('runuser', [...curl, 'http://x/taps']));
});
