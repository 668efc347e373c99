/** The variants on a cluster, and the values of bench/chart for each. */
import { WeftError } from '../../src/base/errors.js';
import { parseSpiffeId } from '../../src/model/identity.js';
import { issuer } from '../peers/issuer.js';
import { sidecarConfig } from '../peers/sidecar.js';
import { kinds } from '../mesh/variants.js';
import type { Placement, Variant } from '../result/result.js';
import { ports, weftMetricsPort } from './plan.js';

export interface ClusterVariant extends Variant {
  /** Namespace of the release. Two variants with the same namespace are the same pods measured twice. */
  readonly namespace: string;
  readonly placements: readonly Placement[];
  readonly needs: 'nothing' | 'weft' | 'waypoints';
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly sidecar: boolean;
  readonly waypoint: boolean;
}

export const namespacePrefix = 'weft-bench-';
/** Label of all namespaces of the bench. It identifies those that an earlier run left. */
export const namespaceLabel = 'weft.dev/bench';

const outside = {
  labels: {
    'weft.dev/mesh': 'disabled',
    'istio.io/dataplane-mode': 'none',
    'sidecar.istio.io/inject': 'false',
  },
  annotations: { 'linkerd.io/inject': 'disabled' },
} as const;
const inside = {
  labels: { 'weft.dev/mesh': 'enabled', 'sidecar.istio.io/inject': 'false' },
  annotations: {
    'linkerd.io/inject': 'disabled',
    // The meter must not be part of the measured traffic.
    'weft.dev/exclude-inbound-ports': String(ports.meter),
    'weft.dev/exclude-outbound-ports': `${ports.meter},${weftMetricsPort}`,
  },
} as const;

const splicedAnnotation = { 'weft.dev/splice': 'on' };
const encryptedAnnotation = { 'weft.dev/same-node': 'encrypted' };

/** The variants of one machine that the chart can install, with their differences from `inside` or `outside`. */
const particular: Readonly<Record<string, Partial<ClusterVariant>>> = {
  none: {},
  'none-again': { namespace: `${namespacePrefix}none` },
  sidecar: { sidecar: true },
  weft: {},
  'weft-spliced': { annotations: { ...inside.annotations, ...splicedAnnotation } },
  'weft-encrypted': { annotations: { ...inside.annotations, ...encryptedAnnotation } },
  'weft-waypoint': { waypoint: true, needs: 'waypoints' },
};

/** Proxies of other meshes are left out: the chart cannot install them, and plain pods would be measured under their name. */
export const variants: readonly ClusterVariant[] = kinds
  .filter(({ name }) => name in particular)
  .map(({ name, title, kind, about, placements }): ClusterVariant => ({
    name,
    title,
    kind,
    about,
    placements,
    namespace: `${namespacePrefix}${name}`,
    sidecar: false,
    waypoint: false,
    ...(kind === 'weft' ? { ...inside, needs: 'weft' } : { ...outside, needs: 'nothing' }),
    ...particular[name],
  }));

/** Variants of one machine that the chart cannot install. */
export const notOnClusters: readonly string[] = kinds
  .map(({ name }) => name)
  .filter((name) => !(name in particular));

/** The variants with these names, in the order above, and no mesh twice, as divisor and as noise. Throws WEFT_BENCH_VARIANT. */
export function chosenVariants(names: readonly string[] | undefined): readonly ClusterVariant[] {
  const unknown = names?.find((name) => !variants.some((one) => one.name === name));
  if (unknown !== undefined) {
    const known = variants.map(({ name }) => name).join(', ');
    throw new WeftError('WEFT_BENCH_VARIANT', `there is no variant ${unknown}; there are ${known}`);
  }
  return variants.filter(
    ({ name, kind }) => names === undefined || kind === 'none' || kind === 'noise' || names.includes(name),
  );
}

const mounted = '/etc/bench/certificates';
const httpPorts = [ports.http1, ports.http2, ports.grpc];

/** Fresh keys for the two ends of one run. */
function sidecarValues(namespace: string): object {
  const peers = `spiffe://cluster.local/ns/${namespace}/`;
  const issue = issuer();
  const files = (account: string): Record<string, string> => {
    const svid = issue(parseSpiffeId(`${peers}sa/${account}`));
    return { 'chain.pem': svid.chainPem, 'key.pem': svid.keyPem, 'roots.pem': svid.rootsPem };
  };
  const config = sidecarConfig({
    credentials: {
      chainFile: `${mounted}/chain.pem`,
      keyFile: `${mounted}/key.pem`,
      rootsFile: `${mounted}/roots.pem`,
    },
    peers,
    httpPorts,
  });
  return {
    enabled: true,
    config: { client: config, server: config },
    certificates: { client: files('client'), server: files('server') },
  };
}

export interface Nodes {
  readonly client: string;
  /** Placement -> node of the server. */
  readonly servers: Readonly<Record<string, string>>;
}

/** Values of the variant's release. */
export function chartValues(
  { namespace, labels, annotations, sidecar, waypoint }: ClusterVariant,
  image: string,
  nodes: Nodes,
): object {
  return {
    image: { name: image },
    pods: { labels, annotations },
    nodes,
    waypoint: { enabled: waypoint },
    ...(sidecar ? { sidecar: sidecarValues(namespace) } : {}),
  };
}

/** Labels of the variant's namespace. Weft runs in strict mode, since the sidecars accept no plaintext either. */
export const namespaceLabels = (variant: ClusterVariant): Readonly<Record<string, string>> => ({
  [namespaceLabel]: variant.name,
  'app.kubernetes.io/part-of': 'weft-bench',
  'pod-security.kubernetes.io/enforce': podSecurityOf(variant),
  ...(variant.kind === 'weft' ? { 'weft.dev/mode': 'strict' } : {}),
});

/** The strictest Pod Security level that admits the variant's pods. Redirection for a sidecar needs a capability. */
const podSecurityOf = ({ sidecar }: ClusterVariant): string => (sidecar ? 'privileged' : 'restricted');
