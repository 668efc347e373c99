/** Labels and annotations of other meshes on Namespaces, Services, pods and pod templates: what Weft does with each. Pure. */
import { fieldsOf, groupOf, textOf, type Fields, type SourceObject } from './load.js';
import type { MigrateFinding } from './report.js';

const istioClasses: ReadonlySet<string> = new Set(['istio-waypoint', 'istio-remote']);
/** Containers that an injector added to a pod of a live cluster. */
const sidecars: ReadonlySet<string> = new Set(['istio-proxy', 'linkerd-proxy']);

interface Place {
  readonly kind: string;
  readonly labels: Fields;
  readonly annotations: Fields;
}
interface Key extends Place {
  readonly value: string;
}

const works = (message: string): MigrateFinding => ({ result: 'works', message });
const missing = (message: string, instead: string): MigrateFinding => ({
  result: 'missing',
  message,
  instead,
});
const differs = (message: string): MigrateFinding => ({ result: 'differs', message });

/** Whether Weft's labels, or those of Istio that Weft reads, say whether the object is in the mesh. */
const isSet = ({ labels }: Place): boolean =>
  labels['weft.dev/mesh'] !== undefined || labels['istio.io/dataplane-mode'] !== undefined;

const injected = (place: Place): MigrateFinding =>
  isSet(place)
    ? differs(
        'weft.dev/mesh or istio.io/dataplane-mode decides in Weft; remove this one, so that no sidecar is injected any more',
      )
    : missing(
        'Weft does not read it: it has no sidecars',
        place.kind === 'Namespace'
          ? 'the label weft.dev/mesh=enabled'
          : 'the label weft.dev/mesh=enabled of the pod',
      );
const notInjected = (place: Place): MigrateFinding =>
  isSet(place) || place.kind === 'Namespace'
    ? works('pods are outside of the mesh without a label that enrolls them')
    : missing(
        'Weft does not read it: the pod is in the mesh if its Namespace is',
        'the label weft.dev/mesh=disabled of the pod',
      );
const inject = (place: Key): MigrateFinding =>
  ['enabled', 'true', 'ingress'].includes(place.value) ? injected(place) : notInjected(place);

const renamed = (key: string): ((place: Key) => MigrateFinding) => {
  const name = key.slice(key.indexOf(' ') + 1);
  return ({ value, annotations }) =>
    annotations[name] !== undefined
      ? works(`${name} does the same`)
      : missing('Weft does not read it', `the ${key.split(' ')[0]} ${name}: ${JSON.stringify(value)}`);
};
const instead =
  (message: string, ...[other]: [string]) =>
  (): MigrateFinding =>
    missing(message, other);
const noProxy = (): MigrateFinding => differs('pods have no proxy of their own that this would configure');

type Rule = readonly [pattern: RegExp, (place: Key) => MigrateFinding | undefined];

const useWaypoint = ({ kind, value }: Key): MigrateFinding =>
  kind === 'Namespace' || kind === 'Service'
    ? works(`read as weft.dev/waypoint=${value}`)
    : missing(`Weft reads it on a Namespace or a Service, not on a ${kind}`, 'the same label on the Service');

const labelRules: readonly Rule[] = [
  [/^istio-injection$/, inject],
  [/^sidecar\.istio\.io\/inject$/, inject],
  [
    /^istio\.io\/rev$/,
    (place) =>
      place.kind === 'Namespace' || isSet(place)
        ? injected(place)
        : differs('there is one revision of Weft, which the label does not choose'),
  ],
  [
    /^istio\.io\/dataplane-mode$/,
    ({ value, kind }) =>
      value === 'ambient' || value === 'none'
        ? works(`read as weft.dev/mesh=${value === 'ambient' ? 'enabled' : 'disabled'}`)
        : missing(
            `${JSON.stringify(value)} on a ${kind} is none of ambient and none`,
            'the label weft.dev/mesh',
          ),
  ],
  [/^istio\.io\/use-waypoint(-namespace)?$/, useWaypoint],
  [
    /^istio\.io\/waypoint-for$/,
    ({ value }) =>
      value === 'service'
        ? works('waypoints serve Services')
        : differs(
            'a waypoint serves Services, and a pod that is dialed by its address if its Service has the waypoint',
          ),
  ],
  [
    /^istio\.io\/ingress-use-waypoint$/,
    instead(
      'Weft does not read it: connections from an enrolled gateway to a Service with a waypoint always go through the waypoint',
      'enroll the pods of the gateway',
    ),
  ],
];

const ports = (name: string): ((place: Key) => MigrateFinding) => renamed(`annotation ${name}`);

const inboundPolicy = ({ value, kind }: Key): MigrateFinding => {
  if (value === 'all-unauthenticated') return works('it is the default: permissive');
  if (value === 'all-authenticated')
    return missing('Weft does not read it', `the label weft.dev/mode=strict of the ${kind}`);
  if (value === 'deny')
    return missing(
      'Weft does not read it',
      'an AccessPolicy with action ALLOW and no rules, which convert writes',
    );
  if (value === 'audit') return missing('Weft does not read it', 'an AccessPolicy with mode audit');
  return missing(
    'Weft does not read it',
    'an AccessPolicy with the cidrs of the cluster, and weft.dev/mode=strict',
  );
};

const policy = (section: string): ((place: Key) => MigrateFinding) =>
  instead('Weft does not read it', `${section} of a TrafficPolicy, which convert writes`);

const annotationRules: readonly Rule[] = [
  [/^sidecar\.istio\.io\/inject$/, inject],
  [/^linkerd\.io\/inject$/, inject],
  [/^traffic\.sidecar\.istio\.io\/excludeOutboundPorts$/, ports('weft.dev/exclude-outbound-ports')],
  [/^traffic\.sidecar\.istio\.io\/excludeInboundPorts$/, ports('weft.dev/exclude-inbound-ports')],
  [/^traffic\.sidecar\.istio\.io\/excludeOutboundIPRanges$/, ports('weft.dev/exclude-outbound-cidrs')],
  [
    /^traffic\.sidecar\.istio\.io\/include/,
    ({ value }) =>
      value === '*'
        ? works('everything is captured')
        : instead('Weft captures everything that is not excluded', 'the annotations weft.dev/exclude-…')(),
  ],
  [/^(sidecar|proxy|traffic\.sidecar|inject)\.istio\.io\//, noProxy],
  [
    /^networking\.istio\.io\/exportTo$/,
    ({ value }) =>
      value === '*'
        ? works('Services are visible to all namespaces')
        : instead(
            'a Service is visible to all namespaces',
            'an AccessPolicy with the namespaces that may connect',
          )(),
  ],
  [
    /^networking\.istio\.io\/traffic-distribution$/,
    instead('Weft does not read it', 'spec.trafficDistribution of the Service'),
  ],
  [/^config\.linkerd\.io\/skip-outbound-ports$/, ports('weft.dev/exclude-outbound-ports')],
  [/^config\.linkerd\.io\/skip-inbound-ports$/, ports('weft.dev/exclude-inbound-ports')],
  [/^config\.linkerd\.io\/skip-subnets$/, ports('weft.dev/exclude-outbound-cidrs')],
  [
    /^config\.linkerd\.io\/opaque-ports$/,
    () =>
      differs(
        'without a waypoint all ports are opaque; with one, the appProtocol tcp of the Service port makes it opaque',
      ),
  ],
  [/^config\.linkerd\.io\/default-inbound-policy$/, inboundPolicy],
  [/^config\.(alpha|beta)?\.?linkerd\.io\//, noProxy],
  [/^retry\.linkerd\.io\/(http|grpc|limit|timeout)$/, policy('the section retry')],
  [/^timeout\.linkerd\.io\/(request|response|idle)$/, policy('the section timeouts')],
  [/^balancer\.linkerd\.io\/failure-accrual/, policy('the section outlierDetection')],
  [
    /^(viz\.linkerd\.io|linkerd\.io)\/(tap-enabled|created-by|trust-root-sha256|proxy-version)$/,
    () => undefined,
  ],
];

function ruled(rules: readonly Rule[], place: Place, values: Fields): MigrateFinding[] {
  return Object.entries(values).flatMap(([key, given]) => {
    const value = typeof given === 'string' ? given : String(given);
    const rule = rules.find(([pattern]) => pattern.test(key));
    const finding = rule?.[1]({ ...place, value });
    return finding ? [{ ...finding, field: `${key}=${value.slice(0, 64)}` }] : [];
  });
}

/** The metadata of the pods that an object makes, or of a pod; undefined: it makes none. */
export function podMetadata({ kind, apiVersion, value }: SourceObject): Fields | undefined {
  if (kind === 'Pod' && apiVersion === 'v1') return fieldsOf(value['metadata']);
  if (!['apps', 'batch'].includes(groupOf(apiVersion))) return undefined;
  const spec = fieldsOf(value['spec']);
  const job = fieldsOf(fieldsOf(spec['jobTemplate'])['spec']);
  return fieldsOf(fieldsOf(spec['template'] ?? job['template'])['metadata']);
}

/** The labels and annotations that another mesh reads of an object. */
function placesOf(source: SourceObject): readonly Place[] {
  const { kind, apiVersion, value } = source;
  const pod = podMetadata(source);
  const group = groupOf(apiVersion);
  const isRead =
    (group === '' && (kind === 'Namespace' || kind === 'Service')) ||
    /(^|\.)(gateway\.networking\.k8s\.io|linkerd\.io)$/.test(group);
  const metadata = pod ?? (isRead ? fieldsOf(value['metadata']) : undefined);
  if (!metadata) return [];
  return [
    {
      kind: pod ? 'Pod' : kind,
      labels: fieldsOf(metadata['labels']),
      annotations: fieldsOf(metadata['annotations']),
    },
  ];
}

function gatewayFindings({ kind, apiVersion, value }: SourceObject): MigrateFinding[] {
  const { gatewayClassName } = fieldsOf(value['spec']);
  if (kind !== 'Gateway' || groupOf(apiVersion) !== 'gateway.networking.k8s.io') return [];
  if (typeof gatewayClassName === 'string' && istioClasses.has(gatewayClassName))
    return [
      {
        result: 'missing',
        field: 'spec.gatewayClassName',
        message: `${gatewayClassName} is a waypoint of Istio`,
        instead: 'gatewayClassName: weft-waypoint',
      },
    ];
  return gatewayClassName === 'weft-waypoint'
    ? []
    : [
        differs(
          `a gateway of the class ${String(gatewayClassName)} stays with its own controller: enroll its pods, and their connections into the mesh are in it`,
        ),
      ];
}

/** A pod of a live cluster that still has its sidecar. */
function sidecarFindings({ kind, apiVersion, value }: SourceObject): MigrateFinding[] {
  if (kind !== 'Pod' || apiVersion !== 'v1') return [];
  const spec = fieldsOf(value['spec']);
  const containers = ['containers', 'initContainers'].flatMap((field) =>
    Array.isArray(spec[field]) ? (spec[field] as unknown[]) : [],
  );
  const names = containers
    .flatMap((one) => textOf(fieldsOf(one)['name']) ?? [])
    .filter((name) => sidecars.has(name));
  return names.map((name) =>
    missing(
      `it has the sidecar ${name}, which would send what Weft captures once more`,
      'remove the injection from its Namespace or template, then restart it',
    ),
  );
}

/** The findings about labels, annotations, and what an injector added. */
export function settingFindings(source: SourceObject): MigrateFinding[] {
  return [
    ...placesOf(source).flatMap((place) => [
      ...ruled(labelRules, place, place.labels),
      ...ruled(annotationRules, place, place.annotations),
    ]),
    ...gatewayFindings(source),
    ...sidecarFindings(source),
  ];
}
