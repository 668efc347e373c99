/** Istio's security objects in force, and what they decide for connections and requests. */
import { inForce, type InForce } from '../threats/support/configuration.js';
import { parseIp } from '../../src/model/address.js';
import { parseSpiffeId } from '../../src/model/identity.js';
import type { ServiceKey } from '../../src/model/workload.js';
import type { Claims } from '../../src/policy/claims.js';
import { authorize, type HttpAttributes, type Verdict } from '../../src/policy/authorize.js';
import { hasParameter } from '../../src/waypoint/authorization/request-attributes.js';
import { requestOf } from '../threats/support/configuration.js';

/** A manifest of an object of security.istio.io. `spec`: YAML in flow form. */
export const istio = (
  kind: 'AuthorizationPolicy' | 'PeerAuthentication' | 'RequestAuthentication',
  spec: string,
  { namespace = 'bank', name = 'p', more = '' } = {},
): string =>
  `apiVersion: security.istio.io/v1\nkind: ${kind}\nmetadata: { name: ${name}, namespace: ${namespace}${more} }\n${spec === '' ? '' : `spec: ${spec}\n`}`;

const pod = (namespace: string, name: string, ip: string): string =>
  `kind: Pod\nmetadata: { name: ${name}, namespace: ${namespace}, labels: { app: ${name}, weft.dev/mesh: enabled } }
spec: { nodeName: n, serviceAccountName: ${name} }\nstatus: { podIPs: [{ ip: ${ip} }] }\n`;
/** The pods `api` and `web` of `bank`, and `api` of `shop`. */
export const bankPods = [
  pod('bank', 'api', '10.0.0.2'),
  pod('bank', 'web', '10.0.0.3'),
  pod('shop', 'api', '10.0.0.4'),
];

export const bank = (...manifests: readonly string[]): InForce => inForce([...bankPods, ...manifests]);

export interface Asked {
  /** `namespace/account`; `none`: no identity. */
  readonly from?: string;
  readonly ip?: string;
  readonly port?: number;
  readonly path?: string;
  readonly method?: string;
  readonly host?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Claims of the request's valid token. */
  readonly claims?: Claims;
  /** The client's address through proxies. */
  readonly remoteIp?: string;
  /** No proxy has read the request. */
  readonly isRaw?: true;
  /** The connection's TLS server name, which its waypoint has read. */
  readonly serverName?: string;
}

function httpOf({
  path = '/',
  method = 'GET',
  host = 'api.bank',
  headers = {},
  claims,
  remoteIp,
}: Asked): HttpAttributes {
  const attributes = requestOf(path, {
    method,
    host: host.replace(/:\d+$/, ''),
    header: (name) => (name === 'host' ? host : headers[name]),
    hasParameter: (name) => hasParameter(path, name),
    claims,
    remoteIp: remoteIp === undefined ? undefined : parseIp(remoteIp),
  });
  return attributes;
}
const connection = (asked: Asked) => {
  const { from = 'shop/web', ip = '10.0.0.1', port = 80 } = asked;
  const [namespace, account] = from.split('/');
  return {
    identity:
      from === 'none' ? undefined : parseSpiffeId(`spiffe://cluster.local/ns/${namespace}/sa/${account}`),
    sourceIp: parseIp(ip),
    destinationIp: parseIp('10.0.0.2'),
    destinationPort: port,
    ...(asked.isRaw || asked.serverName !== undefined ? {} : { http: httpOf(asked) }),
    ...(asked.serverName === undefined ? {} : { serverName: asked.serverName }),
  };
};

/** The verdict of a pod's policies. */
export const atPod = ({ view, workload }: InForce, asked: Asked, namespace = 'bank', name = 'api'): Verdict =>
  authorize(view.policiesFor(workload(namespace, name)), connection(asked));
/** The verdict of a Service's policies, at its waypoint. */
export const atService = ({ view }: InForce, asked: Asked, namespace = 'bank', name = 'api'): Verdict =>
  authorize(
    view.policiesForService(`${namespace}/${name}.${namespace}.svc.cluster.local` as ServiceKey),
    connection(asked),
  );
