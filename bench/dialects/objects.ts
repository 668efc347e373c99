/** A mesh of many Services, each with a VirtualService, half of them with a DestinationRule: as the files of a large Istio installation. */
import type { MeshObject } from '../../control/objects/objects.js';
import { readObject } from '../../control/source/validate.js';
import { pickFields } from '../../control/kinds/kinds.js';
import { WeftError } from '../../src/base/errors.js';

const servicesPerNamespace = 250;

export interface Size {
  readonly virtualServices: number;
  readonly destinationRules: number;
}

interface Name {
  readonly namespace: string;
  readonly name: string;
}

const subsets = ['v1', 'v2'];
const nameOf = (at: number): Name => ({
  namespace: `ns-${Math.floor(at / servicesPerNamespace)}`,
  name: `svc-${at}`,
});

/**
 * @param weight of the subset v2, in percent
 * @param user of the first match
 */
export const virtualService = (at: number, weight: number, hasSubsets: boolean, user?: string): object =>
  virtualServiceOf(nameOf(at), weight, hasSubsets, user);

/** The VirtualService of the Service of this name. @param weight of the subset v2, in percent */
export const virtualServiceOf = (
  { namespace, name }: Name,
  weight: number,
  hasSubsets: boolean,
  user = 'beta-tester',
): object => {
  const destination = (subset: string): object => ({ host: name, ...(hasSubsets ? { subset } : {}) });
  return {
    apiVersion: 'networking.istio.io/v1',
    kind: 'VirtualService',
    metadata: { name, namespace },
    spec: {
      hosts: [name],
      http: [
        {
          match: [{ headers: { 'x-user-type': { exact: user } } }, { uri: { prefix: '/beta' } }],
          route: [{ destination: destination('v2') }],
        },
        {
          route: hasSubsets
            ? [
                { destination: destination('v1'), weight: 100 - weight },
                { destination: destination('v2'), weight },
              ]
            : [{ destination: destination('') }],
          timeout: '10s',
          retries: { attempts: 2, perTryTimeout: '2s', retryOn: '5xx,reset' },
        },
      ],
    },
  };
};

/** The DestinationRule of the Service of this name. */
export const destinationRuleOf = ({ namespace, name }: Name): object => {
  return {
    apiVersion: 'networking.istio.io/v1',
    kind: 'DestinationRule',
    metadata: { name, namespace },
    spec: {
      host: name,
      trafficPolicy: {
        connectionPool: { tcp: { maxConnections: 100 }, http: { http1MaxPendingRequests: 50 } },
        outlierDetection: { consecutive5xxErrors: 5, interval: '30s', baseEjectionTime: '30s' },
      },
      subsets: subsets.map((name) => ({ name, labels: { version: name } })),
    },
  };
};

/** One Service with a pod of each subset. */
function serviceWithPods(at: number): object[] {
  const { namespace, name } = nameOf(at);
  const ip = (part: number): string => `10.${part + (at >> 16)}.${(at >> 8) & 255}.${at & 255}`;
  return [
    {
      kind: 'Service',
      metadata: { name, namespace },
      spec: {
        selector: { app: name },
        clusterIP: ip(96),
        ports: [{ name: 'http', port: 80, targetPort: 8080, appProtocol: 'http' }],
      },
    },
    ...subsets.map((version, i) => ({
      kind: 'Pod',
      metadata: { name: `${name}-${version}`, namespace, labels: { app: name, version } },
      spec: { nodeName: `node-${at % 100}`, serviceAccountName: name },
      status: { podIPs: [{ ip: ip(i + 1) }], conditions: [{ type: 'Ready', status: 'True' }] },
    })),
  ];
}

/** A Namespace and its waypoint. */
const namespaceWithWaypoint = (name: string): object[] => [
  {
    kind: 'Namespace',
    metadata: { name, labels: { 'weft.dev/mesh': 'enabled', 'weft.dev/waypoint': 'wp' } },
  },
  {
    kind: 'Gateway',
    metadata: { name: 'wp', namespace: name },
    spec: {
      gatewayClassName: 'weft-waypoint',
      listeners: [{ name: 'mesh', port: 15008, protocol: 'HBONE' }],
    },
  },
];

/** The objects as the API server would send them. */
export function* objectsOf({ virtualServices, destinationRules }: Size): Generator<object> {
  for (let at = 0; at < virtualServices; at++) {
    if (at % servicesPerNamespace === 0) yield* namespaceWithWaypoint(nameOf(at).namespace);
    yield* serviceWithPods(at);
    const hasRule = at < destinationRules;
    if (hasRule) yield destinationRuleOf(nameOf(at));
    yield virtualService(at, 10, hasRule);
  }
}

/** The object as it enters the registry: validated by its schema. Throws if it is not accepted. */
export function accepted(raw: object): MeshObject {
  const { kind } = raw as { readonly kind: MeshObject['kind'] };
  const picked = pickFields(kind, raw);
  const { object, problem } = picked ? readObject(picked) : { object: undefined, problem: 'left out' };
  if (!object || problem !== undefined) throw new WeftError('WEFT_START', `${kind} of the bench: ${problem}`);
  return object;
}
