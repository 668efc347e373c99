/** Compiles manifests to the configuration in force, for tests of its effects. */
import { compile } from '../../../control/compile/compile.js';
import type { CompileSettings } from '../../../control/compile/settings.js';
import type { MeshObject } from '../../../control/objects/objects.js';
import { parseManifests } from '../../../control/source/parse.js';
import { readObject } from '../../../control/source/validate.js';
import { parseIp } from '../../../src/model/address.js';
import { parseSpiffeId } from '../../../src/model/identity.js';
import type { AuthorizationPolicy } from '../../../src/model/policy.js';
import type { Route } from '../../../src/model/route.js';
import type { Workload } from '../../../src/model/workload.js';
import { authorize, type HttpAttributes } from '../../../src/policy/authorize.js';
import { pathOf, readingsOf } from '../../../src/policy/path.js';
import { MeshState } from '../../../src/state/store.js';
import { parseTarget } from '../../../src/waypoint/http/target.js';
import { domain } from '../../support/mesh.js';
import { routesOf, updateOf } from './compiled.js';

/** The resources of a node and a waypoint, after encoding and decoding. */
export interface InForce {
  readonly view: MeshState;
  readonly routes: readonly Route[];
  readonly workload: (namespace: string, name: string) => Workload;
}

/** `texts`: manifests. Objects that cannot be read take their closed forms, as from the API server. */
export function inForce(texts: readonly string[], more: Partial<CompileSettings> = {}): InForce {
  const objects = texts.flatMap((text): MeshObject[] => {
    const parsed = parseManifests('x', text);
    return [...parsed.objects, ...parsed.closed];
  });
  return inForceOf(objects, more);
}
/** As {@link inForce}, from objects with any content, as an API server has them. */
export function inForceOf(objects: readonly object[], more: Partial<CompileSettings> = {}): InForce {
  const known = objects.flatMap((object) => readObject(object as MeshObject).object ?? []);
  const settings = { trustDomain: domain, rootsVersion: '', ...more };
  const compiler = compile(known, settings);
  const update = updateOf(compiler);
  const view = new MeshState();
  view.apply(update);
  return {
    view,
    routes: routesOf(compiler),
    workload: (namespace, name) => {
      const found = update.workloads?.find((one) => one.namespace === namespace && one.name === name);
      if (!found) throw new Error(`no workload ${namespace}/${name}`);
      return found;
    },
  };
}

/** The HTTP attributes of a request with this target. Error: TargetError, the waypoint refuses the target. */
export const requestOf = (target: string, more: Partial<HttpAttributes> = {}): HttpAttributes => ({
  method: 'GET',
  host: 'api.bank',
  paths: readingsOf(pathOf(parseTarget('GET', target, 'api.bank').path)),
  header: () => undefined,
  ...more,
});

export const mayConnect = (
  policies: readonly AuthorizationPolicy[],
  http?: HttpAttributes,
  identity = 'spiffe://cluster.local/ns/shop/sa/web',
) =>
  authorize(policies, {
    identity: parseSpiffeId(identity),
    sourceIp: parseIp('10.0.0.1'),
    destinationIp: parseIp('10.0.0.2'),
    destinationPort: 80,
    ...(http ? { http } : {}),
  });

export const policyText = (namespace: string, name: string, spec: string): string =>
  `apiVersion: weft.dev/v1alpha1\nkind: AccessPolicy\nmetadata: { name: ${name}, namespace: ${namespace} }\nspec: ${spec}\n`;
export const podText = (namespace: string, name: string, ip: string): string =>
  `kind: Pod\nmetadata: { name: ${name}, namespace: ${namespace}, labels: { app: ${name}, weft.dev/mesh: enabled } }
spec: { nodeName: n }\nstatus: { podIPs: [{ ip: ${ip} }] }\n`;
