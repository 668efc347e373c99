import assert from 'node:assert/strict';
import { test } from 'node:test';
import { id, pod, workload } from '../../test/support/mesh.js';
import type { InboundTunnel } from '../../src/hbone/server.js';
import { parseIp } from '../../src/model/address.js';
import { MeshState } from '../../src/state/store.js';
import type { LocalPod } from '../worker-ipc.js';
import { Connections } from './connections.js';
import type { ProxyContext } from './context.js';
import { handleTunnel } from './inbound.js';

test('tunnels to an application that does not respond count as connections of its pod while they are being dialed', async () => {
  const view = new MeshState();
  const api = workload('api', '10.0.0.1', 'n1');
  view.apply({ workloads: [api] });
  const local = {
    pod: pod('api', '10.0.0.1', { uid: api.uid, identity: api.identity, addresses: api.addresses }),
    netns: {} as LocalPod['netns'],
  } as LocalPod;
  const dials: ((error: Error) => void)[] = [];
  const limits: string[] = [];
  const connections = new Connections(8, 4);
  const context = {
    node: 'n1',
    view,
    connections,
    sockets: { dial: () => new Promise((_resolve, reject) => dials.push(reject)) },
    limitReached: (limit: string) => void limits.push(limit),
    opened: () => undefined,
    closed: () => undefined,
  } as unknown as ProxyContext;
  const statuses: number[] = [];
  const tunnel = (): InboundTunnel => ({
    authority: { ip: parseIp('10.0.0.1'), port: 80 },
    peer: id('web'),
    remote: { ip: parseIp('10.0.0.2'), port: 4000 },
    local: { ip: parseIp('10.0.0.1'), port: 15008 },
    headers: {},
    accept: () => assert.fail('the application has not responded'),
    refuse: (status) => void statuses.push(status),
    onGone: () => undefined,
  });
  const work = Array.from({ length: 100 }, () => handleTunnel(context, local, tunnel()));
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(dials.length, 4);
  assert.equal(limits.filter((limit) => limit === 'connections-of-pod').length, 96);
  for (const fail of dials.splice(0)) fail(new Error('no response'));
  await Promise.all(work);
  assert.deepEqual([statuses.length, new Set(statuses)], [100, new Set([503])]);
  assert.equal(connections.size, 0);
});
