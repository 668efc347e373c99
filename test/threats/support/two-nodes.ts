/** A mesh of two nodes and two namespaces, for tests with the credential of node `n1`. */
import { createCertificateClient } from '../../../src/discovery/certificate-client.js';
import type { NodeReport } from '../../../src/discovery/gen/weft.js';
import { parseSpiffeId } from '../../../src/model/identity.js';
import { type Control } from './control.js';

export const pod = (name: string, node: string, ip: string, namespace = 'shop'): string => `---
kind: Pod
metadata: { name: ${name}, namespace: ${namespace}, uid: uid-${name}, labels: { app: ${name} }, annotations: { weft.dev/netns: weft-${name} } }
spec: { nodeName: ${node}, serviceAccountName: ${name} }
status: { podIPs: [{ ip: ${ip} }] }
`;
export const manifests = `---
kind: Namespace
metadata: { name: shop, labels: { weft.dev/mesh: enabled } }
---
kind: Namespace
metadata: { name: bank, labels: { weft.dev/mesh: enabled } }
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: wp, namespace: shop }
spec: { gatewayClassName: weft-waypoint, listeners: [{ name: mesh, port: 15008, protocol: HBONE }] }
${pod('a', 'n1', '10.0.0.1')}${pod('b', 'n2', '10.0.0.2')}${pod('teller', 'n1', '10.0.0.3', 'bank')}`;
export const id = (name: string, namespace = 'shop') =>
  parseSpiffeId(`spiffe://cluster.local/ns/${namespace}/sa/${name}`);
export const issuerOf = (
  { target, ca }: Control,
  token: string,
): ReturnType<typeof createCertificateClient> =>
  createCertificateClient({ target, rootPem: () => ca.roots, token: () => token });
export const report = (more: Partial<NodeReport> = {}): NodeReport => ({
  version: '1',
  pods: [],
  missing: [],
  cniProblem: '',
  ...more,
});
