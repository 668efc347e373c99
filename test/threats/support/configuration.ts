/** Manifests as they are in force, for tests of what a configuration does and must not do. */
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

/** What a node and a waypoint are told, after it was on the wire. */
export interface InForce {
  readonly view: MeshState;
  readonly routes: readonly Route[];
  readonly workload: (namespace: string, name: string) => Workload;
}

/** `texts`: manifests, of which those that cannot be read are taken as the API server's would be. */
export function inForce(texts: readonly string[], more: Partial<CompileSettings> = {}): InForce {
  const objects = texts.flatMap((text): MeshObject[] => {
    const parsed = parseManifests('x', text);
    return [...parsed.objects, ...parsed.closed];
  });
  return inForceOf(objects, more);
}
/** Of objects with any content, as an API server has them. */
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

/** What a waypoint knows of a request of this target. Errors: TargetError, where it refuses it itself. */
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
