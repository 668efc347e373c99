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

/** An agent as far as its succession goes, in a process of its own: what it does is a line, what it is told is a line. */
interface Member {
  readonly process: ChildProcess;
  readonly lines: string[];
  said(what: string): boolean;
  send(what: string): void;
  end(signal?: NodeJS.Signals): Promise<void>;
}
const program = fileURLToPath(new URL('succession.child.js', import.meta.url));

/** Ends of the members that run. */
const living = new Set<() => Promise<void>>();

function home(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'weft-handover-'));
  t.after(async () => {
    // First: one that lives makes its directory anew.
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

test('one after the other: the first writes, the second takes over what it inherits, the first drains', async (t) => {
  const dir = home(t);
  const a = member(t, dir, 'a');
  await sees(a, 'writes alone');
  assert.equal(statSync(join(dir, 'handover')).mode & 0o777, 0o700);
  const b = member(t, dir, 'b');
  await sees(b, 'writes after a');
  await sees(a, 'is former');
  assert.deepEqual(a.lines.slice(0, 4), ['starts', 'writes alone', 'cedes', 'is former']);
  assert.ok(existsSync(join(dir, 'a-marker')));
  // The former is not asked back while its successor lives, and takes over where that is killed.
  await b.end();
  await sees(a, 'writes alone again');
  await until('its mark is gone', 5_000, () => !existsSync(join(dir, 'a-marker')));
});

test('one that has handed over and starts anew does not take the node back; it gets it when the other ends', async (t) => {
  const dir = home(t);
  const a = member(t, dir, 'a');
  await sees(a, 'writes alone');
  const b = member(t, dir, 'b');
  await sees(a, 'is former');
  await a.end();
  const again = member(t, dir, 'a');
  await sees(again, 'refused: the present agent stays');
  assert.ok(!b.said('cedes'));
  b.send('end');
  await sees(again, 'writes after b');
  await sees(b, 'is former');
});

test('a third waits its turn, and gets the node from the second', async (t) => {
  const dir = home(t);
  const a = member(t, dir, 'a');
  await sees(a, 'writes alone');
  const [b, c] = [member(t, dir, 'b'), member(t, dir, 'c')];
  await until('both have had it', 30_000, () =>
    [b, c].every(({ lines }) => lines.some((l) => l.startsWith('writes'))),
  );
  const writers = [a, b, c].filter(({ lines }) => lines.at(-1)?.startsWith('writes'));
  assert.equal(writers.length, 1);
});

test('who has no certificate that the present agent has does not get the node until it has it', async (t) => {
  const dir = home(t);
  const a = member(t, dir, 'a', 'spiffe://one', 'spiffe://two');
  await sees(a, 'writes alone');
  const b = member(t, dir, 'b', 'spiffe://one');
  await sees(b, 'refused: the successor has no certificate for spiffe://two');
  b.send('certificate spiffe://two');
  await sees(b, 'writes after a');
});

test('a lock that cannot be opened ends nobody: an agent that starts waits, one that has handed over drains on', async (t) => {
  const dir = home(t);
  const next = join(dir, 'handover', 'next');
  mkdirSync(next, { recursive: true });
  const a = member(t, dir, 'a');
  const refused = ({ lines }: Member): boolean => lines.some((line) => line.startsWith('refused: the lock'));
  await until('it waits', 30_000, () => refused(a));
  assert.ok(!a.lines.some((line) => line.startsWith('writes')));
  rmdirSync(next);
  await sees(a, 'writes alone');
  const b = member(t, dir, 'b');
  await sees(a, 'is former');
  rmSync(next);
  mkdirSync(next);
  a.lines.length = 0;
  await until('it waits', 30_000, () => refused(a));
  assert.equal(a.process.exitCode, null);
  rmdirSync(next);
  await b.end();
  await sees(a, 'writes alone again');
});

test('a directory that an uninstall has taken is made anew', async (t) => {
  const dir = home(t);
  const a = member(t, dir, 'a');
  await sees(a, 'writes alone');
  const b = member(t, dir, 'b', 'unheard');
  await until('it waits', 30_000, () => b.lines.some((line) => line.startsWith('refused')));
  rmSync(join(dir, 'handover'), { recursive: true });
  await a.end();
  await sees(b, 'writes alone');
  assert.equal(statSync(join(dir, 'handover')).mode & 0o777, 0o700);
});

test('an agent that cannot be asked for its node has it all the same, and can be asked later', async (t) => {
  const dir = home(t);
  const socket = join(dir, 'handover', 'socket');
  mkdirSync(socket, { recursive: true });
  const a = member(t, dir, 'a');
  await sees(a, 'writes alone');
  rmdirSync(socket);
  const b = member(t, dir, 'b');
  await sees(b, 'writes after a');
});

test('who does not hear the control plane does not get the node from one that does, but for its end', async (t) => {
  const dir = home(t);
  const a = member(t, dir, 'a');
  await sees(a, 'writes alone');
  const b = member(t, dir, 'b', 'unheard');
  await sees(b, 'refused: the control plane is not heard by the successor: it may know policies of before');
  a.send('end');
  await sees(b, 'writes after a');
});

test('what has come while this process could not look is no silence', async (t) => {
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

for (const step of ['after-yours', 'in-become'] as const) {
  test(`a successor that is killed ${step}: the present agent goes on with what it had, and rests before it hands over again`, async (t) => {
    const dir = home(t);
    const a = member(t, dir, 'a');
    await sees(a, 'writes alone');
    const b = member(t, dir, 'b', `die=${step}`);
    await sees(a, 'writes after a again');
    assert.ok(a.said('limit handover-failed'));
    assert.ok(!a.said('is former'));
    await until('it has ended', 10_000, () => b.process.exitCode !== null || b.process.signalCode !== null);
    const c = member(t, dir, 'c');
    await sees(
      c,
      'refused: a successor failed a moment ago: the present agent waits before it hands over again',
    );
    // One that ends needs a successor more than a pause.
    a.send('end');
    await sees(c, 'writes after a');
  });
}

test('a successor that hangs is killed, and the present agent goes on', async (t) => {
  const dir = home(t);
  const a = member(t, dir, 'a', 'impatient');
  await sees(a, 'writes alone');
  const b = member(t, dir, 'b', 'die=stops');
  const exited = once(b.process, 'exit');
  await sees(b, 'stops');
  b.process.kill('SIGSTOP');
  const [, signal] = (await exited) as [number | null, string | null];
  assert.equal(signal, 'SIGKILL');
  await sees(a, 'writes after a again');
});

test('a present agent that is killed while it hands over: its successor writes', async (t) => {
  const dir = home(t);
  const a = member(t, dir, 'a', 'die=in-cede');
  await sees(a, 'writes alone');
  const b = member(t, dir, 'b');
  await sees(b, 'writes alone');
});

test('an agent of a build without hand-over: the new one waits until it has ended', async (t) => {
  const dir = home(t);
  const b = member(t, dir, 'b', 'former-build');
  await sees(b, 'waits for a former build');
  assert.ok(!b.lines.some((line) => line.startsWith('writes')));
  b.send('former-build-ended');
  await sees(b, 'writes alone');
});
