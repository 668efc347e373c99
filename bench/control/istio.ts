/**
 * Istio's objects of the control bench: a waypoint in each namespace, a VirtualService and a DestinationRule for each Service of the first ones, as
 * many as are asked for. A change of a VirtualService is followed to every waypoint: each has all routes, for what its clients may call.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { projectRoot } from '../../native/index.js';
import { gatewayKinds } from '../../test/support/cluster.js';
import { destinationRuleOf, virtualServiceOf } from '../dialects/objects.js';
import { each, type Call } from './api.js';

export const waypointName = 'wp';
const group = '/apis/networking.istio.io/v1/namespaces';

/** The CRDs that Istio publishes, those of the Gateway API, as objects. */
export async function istioKinds(): Promise<object[]> {
  const kinds = await gatewayKinds();
  const gateway = ['gatewayclasses', 'gateways'].map((plural) =>
    join(kinds, `gateway.networking.k8s.io_${plural}.yaml`),
  );
  const istio = join(projectRoot, 'daemonset', 'chart', 'files', 'istio-crds.yaml');
  return [...gateway, istio].flatMap((file) =>
    parseAllDocuments(readFileSync(file, 'utf8')).flatMap((one) => (one.toJS() as object | null) ?? []),
  );
}

/** Writes the Gateways of the waypoints. @param waypoints namespaces, each with a waypoint */
export async function writeWaypoints(call: Call, waypoints: readonly string[]): Promise<void> {
  for (const namespace of waypoints)
    await call('POST', `/apis/gateway.networking.k8s.io/v1/namespaces/${namespace}/gateways`, {
      apiVersion: 'gateway.networking.k8s.io/v1',
      kind: 'Gateway',
      metadata: { name: waypointName, namespace },
      spec: {
        gatewayClassName: 'weft-waypoint',
        listeners: [{ name: 'mesh', port: 15008, protocol: 'HBONE' }],
      },
    });
}

export interface IstioSize {
  readonly virtualServices: number;
  readonly destinationRules: number;
}
type NameOf = (service: number) => { readonly namespace: string; readonly name: string };

/** Writes the objects of the first Services. @param nameOf the namespace and name of a Service by its number */
export async function writeIstioObjects(
  call: Call,
  { virtualServices, destinationRules }: IstioSize,
  atOnce: number,
  nameOf: NameOf,
): Promise<void> {
  // First the rules: a VirtualService that names a subset is closed until there is one.
  await each(destinationRules, atOnce, (i) =>
    call('POST', `${group}/${nameOf(i).namespace}/destinationrules`, destinationRuleOf(nameOf(i))),
  );
  await each(virtualServices, atOnce, (i) =>
    call(
      'POST',
      `${group}/${nameOf(i).namespace}/virtualservices`,
      virtualServiceOf(nameOf(i), 10, i < destinationRules),
    ),
  );
}

/** Writes the time into the first condition of a VirtualService. */
export function stampVirtualService(call: Call, service: number, nameOf: NameOf): Promise<unknown> {
  const { namespace, name } = nameOf(service);
  const path = '/spec/http/0/match/0/headers/x-user-type/exact';
  return call(
    'PATCH',
    `${group}/${namespace}/virtualservices/${name}`,
    [{ op: 'replace', path, value: `t${Date.now()}` }],
    'application/json-patch+json',
  );
}
