/**
 * A program: the control plane's publisher and server with a large installation's objects, in a process of its own, without an API server. Single
 * VirtualServices are changed, and each change is followed until every waypoint has decoded its route. Writes what it took as JSON.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CertificateAuthority } from '../../control/certificates/ca.js';
import { waypointCaller } from '../../control/compile/waypoints.js';
import { objectKey } from '../../control/objects/object-key.js';
import type { MeshObject } from '../../control/objects/objects.js';
import { Publisher } from '../../control/publisher.js';
import { ControlServer } from '../../control/serve/server.js';
import { parseIp } from '../../src/model/address.js';
import { parseTrustDomain } from '../../src/model/identity.js';
import type { Identity } from '../control/nodes.js';
import { measureChanges, Nodes } from '../control/readers.js';
import { accepted, objectsOf, virtualService } from './objects.js';

const [virtualServices = 0, destinationRules = 0, nodeCount = 0, rate = 0, seconds = 0] = process.argv
  .slice(2)
  .map(Number);
const ignored = (): void => undefined;
const log = { info: ignored, warn: ignored, error: ignored };
const dir = mkdtempSync(join(tmpdir(), 'weft-delivery-'));
const trustDomain = parseTrustDomain('cluster.local');
const ca = new CertificateAuthority(join(dir, 'state'), trustDomain);

let update: ControlServer['update'] = ignored;
const publisher = new Publisher({
  settings: { trustDomain, rootsVersion: '1' },
  onCompiled: ignored,
  onUpdate: (changed) => update(changed),
  onLimit: ignored,
  log,
});
const apply = (objects: readonly MeshObject[]): void =>
  publisher.apply(new Map(objects.map((object) => [objectKey(object), object])));
apply([...objectsOf({ virtualServices, destinationRules })].map(accepted));

const server = new ControlServer(
  {
    listen: '127.0.0.1:0',
    certificate: ca.serverCertificate([parseIp('127.0.0.1')], ['weft-control.weft-system.svc']),
    ca,
    callerOfToken: (token) => Promise.resolve({ name: token }),
    mayRequestCertificate: () => false,
    certTtlS: undefined,
    onReport: ignored,
    log,
  },
  publisher.resources,
);
update = (changed) => server.update(changed);
const port = await server.start();

const waypoints = [...publisher.compiler.ofKind('Gateway')].map(({ metadata: { namespace = '', name } }) =>
  waypointCaller({ namespace, name }),
);
const readers: Identity[] = [
  ...Array.from({ length: nodeCount }, (_, i) => ({ name: `node-${i}`, kind: 'node' as const })),
  ...waypoints.map((name) => ({ name, kind: 'waypoint' as const })),
].map((one) => ({ ...one, token: one.name }));
const tokens = join(dir, 'tokens');
writeFileSync(tokens, JSON.stringify(readers), { mode: 0o600 });
const nodes = new Nodes([`127.0.0.1:${port}`, join(dir, 'state', 'root-cert.pem'), tokens]);
try {
  const fromMs = Date.now();
  await nodes.ask('connect');
  const syncMs = await nodes.allSynced(readers.length, fromMs);
  const round = await measureChanges({
    nodes,
    pid: process.pid,
    rate,
    seconds,
    readers: waypoints.length,
    delaysOf: ({ routeDelaysMs }) => routeDelaysMs,
    write: (i) => {
      const object = virtualService((i * 7919) % destinationRules, 20, true, `t${Date.now()}`);
      apply([accepted(object)]);
      return Promise.resolve();
    },
  });
  console.log(
    JSON.stringify({
      syncMs,
      deliveryMsMedian: round.changeMs.p50,
      deliveryMsP99: round.changeMs.p99,
      deliveryMsMax: round.changeMs.max,
      delivered: round.delivered,
      deliveryCpu: round.cpu,
      waypoints: waypoints.length,
    }),
  );
} finally {
  nodes.end();
  publisher.stop();
  server.stop();
  rmSync(dir, { recursive: true, force: true });
}
