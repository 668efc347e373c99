import assert from 'node:assert/strict';
import http2 from 'node:http2';
import { test } from 'node:test';
import { anyRequest, id, policy } from '../../../test/support/mesh.js';
import { ask, startWaypoint } from '../../../test/support/waypoint.js';
import { isGrpcType } from './grpc.js';

test('gRPC is distinguished from gRPC-Web and from other types with the same prefix', () => {
  for (const type of [
    'application/grpc',
    'application/grpc+proto',
    'application/grpc+json',
    'application/grpc;x=y',
    'Application/gRPC',
  ])
    assert.equal(isGrpcType(type), true, type);
  for (const type of [
    undefined,
    '',
    'application/grpc-web',
    'application/grpc-web+proto',
    'application/grpc-web-text',
    'application/grpcish',
    'text/application/grpc',
  ])
    assert.equal(isGrpcType(type), false, type);
});

test('a local reply to gRPC-Web has its status in the status line', async (t) => {
  const deny = policy('none', 'deny', { http: anyRequest });
  const waypoint = await startWaypoint(t, {
    backends: { api: [1] },
    policies: [deny],
    identity: id('web'),
  });
  const session = http2.connect(`http://127.0.0.1:${waypoint.port}`);
  t.after(() => session.destroy());
  const statusOf = (type: string): Promise<unknown> =>
    new Promise((resolve) => {
      const stream = session.request({ ':method': 'POST', ':path': '/a.B/C', 'content-type': type });
      stream.on('error', () => undefined);
      stream.on('response', (headers) => resolve(headers[':status']));
      stream.end('x');
    });
  assert.equal(await statusOf('application/grpc+proto'), 200);
  assert.equal(await statusOf('application/grpc-web+proto'), 403);
  assert.deepEqual(
    waypoint.records.map(({ protocol }) => protocol),
    ['grpc', 'http'],
  );
  assert.equal((await ask(waypoint.port)).status, 403);
});
