import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'node:test';
import { eventually } from '../../../test/support/eventually.js';
import { AccessLog, type AccessLogMode } from './access-log.js';
import type { RequestRecord, TrafficAction } from './request-record.js';

const action = (mode: TrafficAction['mode']): TrafficAction => ({
  feature: 'fault-delay',
  mode,
  policy: `TrafficPolicy shop/${mode}`,
});
const record = (path: string, more: Partial<RequestRecord>): RequestRecord =>
  ({
    number: 1,
    client: { address: { ip: '10.0.0.1', port: 1 } },
    path,
    status: 200,
    audited: [],
    actions: [],
    attempts: 1,
    attemptsBefore: 0,
    durationMs: 1,
    ...more,
  }) as unknown as RequestRecord;

test('by default the access log has requests that failed, and those on which a policy in dry run would have acted', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'weft-access-log-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  /** @param count of lines to wait for: the first write may still be under way when the file is closed */
  const logged = async (mode: AccessLogMode, count: number): Promise<string[]> => {
    const file = join(dir, mode);
    const log = new AccessLog(file, mode, '%path%', () => assert.fail('a line was dropped'));
    await eventually(() => existsSync(file), 'the file is open');
    await sleep(50);
    log.write(record('/ok', {}));
    log.write(record('/failed', { status: 503 }));
    log.write(record('/flag', { flag: 'DI', actions: [action('did')] }));
    log.write(record('/dry-run', { actions: [action('would')] }));
    log.write(record('/did', { actions: [action('did')] }));
    log.close();
    const lines = (): string[] => readFileSync(file, 'utf8').split('\n').filter(Boolean).sort();
    await eventually(() => lines().length >= count, `${count} lines`);
    return lines();
  };
  assert.deepEqual(await logged('errors', 3), ['/dry-run', '/failed', '/flag']);
  assert.deepEqual(await logged('all', 5), ['/did', '/dry-run', '/failed', '/flag', '/ok']);
  assert.deepEqual(await logged('none', 0), []);
});
