/** Evaluates the cases of a policy test. Pure. */
import { parseIp, type IpAddress } from '../../model/address.js';
import { parseSpiffeId, spiffeIdOf, type SpiffeId } from '../../model/identity.js';
import { errorText } from '../../base/errors.js';
import type { HttpAttributes } from '../../policy/authorize.js';
import { normalizeAuthority } from '../../policy/host.js';
import { normalizePath, pathOf, readingsOf } from '../../policy/path.js';
import { hasParameter } from '../../waypoint/authorization/request-attributes.js';
import { worst, type Caller, type Decision, type PolicyMesh } from './policy-mesh.js';
import type { PolicyTestCase, PolicyTestFrom, PolicyTestRequest } from './test-file.js';
import { anywhere } from './variants.js';

export interface CaseResult {
  readonly name: string;
  readonly expected: 'allow' | 'deny';
  readonly got: 'allow' | 'deny' | 'error';
  readonly passed: boolean;
  readonly by: Decision['by'] | '';
  readonly policy: string;
  readonly rule: number | undefined;
  readonly why: string;
  readonly audited: readonly string[];
}

function callerOf(mesh: PolicyMesh, from: PolicyTestFrom): Caller {
  const { namespace, serviceAccount, identity: given, ip } = from;
  let identity: SpiffeId | undefined;
  if (given !== undefined) identity = parseSpiffeId(given);
  else if (namespace !== undefined && serviceAccount !== undefined)
    identity = spiffeIdOf({ trustDomain: mesh.snapshot.trustDomain, namespace, serviceAccount });
  return { identity, ip: ip === undefined ? (addressOf(mesh, identity) ?? anywhere) : parseIp(ip) };
}

const addressOf = ({ snapshot }: PolicyMesh, identity: SpiffeId | undefined): IpAddress | undefined =>
  identity && (snapshot.mesh.workloads ?? []).find((one) => one.identity === identity)?.addresses[0];

/** The attributes of a request as a waypoint reads them. Throws if a waypoint would refuse the request as malformed. */
function attributesOfRequest(request: PolicyTestRequest, host: string): HttpAttributes {
  const path = normalizePath(request.path ?? '/');
  const authority = normalizeAuthority(request.host ?? host);
  const headers = new Map(
    Object.entries(request.headers ?? {}).map(([name, value]) => [name.toLowerCase(), value]),
  );
  return {
    method: request.method ?? 'GET',
    host: authority.replace(/:\d*$/, ''),
    paths: readingsOf(pathOf(path)),
    header: (name) => (name === 'host' ? authority : headers.get(name)),
    hasParameter: (name) => hasParameter(path, name),
  };
}

const slashed = (name: string): readonly [string, string] => {
  const at = name.indexOf('/');
  return [name.slice(0, at), name.slice(at + 1)];
};

function decide(mesh: PolicyMesh, { from, to, request, sni }: PolicyTestCase): Decision {
  const caller = callerOf(mesh, from);
  if (request && sni !== undefined)
    throw new Error('sni: a waypoint reads either TLS or requests of a connection: give sni or request');
  const serverName = sni?.toLowerCase();
  if (to.service !== undefined) {
    const [namespace, name] = slashed(to.service);
    const service = mesh.serviceNamed(namespace, name);
    if (!service) throw new Error(`to.service: the manifests have no Service ${to.service}`);
    if (!service.ports.some(({ servicePort }) => servicePort === to.port))
      throw new Error(
        `to.port: Service ${to.service} has no port ${to.port}: it has ${service.ports.map(({ servicePort }) => servicePort).join(', ')}`,
      );
    const http = request && attributesOfRequest(request, service.hostname);
    const decision = worst(
      mesh
        .endpointsOf(service, to.port)
        .map((one) => mesh.decide(caller, one, { service: service.key, port: to.port }, http, serverName)),
    );
    if (!decision) throw new Error(`to.service: no pod of the manifests is behind Service ${to.service}`);
    return decision;
  }
  const [namespace, name] = slashed(to.workload ?? '');
  const http = request && attributesOfRequest(request, name);
  const decision = worst(
    mesh.workloads(namespace, name, name).flatMap((workload) => {
      const [ip] = workload.addresses;
      return ip === undefined
        ? []
        : [mesh.decide(caller, { workload, target: { ip, port: to.port } }, undefined, http, serverName)];
    }),
  );
  if (!decision) throw new Error(`to.workload: the manifests have no pod, Deployment or app ${to.workload}`);
  return decision;
}

const fromText = ({ namespace, serviceAccount, identity, ip }: PolicyTestFrom): string =>
  identity ?? (serviceAccount === undefined ? `plaintext from ${ip}` : `${namespace}/${serviceAccount}`);
const defaultName = ({ from, to, request, sni }: PolicyTestCase): string =>
  `${fromText(from)} -> ${to.service ?? to.workload}:${to.port}${request ? ` ${request.method ?? 'GET'} ${request.path ?? '/'}` : ''}${sni === undefined ? '' : ` SNI ${sni}`}`;

/** Evaluates a case. A case that cannot be evaluated has the result `error`, whatever it expects. */
export function runCase(mesh: PolicyMesh, one: PolicyTestCase): CaseResult {
  const base = { name: one.name ?? defaultName(one), expected: one.expect };
  try {
    const { allowed, by, why, policy = '', rule, audited } = decide(mesh, one);
    const got = allowed ? 'allow' : 'deny';
    // Several ALLOW policies that do not match are named together.
    const isPolicy = one.policy === undefined || policy.split(',').includes(one.policy);
    return {
      ...base,
      got,
      passed: got === one.expect && isPolicy,
      by,
      policy,
      rule,
      why: isPolicy ? why : `${why}; expected policy ${one.policy} to decide`,
      audited,
    };
  } catch (error) {
    const why = errorText(error);
    return { ...base, got: 'error', passed: false, by: '', policy: '', rule: undefined, why, audited: [] };
  }
}
