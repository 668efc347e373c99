/** The engine must pass every test of h2spec that node:http2 passes. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import http2 from 'node:http2';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { ConnectionListener } from '../../src/http2/http2.js';
import { engineOn, listen } from '../support/http2-engine.js';
import { http2Upstream, startWaypoint } from '../support/waypoint.js';
import { buildH2spec, runH2spec } from './h2spec.js';

const reports = mkdtempSync(join(tmpdir(), 'weft-h2spec-'));
after(() => rmSync(reports, { recursive: true, force: true }));

const body = Buffer.from('hello');

function respond(stream: http2.ServerHttp2Stream): void {
  stream.on('error', () => {});
  stream.respond({ ':status': 200, 'content-type': 'text/plain' });
  stream.end(body);
}

/** Both servers respond as soon as the head is there, and accept 100 streams. */
function nodeServer(): net.Server {
  const server = http2.createServer({ settings: { maxConcurrentStreams: 100 } });
  server.on('stream', respond);
  server.on('sessionError', () => {});
  return server;
}
function engineServer(): net.Server {
  const listener: ConnectionListener = {
    onStream(stream) {
      stream.respond([':status', '200', 'content-type', 'text/plain'], false);
      stream.write(body);
      stream.end();
    },
    onSettings() {},
    onGoAway() {},
    onStreamClosed() {},
    onClose() {},
  };
  return net.createServer((socket) => void engineOn(socket, listener, 'server'));
}

test('h2spec has no failure on the engine and on a waypoint that it does not have on node:http2', async (t) => {
  const h2spec = buildH2spec();
  const servers = [nodeServer(), engineServer()] as const;
  try {
    const upstream = await http2Upstream(t, respond);
    const waypoint = await startWaypoint(t, { backends: { api: [upstream.port] } });
    const [node, engine, proxied] = await Promise.all([
      runH2spec(h2spec, await listen(servers[0]), join(reports, 'node.xml')),
      runH2spec(h2spec, await listen(servers[1]), join(reports, 'engine.xml')),
      runH2spec(h2spec, waypoint.port, join(reports, 'waypoint.xml')),
    ]);
    assert.ok(node.passed > 130, `only ${node.passed} tests passed on node:http2: is the report read?`);
    for (const [name, { failed, passed }] of Object.entries({ engine, waypoint: proxied })) {
      const more = [...failed].filter(([test]) => !node.failed.has(test));
      assert.deepEqual(Object.fromEntries(more), {}, name);
      assert.ok(passed >= node.passed, `${name}: ${passed} passed, ${node.passed} on node:http2`);
    }
  } finally {
    for (const server of servers) server.close();
  }
});
