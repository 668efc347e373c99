/**
 * Allow-list of the fields that a Gateway's parameters and infrastructure may set on a waypoint. The control plane creates the waypoint with
 * rights that the author of the ConfigMap need not have, and the mesh trusts what runs there. So parameters set size, placement, replicas and
 * labels, but not the code that runs, its account or its rights. Pure.
 */
import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv';
import { parseDocument } from 'yaml';
import type { GatewayObject } from '../objects/objects.js';
import { isObject, type Json, type JsonObject } from './overlay.js';

export const parameterKinds = ['serviceAccount', 'service', 'deployment', 'horizontalPodAutoscaler'] as const;
export type ParameterKind = (typeof parameterKinds)[number];
export type Overlays = Partial<Record<ParameterKind, JsonObject>>;

/** Limit per ConfigMap. It is parsed on the control plane's only thread, which takes about 10 ms per 1000 characters of the worst input. */
export const parametersCharsMax = 8_192;
export const replicasMax = 100;
const aliasesMax = 20;
/**
 * Allowed prefixes of labels and annotations: only autoscalers and metrics scrapers act on them. Other prefixes trigger meshes, CNIs,
 * injectors of containers and code, and clouds that hand out identities.
 */
const freePrefixes = [
  'app.kubernetes.io',
  'cluster-autoscaler.kubernetes.io',
  'karpenter.sh',
  'prometheus.io',
];
/** Azure's pod identity uses a label without a prefix. */
const reservedKey = 'aadpodidbinding';
/** Allowed environment variables: they change neither the code, nor trust, nor the connections of the process. */
const freeEnvironment = ['MALLOC_ARENA_MAX', 'TZ', 'UV_THREADPOOL_SIZE'];

const object = (properties: object, more: object = {}) => ({
  type: 'object',
  additionalProperties: false,
  properties,
  ...more,
});
/** `null` removes the rendered field. */
const optional = (properties: object) => ({ ...object(properties), type: ['object', 'null'] });
const list = (items: object) => ({ type: 'array', maxItems: 64, items });
const text = { type: 'string', maxLength: 1024 };
const count = (minimum: number, maximum: number) => ({ type: 'integer', minimum, maximum });
const amount = { type: ['string', 'number', 'null'] };
const amounts = optional({ cpu: amount, memory: amount, 'ephemeral-storage': amount });
const share = { type: ['integer', 'string'] };
const texts = { type: 'object', additionalProperties: text };
const selector = object({
  matchLabels: texts,
  matchExpressions: list(object({ key: text, operator: text, values: list(text) })),
});

const nodeTerm = object({
  matchExpressions: list(object({ key: text, operator: text, values: list(text) })),
  matchFields: list(object({ key: text, operator: text, values: list(text) })),
});
// namespaces and namespaceSelector are not allowed: an anti-affinity term for pods of other namespaces would keep those pods off nodes.
const podTerm = object({
  labelSelector: selector,
  topologyKey: text,
  matchLabelKeys: list(text),
  mismatchLabelKeys: list(text),
});
const weighted = (field: string, term: object) => list(object({ weight: count(1, 100), [field]: term }));
const podTerms = object({
  requiredDuringSchedulingIgnoredDuringExecution: list(podTerm),
  preferredDuringSchedulingIgnoredDuringExecution: weighted('podAffinityTerm', podTerm),
});
const affinity = object({
  nodeAffinity: object({
    requiredDuringSchedulingIgnoredDuringExecution: object({ nodeSelectorTerms: list(nodeTerm) }),
    preferredDuringSchedulingIgnoredDuringExecution: weighted('preference', nodeTerm),
  }),
  podAffinity: podTerms,
  podAntiAffinity: podTerms,
});
const placement = {
  nodeSelector: texts,
  affinity,
  tolerations: list(
    object({ key: text, operator: text, value: text, effect: text, tolerationSeconds: { type: 'integer' } }),
  ),
  topologySpreadConstraints: {
    ...list(
      object({
        maxSkew: { type: 'integer' },
        minDomains: { type: 'integer' },
        topologyKey: text,
        whenUnsatisfiable: text,
        labelSelector: selector,
        matchLabelKeys: list(text),
        nodeAffinityPolicy: text,
        nodeTaintsPolicy: text,
        $patch: { const: 'delete' },
      }),
    ),
    type: ['array', 'null'],
  },
  // The system- classes are for pods that a node or the cluster cannot do without.
  priorityClassName: { type: 'string', pattern: '^(?!system-)' },
};
const container = object(
  {
    name: { const: 'waypoint' },
    resources: optional({ requests: amounts, limits: amounts }),
    env: list(object({ name: { enum: freeEnvironment }, value: text }, { required: ['name', 'value'] })),
  },
  // A list whose items have no names replaces the rendered list.
  { required: ['name'] },
);

function schemasOf(metadataKey: string): Readonly<Record<ParameterKind | 'keys', object>> {
  const keys = {
    type: 'object',
    maxProperties: 64,
    propertyNames: { pattern: metadataKey },
    additionalProperties: { type: ['string', 'null'], maxLength: 4096 },
  };
  const metadata = object({ labels: keys, annotations: keys });
  return {
    keys,
    serviceAccount: object({ metadata }),
    service: object({
      metadata,
      spec: object({
        trafficDistribution: text,
        internalTrafficPolicy: { enum: ['Cluster', 'Local'] },
        ipFamilies: list({ enum: ['IPv4', 'IPv6'] }),
        ipFamilyPolicy: { enum: ['SingleStack', 'PreferDualStack', 'RequireDualStack'] },
      }),
    }),
    deployment: object({
      metadata,
      spec: object({
        replicas: { ...count(0, replicasMax), type: ['integer', 'null'] },
        minReadySeconds: count(0, 3600),
        revisionHistoryLimit: count(0, 100),
        progressDeadlineSeconds: count(1, 86_400),
        strategy: optional({
          type: { enum: ['RollingUpdate', 'Recreate'] },
          rollingUpdate: optional({ maxSurge: share, maxUnavailable: share }),
        }),
        template: object({ metadata, spec: object({ ...placement, containers: list(container) }) }),
      }),
    }),
    horizontalPodAutoscaler: object({
      metadata,
      spec: object({
        minReplicas: count(1, replicasMax),
        maxReplicas: count(1, replicasMax),
        metrics: list({ type: 'object' }),
        behavior: { type: 'object' },
      }),
    }),
  };
}

const escaped = (literal: string): string => literal.replaceAll('.', '\\.');
/** Pattern of allowed label and annotation keys: no prefix, or one of `prefixes`. */
const keyPattern = (prefixes: readonly string[]): string =>
  `^(?!${reservedKey}$)((${prefixes.map(escaped).join('|')})/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$`;

type Validators = Readonly<Record<ParameterKind | 'keys', ValidateFunction>>;
const known = new Map<string, Validators>();
function validatorsOf(morePrefixes: readonly string[]): Validators {
  const pattern = keyPattern([...freePrefixes, ...morePrefixes]);
  let found = known.get(pattern);
  if (!found) {
    // Without allErrors: validation stops at the first error, so an input with many errors costs no more than one.
    const ajv = new Ajv({ strict: false });
    found = Object.fromEntries(
      Object.entries(schemasOf(pattern)).map(([name, schema]) => [name, ajv.compile(schema)]),
    ) as Validators;
    known.set(pattern, found);
  }
  return found;
}

const join = (at: string, field = ''): string => [at, field].filter((part) => part !== '').join('.');

/** Names the field and the problem, without the value: readers of a Gateway's status may have no right to read its ConfigMap. */
function faultOf(errors: readonly ErrorObject[], morePrefixes: readonly string[]): string {
  const error = errors.find(({ keyword }) => keyword === 'propertyNames') ?? errors[0];
  if (!error) return 'it is refused';
  const at = error.instancePath.slice(1).replaceAll('/', '.').replaceAll('~1', '/').replaceAll('~0', '~');
  const params = error.params as Readonly<Record<string, unknown>>;
  switch (error.keyword) {
    case 'additionalProperties':
      return `${join(at, String(params['additionalProperty']))} may not be set: docs/kubernetes.md lists the allowed fields`;
    case 'propertyNames':
      return `${join(at, String(params['propertyName']))} may not be set: allowed are keys without a prefix and keys with one of the prefixes ${[...freePrefixes, ...morePrefixes].join(', ')}`;
    case 'enum':
      return `${at} must be one of ${(params['allowedValues'] as readonly string[]).join(', ')}`;
    default:
      return `${join(at)} ${error.message ?? 'is refused'}`;
  }
}

/** Undefined if the text cannot be parsed. The parser's messages are dropped, as they quote the text. */
function parsed(source: string): Json | undefined {
  try {
    const document = parseDocument(source, { prettyErrors: false, logLevel: 'silent' });
    return document.errors.length > 0 ? undefined : (document.toJS({ maxAliasCount: aliasesMax }) as Json);
  } catch {
    // Nested too deeply, or too many aliases.
    return undefined;
  }
}

/**
 * Parses a ConfigMap's overlays. Returns a message for people if a key or field is refused.
 * @param parameters the ConfigMap's data
 * @param morePrefixes further prefixes of labels and annotations that the cluster's operator allows
 */
export function overlaysOf(
  parameters: Readonly<Record<string, string>>,
  morePrefixes: readonly string[],
): Overlays | string {
  const size = Object.entries(parameters).reduce((sum, [key, value]) => sum + key.length + value.length, 0);
  if (size > parametersCharsMax) return `it has more than ${parametersCharsMax} characters`;
  const overlays: Overlays = {};
  for (const [key, source] of Object.entries(parameters)) {
    const kind = parameterKinds.find((one) => one === key);
    if (!kind) return `${key} is not one of ${parameterKinds.join(', ')}`;
    const value = parsed(source);
    if (value === undefined) return `${key}: it is not valid YAML, or nested too deeply`;
    if (value !== null && !isObject(value)) return `${key} is not a YAML object`;
    const validate = validatorsOf(morePrefixes)[kind];
    if (value !== null && !validate(value)) return `${key}: ${faultOf(validate.errors ?? [], morePrefixes)}`;
    overlays[kind] = value ?? {};
  }
  return overlays;
}

/** Why a Gateway's `spec.infrastructure` is refused, for people. Undefined if it is accepted. */
export function infrastructureFault(
  gateway: GatewayObject,
  morePrefixes: readonly string[],
): string | undefined {
  const { infrastructure = {} } = gateway.spec;
  const validate = validatorsOf(morePrefixes).keys;
  for (const field of ['labels', 'annotations'] as const) {
    if (!validate(infrastructure[field] ?? {}))
      return `spec.infrastructure.${field}: ${faultOf(validate.errors ?? [], morePrefixes)}`;
  }
  return undefined;
}
