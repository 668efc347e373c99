import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { eventually } from '../../test/support/eventually.js';
import { parseIp } from '../model/address.js';
import { partyOf, type ConnectionRecord } from './connection-record.js';
import { ConnectionLog } from './connection-log.js';

const record: ConnectionRecord = {
  direction: 'inbound',
  path: 'inbound-hbone',
  why: 'test',
  source: partyOf({ address: undefined }),
  destination: partyOf({ address: undefined }),
  bytesSent: 1,
  bytesReceived: 2,
  durationMs: 3,
  ended: 'finished',
};

function place(t: { after: (call: () => void) => void }): string {
  const dir = mkdtempSync(join(tmpdir(), 'weft-log-'));
  t.after(() => rmSync(dir, { recursive: true }));
  return join(dir, 'connections.log');
}
const lines = (path: string): string[] => readFileSync(path, 'utf8').split('\n').filter(Boolean);

test('each connection gets a line with its time and its whole record', async (t) => {
  const path = place(t);
  const log = new ConnectionLog({ path, onDropped: () => assert.fail('dropped') });
  log.write(record);
  await eventually(() => existsSync(path) && lines(path).length === 1, 'its line');
  const [line = ''] = lines(path);
  const { time, level, ...rest } = JSON.parse(line) as ConnectionRecord & { time: string; level: number };
  assert.deepEqual(rest, record);
  assert.equal(level, 30);
  assert.ok(Math.abs(Date.parse(time) - Date.now()) < 60_000);
  log.close();
});

test('the file is rotated at its size limit, and the previous file stays', async (t) => {
  const path = place(t);
  const log = new ConnectionLog({ path, fileBytesMax: 10_000, onDropped: () => assert.fail('dropped') });
  for (let i = 0; i < 200; i++) {
    log.write(record);
    if (i % 10 === 0) await sleep(2);
  }
  await sleep(50);
  log.close();
  assert.ok(readFileSync(path).length < 20_000);
  const before = lines(`${path}.1`);
  assert.ok(before.length >= 10);
  assert.ok(before.every((line) => (JSON.parse(line) as ConnectionRecord).why === 'test'));
});

test('lines beyond the waiting limit are dropped and reported, not kept in memory', async (t) => {
  let dropped = 0;
  const log = new ConnectionLog({ path: place(t), waitingBytesMax: 2000, onDropped: () => dropped++ });
  for (let i = 0; i < 100; i++) log.write(record);
  assert.ok(dropped > 80);
  await sleep(20);
  log.close();
});

test('a flood of refusals from one source hides no refusal of another source at the same pod', async (t) => {
  const path = place(t);
  let used = 0;
  const log = new ConnectionLog({
    path,
    onDropped: () => assert.fail('dropped'),
    onShareUsed: () => used++,
    waitingBytesMax: 64 << 20,
  });
  const refused = (ip: string, port: number): ConnectionRecord => ({
    ...record,
    path: 'refused',
    code: 'WEFT_HBONE_TLS',
    source: partyOf({ address: { ip: parseIp(ip), port } }),
  });
  for (let i = 0; i < 30_000; i++) log.write(refused('10.0.9.9', 1 + (i % 60_000)));
  log.write(refused('10.0.0.1', 1));
  const text = (): string => (existsSync(path) ? readFileSync(path, 'utf8') : '');
  await eventually(() => text().includes('10.0.0.1:1"'), 'the line of the other source');
  log.close();
  const all = lines(path);
  assert.equal(all.filter((line) => line.includes('"10.0.0.1:1"')).length, 1);
  assert.ok(all.length < 3_000, `${all.length} lines`);
  assert.ok(used > 27_000);
});

test('who waits for the lines so far is called once they are in the file, and without lines at once', async (t) => {
  const path = place(t);
  const log = new ConnectionLog({ path, onDropped: () => assert.fail('dropped') });
  let calls = 0;
  log.afterLines(() => calls++);
  assert.equal(calls, 1);
  const write = log.template(record);
  for (let i = 0; i < 500; i++) {
    if (i % 2 === 0) log.write(record);
    else write({ ...record, clientPort: i, bytesSpliced: 0 });
    if (i % 10 !== 0) continue;
    await new Promise<void>((resolve) => log.afterLines(resolve));
    assert.equal(lines(path).length, i + 1);
  }
  log.close();
});

test('a disk that takes no line holds nobody back, not even at the end', async () => {
  const log = new ConnectionLog({ path: '/dev/full', onDropped: () => undefined });
  log.write(record);
  const alive = setInterval(() => undefined, 1_000);
  await new Promise<void>((resolve) => log.afterLines(resolve));
  clearInterval(alive);
  log.close();
});

test('a process that ends before the file is open ends with its own exit code, and without another error', (t) => {
  const { href } = new URL('./connection-log.js', import.meta.url);
  const program = `
    import { ConnectionLog } from ${JSON.stringify(href)};
    const log = new ConnectionLog({ path: ${JSON.stringify(place(t))}, onDropped: () => undefined });
    log.write(${JSON.stringify(record)});
    process.exit(3);
  `;
  const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    encoding: 'utf8',
  });
  assert.deepEqual([status, stderr], [3, '']);
});
