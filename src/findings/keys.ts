/** Finds labels and annotations without effect: mistyped, on a kind where Weft does not read them, or without a label they need. Pure. */
import { nearest } from '../base/nearest.js';
import { routeIdleKeys } from '../model/idle-settings.js';
import { routeFilterKeys } from '../model/route-annotations.js';
import {
  gatewayPolicyProblems,
  isProtection,
  servicePolicyProblems,
  settingProblems,
} from '../model/object-settings.js';
import { gatewayKeys, waypointFlags } from '../model/waypoint-settings.js';
import { portOfKey, servicePolicyKeys } from '../model/service-policy.js';
import type { Finding } from './finding.js';
import { namespaceOf, type Annotations, type Labels } from '../model/labels.js';
import { nameOf, type Labeled } from './objects.js';

type MemberKind = 'Namespace' | 'Pod' | 'Service';
type AnnotatedKind = 'Gateway' | 'HTTPRoute' | 'GRPCRoute' | 'TLSRoute' | 'TCPRoute';
export type KeyedKind = MemberKind | AnnotatedKind | 'MeshSettings';
/** `spec.ports` is read of Services. */
type Keyed = Labeled & { readonly spec?: unknown };
type Ports = Parameters<typeof servicePolicyProblems>[1];

const weft = 'weft.dev/';
const istio = 'istio.io/';
/** Labels that Weft reads, with the kinds on which it reads them. */
const readOn: Readonly<Record<string, readonly MemberKind[]>> = {
  'weft.dev/mesh': ['Namespace', 'Pod'],
  'weft.dev/mode': ['Namespace', 'Pod'],
  'weft.dev/policy-mode': ['Namespace'],
  'weft.dev/waypoint': ['Namespace', 'Service'],
  'weft.dev/waypoint-namespace': ['Namespace', 'Service'],
  'weft.dev/export': ['Namespace'],
  'weft.dev/golden-signals': ['Namespace'],
  'istio.io/use-waypoint': ['Namespace', 'Service'],
  'istio.io/use-waypoint-namespace': ['Namespace', 'Service'],
};
const waypointKeys = [
  ['weft.dev/waypoint', 'weft.dev/waypoint-namespace'],
  ['istio.io/use-waypoint', 'istio.io/use-waypoint-namespace'],
] as const;

/** Istio labels that Weft reads, and others with similar names, which must not be reported as typing errors. */
const istioRead = ['istio.io/dataplane-mode', 'istio.io/use-waypoint', 'istio.io/use-waypoint-namespace'];
const istioOthers: ReadonlySet<string> = new Set(['istio.io/ingress-use-waypoint', 'istio.io/waypoint-for']);
const dataplaneMode = 'istio.io/dataplane-mode';

interface Problem {
  readonly level: 'warn' | 'fail';
  readonly what: string;
  readonly help: string;
}

function misplaced(kind: MemberKind, labels: Labels): Problem[] {
  return Object.keys(labels).flatMap((key): Problem[] => {
    const kinds = readOn[key];
    if (!kinds || kinds.includes(kind)) return [];
    return [
      {
        // Only a warning for Istio's labels: Istio also reads them on pods, for calls to a pod's address.
        level: isProtection(key) ? 'fail' : 'warn',
        what: `label ${key} is not read on a ${kind}: it has no effect there`,
        help: `put it on a ${kinds.join(' or a ')}`,
      },
    ];
  });
}

/** Settings of Services, which a pod does not have. */
const policyOnPod = (annotations: Annotations): Problem[] =>
  Object.keys(annotations)
    .filter((key) => servicePolicyKeys.includes(portOfKey(key).key))
    .map((key) => ({
      level: 'warn',
      what: `annotation ${key} is not read on a Pod: it has no effect there`,
      help: 'put it on the Service, its Namespace, or the Gateway of its waypoint',
    }));

/** Labels that give a waypoint's namespace without its name. */
function alone(labels: Labels): Problem[] {
  return waypointKeys.flatMap(([name, namespace]): Problem[] =>
    labels[namespace] === undefined || labels[name] !== undefined
      ? []
      : [
          {
            level: 'fail',
            what: `label ${namespace} has no effect without ${name}`,
            help: `add ${name}=NAME, or remove the label`,
          },
        ],
  );
}

function ofIstio(kind: MemberKind, labels: Labels): Problem[] {
  const mode = labels[dataplaneMode];
  const problems: Problem[] = [];
  if (kind !== 'Service' && mode !== undefined && mode !== 'ambient' && mode !== 'none')
    problems.push({
      level: 'fail',
      what: `label ${dataplaneMode}: ${JSON.stringify(mode.slice(0, 64))} is unknown: expected ambient or none; the label is ignored`,
      help: 'correct it',
    });
  for (const key of Object.keys(labels)) {
    if (!key.startsWith(istio) || istioOthers.has(key)) continue;
    const meant = nearest(key, istioRead);
    if (meant === undefined) continue;
    problems.push({
      level: 'fail',
      what: `label ${key} is unknown: did you mean ${meant}? it has no effect`,
      help: 'correct it',
    });
  }
  return problems;
}

/** Annotations that set a waypoint's timeouts, path normalization and filters, by the kinds on which they are read. */
const annotationKeys: Readonly<Record<AnnotatedKind, readonly string[]>> = {
  Gateway: gatewayKeys,
  HTTPRoute: [...routeIdleKeys, ...routeFilterKeys],
  GRPCRoute: [...routeIdleKeys, ...routeFilterKeys],
  TLSRoute: [],
  TCPRoute: [],
};
const isAnnotated = (kind: KeyedKind): kind is AnnotatedKind => Object.hasOwn(annotationKeys, kind);
const article = (kind: AnnotatedKind): string => (kind === 'HTTPRoute' ? 'an' : 'a');

/** Problems of keys, and of values on Gateways. Invalid values on routes are reported in the route's status. */
function annotationProblems(kind: AnnotatedKind, labels: Labels, annotations: Annotations): Problem[] {
  const problem = (what: string): Problem => ({ level: 'warn', what, help: 'correct it or remove it' });
  const ofLabels = Object.keys(labels)
    .filter((key) => gatewayKeys.includes(key))
    .map((key) => problem(`label ${key} is unknown: it is an annotation, not a label; it has no effect`));
  const ofAnnotations = Object.keys(annotations).flatMap((key): Problem[] => {
    if (!key.startsWith(weft) || annotationKeys[kind].includes(key)) return [];
    if (gatewayKeys.includes(key))
      return [problem(`annotation ${key} is not read on ${article(kind)} ${kind}: it has no effect there`)];
    const meant = nearest(key, annotationKeys[kind]);
    return [
      problem(
        `annotation ${key} is unknown${meant === undefined ? '' : `: did you mean ${meant}?`}; it has no effect`,
      ),
    ];
  });
  const values =
    kind === 'Gateway'
      ? [
          ...waypointFlags(annotations).problems,
          ...gatewayPolicyProblems(annotations).map(({ message }) => message),
        ]
      : [];
  return [
    ...values.map((what): Problem => ({ level: 'fail', what, help: 'correct it' })),
    ...ofLabels,
    ...ofAnnotations,
  ];
}

function problemsOf(kind: KeyedKind, { metadata, spec }: Keyed): Problem[] {
  const { labels = {}, annotations = {} } = metadata;
  if (kind === 'MeshSettings')
    return servicePolicyProblems(annotations).map(({ message }) => ({
      level: 'fail',
      what: message,
      help: 'correct it',
    }));
  if (isAnnotated(kind)) return annotationProblems(kind, labels, annotations);
  const own = Object.keys(labels).concat(Object.keys(annotations));
  if (!own.some((key) => key.startsWith(weft) || key.startsWith(istio))) return [];
  const elsewhere = [...misplaced(kind, labels), ...(kind === 'Pod' ? policyOnPod(annotations) : [])];
  const settings = settingProblems(
    { labels, annotations },
    kind === 'Service' ? ((spec as { ports?: Ports } | undefined)?.ports ?? []) : undefined,
  ).map(({ key, message, isProtection: protects }): Problem => ({
    level: protects ? 'fail' : 'warn',
    what: message,
    help: !protects
      ? 'correct it or remove it'
      : servicePolicyKeys.includes(portOfKey(key).key)
        ? 'correct it: the setting is not in force'
        : 'correct it: the protection that it is meant to give is not in force',
  }));
  return [...settings, ...elsewhere, ...alone(labels), ...ofIstio(kind, labels)];
}

/** Findings of objects of one kind. Pods of a namespace with the same problem share one finding, as most are replicas of each other. */
export function keyFindings(kind: KeyedKind, objects: readonly Keyed[]): Finding[] {
  const found = new Map<string, { readonly first: string; readonly problem: Problem; count: number }>();
  for (const object of objects)
    for (const problem of problemsOf(kind, object)) {
      const place =
        kind === 'Pod' ? `${namespaceOf(object)} ${problem.what}` : `${nameOf(kind, object)} ${problem.what}`;
      const known = found.get(place);
      if (known) known.count++;
      else found.set(place, { first: nameOf(kind, object), problem, count: 1 });
    }
  return [...found.values()].map(({ first, problem: { level, what, help }, count }) => ({
    level,
    what: `${first}${count > 1 ? ` and ${count - 1} more` : ''}: ${what}`,
    help,
  }));
}
