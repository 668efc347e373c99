import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, rmdirSync, rmSync, statSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { until } from '../../src/base/wait.js';
import { Channel, connectTo } from './channel.js';

/** An agent's succession in a process of its own. It prints a line per event and reads a line per command. */
interface Member {
  readonly process: ChildProcess;
  readonly lines: string[];
  said(what: string): boolean;
  send(what: string): void;
  end(signal?: NodeJS.Signals): Promise<void>;
}
const program = fileURLToPath(new URL('succession.child.js', import.meta.url));

/** Functions that end the running members. */
const living = new Set<() => Promise<void>>();

function home(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'weft-handover-'));
  t.after(async () => {
    // Ended first: a running member would create its directory again.
    await Promise.all([...living].map((end) => end()));
    rmSync(dir, { recursive: true, force: true });
  });
  return dir;
}
function member(t: TestContext, dir: string, name: string, ...flags: string[]): Member {
  const child = spawn(process.execPath, [program, dir, name, ...flags], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines: string[] = [];
  let text = '';
  child.stdout.on('data', (bytes: Buffer) => {
    const all = (text + bytes.toString()).split('\n');
    text = all.pop() ?? '';
    lines.push(...all);
  });
  const ended = once(child, 'exit');
  const kill = async (): Promise<void> => {
    child.kill('SIGKILL');
    await ended;
  };
  living.add(kill);
  child.once('exit', () => living.delete(kill));
  return {
    process: child,
    lines,
    said: (what) => lines.includes(what),
    send: (what) => void child.stdin.write(`${what}\n`),
    end: async (signal = 'SIGKILL') => {
      child.kill(signal);
      await ended;
    },
  };
}
const sees = (one: Member, what: string): Promise<unknown> =>
  until(`${what}: ${one.lines.join(', ')}`, 30_000, () => one.said(what));

test('the second agent takes over from the first with its inheritance, and the first drains', async (t) => {
  const dir = home(t);
  const a = member(t, dir, 'a');
  await sees(a, 'active alone');
  assert.equal(statSync(join(dir, 'handover')).mode & 0o777, 0o700);
  const b = member(t, dir, 'b');
  await sees(b, 'active after a');
  await sees(a, 'is former');
  assert.deepEqual(a.lines.slice(0, 4), ['starts', 'active alone', 'deactivates', 'is former']);
  assert.ok(existsSync(join(dir, 'a-marker')));
  // The former agent does not get the node back while its successor runs, and takes over when the successor is killed.
  await b.end();
  await sees(a, 'active alone again');
  await until('the marker is removed', 30_000, () => !existsSync(join(dir, 'a-marker')));
});

test('an agent that has handed over and restarts does not take the node back until the other agent ends', async (t) => {
  const dir = home(t);
  const a = member(t, dir, 'a');
  await sees(a, 'active alone');
  const b = member(t, dir, 'b');
  await sees(a, 'is former');
  await a.end();
  const again = member(t, dir, 'a');
  await sees(again, 'refused: the current agent stays');
  assert.ok(!b.said('deactivates'));
  b.send('end');
  await sees(again, 'active after b');
  await sees(b, 'is former');
});

test('a third agent waits and gets the node from the second', async (t) => {
  const dir = home(t);
  const a = member(t, dir, 'a');
  await sees(a, 'active alone');
  const [b, c] = [member(t, dir, 'b'), member(t, dir, 'c')];
  await until('both were active', 30_000, () =>
    [b, c].every(({ lines }) => lines.some((l) => l.startsWith('active'))),
  );
  const actives = [a, b, c].filter(({ lines }) => lines.at(-1)?.startsWith('active'));
  assert.equal(actives.length, 1);
});

test('a successor gets the node only once it has every certificate of the current agent', async (t) => {
  const dir = home(t);
  const a = member(t, dir, 'a', 'spiffe://one', 'spiffe://two');
  await sees(a, 'active alone');
  const b = member(t, dir, 'b', 'spiffe://one');
  await sees(b, 'refused: the successor has no certificate for spiffe://two');
  b.send('certificate spiffe://two');
  await sees(b, 'active after a');
});

test('a lock that cannot be opened ends no process: a starting agent waits, a former agent continues to drain', async (t) => {
  const dir = home(t);
  const next = join(dir, 'handover', 'next');
  mkdirSync(next, { recursive: true });
  const a = member(t, dir, 'a');
  const refused = ({ lines }: Member): boolean => lines.some((line) => line.startsWith('refused: the lock'));
  await until('the agent waits', 30_000, () => refused(a));
  assert.ok(!a.lines.some((line) => line.startsWith('active')));
  rmdirSync(next);
  await sees(a, 'active alone');
  const b = member(t, dir, 'b');
  await sees(a, 'is former');
  rmSync(next);
  mkdirSync(next);
  a.lines.length = 0;
  await until('the agent waits', 30_000, () => refused(a));
  assert.equal(a.process.exitCode, null);
  rmdirSync(next);
  await b.end();
  await sees(a, 'active alone again');
});

test('a directory that an uninstall has removed is created again', async (t) => {
  const dir = home(t);
  const a = member(t, dir, 'a');
  await sees(a, 'active alone');
  const b = member(t, dir, 'b', 'unheard');
  await until('the agent waits', 30_000, () => b.lines.some((line) => line.startsWith('refused')));
  rmSync(join(dir, 'handover'), { recursive: true });
  await a.end();
  await sees(b, 'active alone');
  assert.equal(statSync(join(dir, 'handover')).mode & 0o777, 0o700);
});

test('an agent that cannot open its socket is active all the same, and can be asked later', async (t) => {
  const dir = home(t);
  const socket = join(dir, 'handover', 'socket');
  mkdirSync(socket, { recursive: true });
  const a = member(t, dir, 'a');
  await sees(a, 'active alone');
  rmdirSync(socket);
  const b = member(t, dir, 'b');
  await sees(b, 'active after a');
});

test('a successor without the control plane gets the node from a connected agent only when that agent ends', async (t) => {
  const dir = home(t);
  const a = member(t, dir, 'a');
  await sees(a, 'active alone');
  const b = member(t, dir, 'b', 'unheard');
  await sees(b, 'refused: the successor is not connected to the control plane: its policies may be outdated');
  a.send('end');
  await sees(b, 'active after a');
});

test('messages that arrive while the event loop is blocked do not count as silence', async (t) => {
  const dir = home(t);
  const server = net.createServer();
  server.listen(join(dir, 'socket'));
  await once(server, 'listening');
  const [connected, client] = await Promise.all([once(server, 'connection'), connectTo(join(dir, 'socket'))]);
  const channel = new Channel<never, { readonly type: 'alive' }>((connected as [net.Socket])[0]);
  t.after(() => {
    client?.destroy();
    server.close();
  });
  const heard = channel.next(20);
  client?.write('{"type":"alive"}\n');
  for (const since = performance.now(); performance.now() - since < 100;);
  assert.deepEqual(await heard, { type: 'alive' });
  const next = channel.next(20);
  client?.destroy();
  await new Promise((resolve) => setImmediate(resolve));
  for (const since = performance.now(); performance.now() - since < 100;);
  assert.equal(await next, undefined);
  channel.close();
});

for (const step of ['after-yours', 'in-activate'] as const) {
  test(`a successor that is killed ${step}: the current agent continues with its inheritance, and pauses before it hands over again`, async (t) => {
    const dir = home(t);
    const a = member(t, dir, 'a');
    await sees(a, 'active alone');
    const b = member(t, dir, 'b', `die=${step}`);
    await sees(a, 'active after a again');
    assert.ok(a.said('limit handover-failed'));
    assert.ok(!a.said('is former'));
    await until(
      'the successor has ended',
      30_000,
      () => b.process.exitCode !== null || b.process.signalCode !== null,
    );
    const c = member(t, dir, 'c');
    await sees(c, 'refused: a successor failed recently: the current agent waits before it hands over again');
    // An agent that is about to end needs a successor more than a pause.
    a.send('end');
    await sees(c, 'active after a');
  });
}

test('a successor that hangs is killed, and the current agent continues', async (t) => {
  const dir = home(t);
  const a = member(t, dir, 'a', 'impatient');
  await sees(a, 'active alone');
  const b = member(t, dir, 'b', 'die=stops');
  const exited = once(b.process, 'exit');
  await sees(b, 'stops');
  b.process.kill('SIGSTOP');
  const [, signal] = (await exited) as [number | null, string | null];
  assert.equal(signal, 'SIGKILL');
  await sees(a, 'active after a again');
});

test('if the current agent is killed while it hands over, its successor becomes active', async (t) => {
  const dir = home(t);
  const a = member(t, dir, 'a', 'die=in-deactivate');
  await sees(a, 'active alone');
  const b = member(t, dir, 'b');
  await sees(b, 'active alone');
});

test('a new agent waits until an agent of a build without hand-over has ended', async (t) => {
  const dir = home(t);
  const b = member(t, dir, 'b', 'former-build');
  await sees(b, 'waits for a former build');
  assert.ok(!b.lines.some((line) => line.startsWith('active')));
  b.send('former-build-ended');
  await sees(b, 'active alone');
});
