import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { sleep, until } from '../base/wait.js';
import { serveRoutes, SharedResponses, tokenIn, type Route } from './servers.js';

test('a response for untrusted clients is generated once a second, whatever the number of requests', async () => {
  let made = 0;
  const route: Route = { contentType: 'text/plain', read: ({ trusted }) => `${++made} ${trusted}` };
  const shared = new SharedResponses();
  const bodies = await Promise.all(Array.from({ length: 1_000 }, (_, i) => shared.read(route, i / 2)));
  assert.deepEqual([...new Set(bodies)], ['1 false']);
  assert.equal(await shared.read(route, 1_000), '2 false');
});

test('a failure is returned to the requests of its time; a later request tries again', async () => {
  let broken = true;
  const route: Route = {
    contentType: 'text/plain',
    read: () => (broken ? Promise.reject(new Error('broken')) : 'whole'),
  };
  const shared = new SharedResponses();
  await assert.rejects(shared.read(route, 0), /broken/);
  broken = false;
  assert.equal(await shared.read(route, 1_001), 'whole');
});

async function request(from: string, port: number, headers: Record<string, string> = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    const options = { host: '127.0.0.1', port, path: '/who', localAddress: from, headers, agent: false };
    http
      .get(options, (response) => {
        let text = '';
        response.on('data', (data: Buffer) => (text += data.toString()));
        response.on('end', () => resolve(text));
      })
      .on('error', reject);
  });
}

test('a client that holds all connections it can get does not keep others from a response', async () => {
  const server = await serveRoutes('127.0.0.1', 0, {
    '/who': { contentType: 'text/plain', read: () => 'ok' },
  });
  const held = Array.from({ length: 600 }, () => {
    const socket = net.connect({ host: '127.0.0.1', port: server.port, localAddress: '127.0.0.2' });
    return socket.on('error', () => undefined).resume();
  });
  try {
    await sleep(300);
    assert.equal(await request('127.0.0.1', server.port), 'ok');
    assert.equal(await request('127.0.0.3', server.port), 'ok');
    await until('silent connections end', 30_000, () => held.every((socket) => socket.destroyed));
    assert.equal(await request('127.0.0.2', server.port), 'ok');
  } finally {
    for (const socket of held) socket.destroy();
    await server.close();
  }
});

test('the token is read at each call; an unreadable file means that no token is accepted', () => {
  const dir = mkdtempSync(join(tmpdir(), 'weft-token-'));
  const token = tokenIn(join(dir, 'token'));
  try {
    assert.equal(token(), undefined);
    writeFileSync(join(dir, 'token'), 'first\n');
    assert.equal(token(), 'first');
    writeFileSync(join(dir, 'token'), 'second\n');
    assert.equal(token(), 'second');
    assert.equal(tokenIn(undefined)(), undefined);
  } finally {
    rmSync(dir, { recursive: true });
  }
});
