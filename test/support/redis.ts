/** A redis-server of a test, on loopback, without files. */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { projectRoot } from '../../native/index.js';
import { Counters, type counterLimits } from '../../src/rate-limit/counters.js';
import { RedisConnection, type RedisOptions } from '../../src/rate-limit/redis.js';
import { deadPort } from './waypoint.js';

export interface TestRedis {
  readonly url: string;
  signal(name: NodeJS.Signals): void;
  /** Kills it and starts it again on the same port. Its data is lost. */
  restart(): Promise<void>;
  /** Ends it. */
  stop(): Promise<void>;
  counters(
    t: TestContext,
    limits?: Partial<Record<keyof typeof counterLimits, number>>,
    given?: Partial<Pick<RedisOptions, 'url' | 'username' | 'ca'>> & { readonly password?: string },
  ): {
    readonly counters: Counters;
    readonly connection: RedisConnection;
    readonly states: string[];
    /** Keys of each call. */
    readonly batches: number[];
  };
}

interface RedisServer {
  readonly password?: string;
  /** Accepts TLS only, with this certificate. */
  readonly tls?: { readonly certPem: string; readonly keyPem: string };
  readonly flags?: readonly string[];
}

export async function startRedis(
  t: TestContext,
  { password, tls, flags: more = [] }: RedisServer = {},
): Promise<TestRedis> {
  const port = await deadPort();
  const dir = mkdtempSync(join(tmpdir(), 'weft-redis-'));
  let child: ChildProcess | undefined;
  const start = async (): Promise<void> => {
    const flags = ['--bind', '127.0.0.1', '--save', '', '--dir', dir, ...more];
    if (tls) {
      const [cert, key] = [join(dir, 'cert.pem'), join(dir, 'key.pem')];
      writeFileSync(cert, tls.certPem);
      writeFileSync(key, tls.keyPem, { mode: 0o600 });
      flags.push('--port', '0', '--tls-port', String(port), '--tls-auth-clients', 'no');
      flags.push('--tls-cert-file', cert, '--tls-key-file', key);
    } else flags.push('--port', String(port));
    child = spawn(
      'redis-server',
      [...flags, ...(password === undefined ? [] : ['--requirepass', password])],
      {
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    const made = child;
    await new Promise<void>((resolve, reject) => {
      made.once('error', reject);
      made.once('exit', (code) => reject(new Error(`redis-server ended with ${code}`)));
      made.stdout?.on('data', (bytes: Buffer) => {
        if (bytes.toString().includes('Ready to accept connections')) resolve();
      });
    });
  };
  const stop = async (): Promise<void> => {
    const ended = child;
    child = undefined;
    if (!ended || ended.exitCode !== null) return;
    await new Promise((resolve) => {
      ended.once('exit', resolve);
      ended.kill('SIGKILL');
    });
  };
  await start();
  t.after(async () => {
    await stop();
    rmSync(dir, { recursive: true, force: true });
  });
  const url = `${tls ? 'rediss' : 'redis'}://127.0.0.1:${port}`;
  return {
    url,
    signal: (name) => void child?.kill(name),
    restart: async () => {
      await stop();
      await start();
    },
    stop,
    counters: (test, limits = {}, given = {}) => {
      const states: string[] = [];
      const batches: number[] = [];
      const options: RedisOptions = {
        url,
        ...given,
        password: () => given.password,
        replyMsMax: 2_000,
        onState: (isUp, why) => states.push(`${isUp} ${why}`),
      };
      const connection = new RedisConnection(options);
      test.after(() => connection.stop());
      const counters = new Counters({
        call: (command) => connection.call(command),
        onBatch: (keys) => batches.push(keys),
        limits,
      });
      return { counters, connection, states, batches };
    },
  };
}

/** The rights of a Redis user that docs/global-rate-limits.md names; the password is PASSWORD. */
export function documentedRights(): string[] {
  const page = readFileSync(join(projectRoot, 'docs', 'global-rate-limits.md'), 'utf8');
  const rights = /ACL SETUSER weft (.+)/.exec(page)?.[1];
  if (rights === undefined) throw new Error('docs/global-rate-limits.md has no ACL SETUSER');
  return rights.split(' ');
}
