/** Findings about objects that are not in force as written: by their conditions, and by labels and annotations that cannot be parsed. */
import type { KubeConfig } from '@kubernetes/client-node';
import type { Finding } from '../../findings/finding.js';
import { keyFindings } from '../../findings/keys.js';
import { enforcedType, enrolledCondition } from '../../model/condition-types.js';
import type { SecretName } from '../../model/client-certificate.js';
import { missingSecrets, secretsOfPolicy, secretsOfRule, type NamingItem } from './client-certificates.js';
import { listAt, type OnUnread } from './list.js';

interface Condition {
  readonly type: string;
  readonly status: string;
  readonly message?: string;
  readonly observedGeneration?: number;
}
interface ControllerStatus {
  readonly controllerName: string;
  readonly conditions?: readonly Condition[];
}
export interface ConfiguredItem {
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly generation?: number;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly spec?: {
    /** Ports of a Service. */
    readonly ports?: readonly { readonly name?: string; readonly port: number }[];
    /** Not of the object: Secrets with client certificates that it names. */
    readonly secrets?: readonly SecretName[];
  };
  readonly status?: {
    readonly conditions?: readonly Condition[];
    readonly parents?: readonly ControllerStatus[];
    /** As `parents`, of a policy. */
    readonly ancestors?: readonly ControllerStatus[];
  };
}

/** `pending`: the object comes into force without an action. */
export interface ConfigurationFinding extends Finding {
  readonly pending?: true;
}

const nameOf = (kind: string, { metadata }: ConfiguredItem): string =>
  `${kind} ${metadata.namespace === undefined ? '' : `${metadata.namespace}/`}${metadata.name}`;

const unenforcedHelp = 'no waypoint enforces it as written';

/** Findings about objects of Weft's own kinds. Pure. */
export function acceptedFindings(kind: string, items: readonly ConfiguredItem[]): Finding[] {
  return items.flatMap((item): Finding[] => {
    const accepted = item.status?.conditions?.find(({ type }) => type === 'Accepted');
    const name = nameOf(kind, item);
    if (accepted?.status === 'False')
      return [
        {
          level: 'fail',
          what: `${name}: ${accepted.message ?? ''}`,
          help: 'it is not in force as written: correct it',
        },
      ];
    // The status of an object of another mesh names the parts that are closed.
    if (accepted?.status === 'True' && accepted.message?.includes(': closed: ') === true)
      return [
        { level: 'warn', what: `${name}: ${accepted.message}`, help: 'a part of it is closed: change it' },
      ];
    const enforced = item.status?.conditions?.find(({ type }) => type === enforcedType);
    if (enforced?.status === 'False')
      return [{ level: 'warn', what: `${name}: ${enforced.message ?? ''}`, help: unenforcedHelp }];
    return accepted?.observedGeneration === item.metadata.generation
      ? []
      : [
          {
            level: 'warn',
            what: `the control plane has not read ${name} yet`,
            help: 'check the Deployment weft-control',
          },
        ];
  });
}

const controllerName = 'weft.dev/waypoint';
/** Findings about routes that are attached to Services, and about policies of the Gateway API. Pure. */
export function routeFindings(kind: string, items: readonly ConfiguredItem[]): Finding[] {
  return items.flatMap((item) => {
    const conditions = (item.status?.parents ?? item.status?.ancestors ?? [])
      .filter((parent) => parent.controllerName === controllerName)
      .flatMap((parent) => parent.conditions ?? []);
    const found = new Map<string, Finding>();
    for (const { type, status, message = '' } of conditions) {
      const isWrong = status === (type === 'PartiallyInvalid' ? 'True' : 'False');
      const isUnenforced = type === enforcedType;
      if (!isWrong || !(wrongTypes.has(type) || isUnenforced) || found.has(message)) continue;
      found.set(message, {
        level: isUnenforced ? 'warn' : 'fail',
        what: `${nameOf(kind, item)}: ${message}`,
        help: isUnenforced ? unenforcedHelp : 'it is not in force as written: correct it',
      });
    }
    return [...found.values()];
  });
}
const wrongTypes: ReadonlySet<string> = new Set(['Accepted', 'ResolvedRefs', 'PartiallyInvalid']);

/** Findings about namespaces in their first enrollment in the mesh, by the condition that the control plane writes. Pure. */
export function enrollmentFindings(items: readonly ConfiguredItem[]): ConfigurationFinding[] {
  return items.flatMap((item): ConfigurationFinding[] => {
    const enrolled = item.status?.conditions?.find(({ type }) => type === enrolledCondition);
    if (enrolled?.status !== 'False') return [];
    const what = `${nameOf('Namespace', item)}: ${enrolled.message ?? ''}`;
    return [{ level: 'warn', what, help: 'if it lasts, check the agents of these nodes', pending: true }];
  });
}

const own = {
  AccessPolicy: 'accesspolicies',
  TrafficPolicy: 'trafficpolicies',
  AuthenticationPolicy: 'authenticationpolicies',
  MeshSettings: 'meshsettings',
  ExternalService: 'externalservices',
  Workload: 'workloads',
} as const;
/** Kinds of Istio that are carried out. A cluster may serve only older versions. */
const istio = {
  'networking.istio.io': {
    VirtualService: 'virtualservices',
    DestinationRule: 'destinationrules',
    ServiceEntry: 'serviceentries',
    WorkloadEntry: 'workloadentries',
    WorkloadGroup: 'workloadgroups',
    Sidecar: 'sidecars',
  },
  'security.istio.io': {
    AuthorizationPolicy: 'authorizationpolicies',
    PeerAuthentication: 'peerauthentications',
    RequestAuthentication: 'requestauthentications',
  },
  'telemetry.istio.io': { Telemetry: 'telemetries' },
} as const;
const istioVersions = ['v1', 'v1beta1', 'v1alpha3', 'v1alpha1'] as const;

const routes = {
  HTTPRoute: 'v1/httproutes',
  GRPCRoute: 'v1/grpcroutes',
  TLSRoute: 'v1/tlsroutes',
  TCPRoute: 'v1alpha2/tcproutes',
} as const;
const routeKinds = Object.keys(routes) as (keyof typeof routes)[];

type SecretsOf = (spec: unknown) => readonly SecretName[];

// Keeps only these fields of each page of objects, so that a large cluster takes little memory.
const list = (
  config: KubeConfig,
  path: string,
  onUnread?: OnUnread,
  secretsOf?: SecretsOf,
): Promise<ConfiguredItem[]> =>
  listAt<ConfiguredItem>(
    config,
    path,
    ({ metadata, spec, status }) => ({
      metadata,
      ...(secretsOf
        ? { spec: { secrets: secretsOf(spec) } }
        : spec?.ports
          ? { spec: { ports: spec.ports } }
          : {}),
      ...(status ? { status } : {}),
    }),
    onUnread,
  );

/** The objects of a kind of Istio, in the newest version that is served and has any. */
async function listIstio(
  config: KubeConfig,
  group: string,
  plural: string,
  onUnread: OnUnread | undefined,
  secretsOf?: SecretsOf,
): Promise<ConfiguredItem[]> {
  for (const version of istioVersions) {
    const items = await list(config, `/apis/${group}/${version}/${plural}`, onUnread, secretsOf);
    if (items.length > 0) return items;
  }
  return [];
}

/** Objects that name Secrets. */
const namingItems = (kind: string, items: readonly ConfiguredItem[]): readonly NamingItem[] =>
  items.flatMap((item) => {
    const { secrets = [] } = item.spec ?? {};
    const namespace = item.metadata.namespace ?? 'default';
    return secrets.length === 0 ? [] : [{ object: nameOf(kind, item), namespace, secrets }];
  });

/** Errors: ApiError. @param onUnread of kinds that this account may not read: there are no findings about them */
export async function configurationFindings(
  config: KubeConfig,
  onUnread?: OnUnread,
): Promise<ConfigurationFinding[]> {
  const findings: ConfigurationFinding[] = [];
  const naming: NamingItem[] = [];
  for (const [kind, plural] of Object.entries(own)) {
    const items = await list(config, `/apis/weft.dev/v1alpha1/${plural}`, onUnread);
    findings.push(...acceptedFindings(kind, items));
    if (kind === 'MeshSettings') findings.push(...keyFindings(kind, items));
  }
  for (const [group, kinds] of Object.entries(istio))
    for (const [kind, plural] of Object.entries(kinds)) {
      const secretsOf = kind === 'DestinationRule' ? secretsOfRule : undefined;
      const items = await listIstio(config, group, plural, onUnread, secretsOf);
      findings.push(...acceptedFindings(kind, items));
      naming.push(...namingItems(kind, items));
    }
  for (const kind of routeKinds) {
    const items = await list(config, `/apis/gateway.networking.k8s.io/${routes[kind]}`, onUnread);
    findings.push(...routeFindings(kind, items), ...keyFindings(kind, items));
  }
  const budgets = '/apis/gateway.networking.x-k8s.io/v1alpha1/xbackendtrafficpolicies';
  findings.push(...routeFindings('XBackendTrafficPolicy', await list(config, budgets, onUnread)));
  const tlsPolicies = '/apis/gateway.networking.k8s.io/v1/backendtlspolicies';
  const tls = await list(config, tlsPolicies, onUnread, secretsOfPolicy);
  findings.push(...routeFindings('BackendTLSPolicy', tls));
  naming.push(...namingItems('BackendTLSPolicy', tls));
  findings.push(...(await missingSecrets(config, naming)));
  const gateways = await list(config, '/apis/gateway.networking.k8s.io/v1/gateways', onUnread);
  findings.push(...keyFindings('Gateway', gateways));
  const namespaces = await list(config, '/api/v1/namespaces', onUnread);
  findings.push(...keyFindings('Namespace', namespaces), ...enrollmentFindings(namespaces));
  findings.push(...keyFindings('Pod', await list(config, '/api/v1/pods', onUnread)));
  findings.push(...keyFindings('Service', await list(config, '/api/v1/services', onUnread)));
  return findings;
}
