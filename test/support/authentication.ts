/** AuthenticationPolicies in force: what their pods refuse, and what their waypoints validate. */
import { generateKeyPairSync } from 'node:crypto';
import { compile, type Compiler } from '../../control/compile/compile.js';
import { parseManifests } from '../../control/source/parse.js';
import { parseIp } from '../../src/model/address.js';
import { parseSpiffeId } from '../../src/model/identity.js';
import type { ServicePolicy } from '../../src/model/service-policy.js';
import type { JwtFilter } from '../../src/discovery/gen/weft.js';
import type { Claims } from '../../src/policy/claims.js';
import { authorize, type HttpAttributes, type Verdict } from '../../src/policy/authorize.js';
import { hasParameter } from '../../src/waypoint/authorization/request-attributes.js';
import { requestOf, type InForce } from '../threats/support/configuration.js';
import { domain } from './mesh.js';

/** A public key of ES256 as a JWK Set. */
export const exampleJwks = (kid = 'k1'): string => {
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return JSON.stringify({
    keys: [{ ...publicKey.export({ format: 'jwk' }), kid, alg: 'ES256', use: 'sig' }],
  });
};

/** @param spec YAML in flow form; JWKS for `$JWKS` */
export const authentication = (
  spec: string,
  { namespace = 'bank', name = 'tokens', more = '' } = {},
): string =>
  `apiVersion: weft.dev/v1alpha1\nkind: AuthenticationPolicy\nmetadata: { name: ${name}, namespace: ${namespace}${more} }\nspec: ${spec.replace('$JWKS', `{ inline: '${exampleJwks()}' }`)}\n`;
export const toApi = "targetRefs: [{ group: '', kind: Service, name: api }]";
export const issuer = (more = ''): string => `{ issuer: 'https://id.example', jwks: $JWKS${more} }`;

/** @param labels of the Service */
export const serviceText = (
  ports: string,
  { namespace = 'bank', name = 'api', labels = '', app = 'api', ip = '10.96.0.1' } = {},
): string =>
  `kind: Service\nmetadata: { name: ${name}, namespace: ${namespace}, labels: { ${labels} } }\nspec: { clusterIP: ${ip}, selector: { app: ${app} }, ports: ${ports} }\n`;
export const waypointText = (namespace = 'bank'): string =>
  `apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: { name: wp, namespace: ${namespace} }\nspec: { gatewayClassName: weft-waypoint, listeners: [{ name: mesh, port: 15008, protocol: HBONE }] }\n`;

export const compilerOf = (texts: readonly string[]): Compiler => {
  const parsed = texts.map((text) => parseManifests('x', text));
  return compile(
    parsed.flatMap(({ objects, closed }) => [...objects, ...closed]),
    { trustDomain: domain, rootsVersion: '' },
  );
};
export const servicePoliciesOf = (compiler: Compiler): ServicePolicy[] =>
  [...compiler.all()].flatMap((one) => (one.kind === 'servicePolicy' ? [one.value] : []));
/** The filters for tokens by port of the Service `api`. */
export const jwtFilters = (compiler: Compiler): Record<number, JwtFilter[]> =>
  Object.fromEntries(
    servicePoliciesOf(compiler).map(({ port, filters = [] }) => [
      port,
      filters.flatMap((one) => (one.$case === 'jwt' ? [one.value] : [])),
    ]),
  );

export interface AskedPod {
  readonly port?: number;
  /** Of a valid token. */
  readonly claims?: Claims;
  readonly headers?: Readonly<Record<string, string>>;
  readonly path?: string;
  readonly isRaw?: true;
}
const httpOf = ({ claims, headers = {}, path = '/' }: AskedPod): HttpAttributes => ({
  ...requestOf(path, { header: (name) => headers[name], hasParameter: (name) => hasParameter(path, name) }),
  claims,
});
/** What the policies of a pod decide about a request that a waypoint has read, or about a connection. */
export const atPodOf = (
  { view, workload }: InForce,
  asked: AskedPod,
  namespace = 'bank',
  name = 'api',
): Verdict =>
  authorize(view.policiesFor(workload(namespace, name)), {
    identity: parseSpiffeId('spiffe://cluster.local/ns/shop/sa/web'),
    sourceIp: parseIp('10.0.0.1'),
    destinationIp: parseIp('10.0.0.2'),
    destinationPort: asked.port ?? 8080,
    ...(asked.isRaw ? {} : { http: httpOf(asked) }),
  });
