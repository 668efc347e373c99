/** What tests of the aggregated API ask about: certificates, the front proxy's settings, a small mesh and one edge in it. */
import { compile } from '../../control/compile/compile.js';
import type { MeshObject } from '../../control/objects/objects.js';
import { parseIp } from '../../src/model/address.js';
import { noCounts, type Edge } from '../../src/model/edge.js';
import { parseTrustDomain } from '../../src/model/identity.js';
import { createRoot, issueServerCert, type KeyAndCertificate } from '../../src/tls/issue.js';
import { settings } from './smi.js';

export const rootOf = (): KeyAndCertificate => createRoot(parseTrustDomain('test'), 3600);
export const issue = (root: KeyAndCertificate, name: string, ttlS = 3600): KeyAndCertificate =>
  issueServerCert({
    caKeyPem: root.keyPem,
    caCertPem: root.certPem,
    ips: [parseIp('127.0.0.1')],
    dns: [name],
    ttlS,
  });
const object = (kind: string, name: string, namespace?: string, more: object = {}): MeshObject =>
  ({
    kind,
    metadata: {
      name,
      ...(namespace === undefined ? {} : { namespace }),
      labels: { app: name, 'weft.dev/mesh': 'enabled' },
    },
    ...more,
  }) as unknown as MeshObject;
const podOf = (name: string, namespace: string): MeshObject =>
  object('Pod', name, namespace, { spec: { nodeName: 'node1' }, status: { podIPs: [] } });
export const registry = compile(
  [
    object('Namespace', 'shop'),
    object('Namespace', 'bank'),
    podOf('web', 'shop'),
    podOf('db', 'shop'),
    podOf('teller', 'bank'),
  ],
  settings,
);
export const edge: Edge = {
  reporter: 'waypoint',
  source: { namespace: 'bank', workload: 'teller', pod: 'teller', identity: undefined },
  destination: { namespace: 'shop', workload: 'web', pod: 'web', identity: undefined },
  service: 'web.shop.svc.cluster.local',
  port: 80,
  path: 'waypoint',
  method: 'GET',
  pathTemplate: '/',
  policy: '',
  counts: { ...noCounts, requests: 5, failures: 1, latencyCounts: [0, 5] },
};

export interface Review {
  readonly spec: {
    readonly user: string;
    readonly groups: readonly string[];
    readonly extra: object;
    readonly resourceAttributes: Readonly<Record<string, string>>;
  };
}
export const frontProxyData = (ca: string): Record<string, string> => ({
  'requestheader-client-ca-file': ca,
  'requestheader-allowed-names': '["aggregator"]',
  'requestheader-username-headers': '["X-Remote-User"]',
  'requestheader-group-headers': '["X-Remote-Group"]',
  'requestheader-extra-headers-prefix': '["X-Remote-Extra-"]',
});
