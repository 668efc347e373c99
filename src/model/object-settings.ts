/**
 * Labels and annotations of namespaces and pods that configure the mesh: their valid values, and what applies in place of an invalid
 * value. The API server rejects the same values (daemonset/chart/templates/validation.yaml). Pure.
 */
import { nearest } from '../base/nearest.js';
import { parseCidr, type Cidr } from './address.js';
import { gatewayIdleKeys } from './idle-settings.js';
import type { Annotations, Labels } from './labels.js';
import { portKeyProblems, portOfKey, servicePolicyKeys, serviceSettingsOf } from './service-policy.js';

const meshLabel = 'weft.dev/mesh';
const modeLabel = 'weft.dev/mode';
/** Of a namespace: `audit` records what its policies would refuse, and refuses nothing by them. */
export const policyModeLabel = 'weft.dev/policy-mode';
/** Of a namespace: `enabled` counts the HTTP/1.1 requests of its pods' connections also where no waypoint is. */
export const goldenSignalsLabel = 'weft.dev/golden-signals';
const firstEnrollment = 'weft.dev/first-enrollment';

export interface SettingProblem {
  /** Key of the label or annotation. */
  readonly key: string;
  readonly value: string;
  /** States the valid values and what applies in place of this one. */
  readonly message: string;
  /**
   * The author may rely on a protection that is not in force: the value is invalid, or an unknown key resembles one that enrolls pods or
   * makes the mesh stricter.
   */
  readonly isProtection: boolean;
}

const items = (text: string | undefined): string[] =>
  (text ?? '')
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
const isPort = (item: string): boolean =>
  /^[0-9]{1,5}$/.test(item) && Number(item) > 0 && Number(item) < 65536;
function cidrOf(item: string): Cidr | undefined {
  try {
    return parseCidr(item);
  } catch {
    return undefined;
  }
}

/** The valid ports of a comma-separated list. Invalid entries of exclusions exclude nothing: more is captured, not less. */
export const portList = (text: string | undefined): number[] => items(text).filter(isPort).map(Number);
/** The valid blocks of a comma-separated list. Invalid entries are left out, as in `portList`. */
export const cidrList = (text: string | undefined): Cidr[] =>
  items(text).flatMap((item) => {
    const block = cidrOf(item);
    return block ? [block] : [];
  });

export const weightKey = 'weft.dev/weight';
const weightMax = 1000;
/** The weight of a pod as an endpoint of its Services; undefined: invalid. */
export function endpointWeight(text: string): number | undefined {
  const weight = /^[1-9][0-9]{0,3}$/.test(text) ? Number(text) : 0;
  return weight >= 1 && weight <= weightMax ? weight : undefined;
}

interface Setting {
  readonly in: 'labels' | 'annotations';
  readonly key: string;
  /** The invalid parts of the value. */
  readonly unreadable: (value: string) => readonly string[];
  readonly expects: string;
  /** What applies in place of the invalid parts. */
  readonly instead: string;
}

const oneOf = (...values: readonly string[]): Pick<Setting, 'unreadable' | 'expects'> => ({
  unreadable: (value) => (values.includes(value) ? [] : [value]),
  expects: `expected ${values.join(' or ')}`,
});
const ports = {
  unreadable: (value: string) => items(value).filter((item) => !isPort(item)),
  expects: 'expected a list of port numbers from 1 to 65535 (port names are not supported)',
};
const settings: readonly Setting[] = [
  {
    in: 'labels',
    key: meshLabel,
    ...oneOf('enabled', 'disabled'),
    instead:
      'the label is ignored: a namespace is then outside of the mesh unless it has istio.io/dataplane-mode=ambient, a pod follows its namespace',
  },
  { in: 'labels', key: modeLabel, ...oneOf('strict', 'permissive'), instead: 'treated as strict' },
  { in: 'labels', key: policyModeLabel, ...oneOf('enforce', 'audit'), instead: 'treated as enforce' },
  { in: 'labels', key: goldenSignalsLabel, ...oneOf('enabled', 'disabled'), instead: 'treated as disabled' },
  {
    in: 'annotations',
    key: 'weft.dev/exclude-outbound-ports',
    ...ports,
    instead: 'these entries are not excluded',
  },
  {
    in: 'annotations',
    key: 'weft.dev/exclude-inbound-ports',
    ...ports,
    instead: 'these entries are not excluded',
  },
  { in: 'annotations', key: 'weft.dev/splice-off-ports', ...ports, instead: 'these entries are ignored' },
  {
    in: 'annotations',
    key: 'weft.dev/exclude-outbound-cidrs',
    unreadable: (value) => items(value).filter((item) => !cidrOf(item)),
    expects: 'expected a list of CIDR blocks, for example 10.0.0.0/8',
    instead: 'these entries are not excluded',
  },
  {
    in: 'annotations',
    key: 'weft.dev/same-node',
    ...oneOf('kernel', 'encrypted'),
    instead: 'treated as encrypted',
  },
  {
    in: 'annotations',
    key: weightKey,
    unreadable: (value) => (endpointWeight(value) === undefined ? [value] : []),
    expects: `expected a whole number from 1 to ${weightMax}`,
    instead: 'treated as 1',
  },
  { in: 'annotations', key: 'weft.dev/splice', ...oneOf('on', 'off'), instead: 'treated as off' },
  {
    in: 'annotations',
    key: firstEnrollment,
    ...oneOf('available', 'closed'),
    instead: 'treated as closed',
  },
];

const prefix = 'weft.dev/';
/** Other keys of Weft on namespaces, pods and Services. The values of those that set a Service's policy are checked by service-policy.ts. */
const others: Readonly<Record<Setting['in'], readonly string[]>> = {
  labels: [`${prefix}waypoint`, `${prefix}waypoint-namespace`, `${prefix}export`, `${prefix}bench`],
  annotations: [`${prefix}netns`, ...servicePolicyKeys],
};
const keysIn = (where: Setting['in']): readonly string[] => [
  ...settings.filter((setting) => setting.in === where).map(({ key }) => key),
  ...others[where],
];
/** The benchmark labels the namespaces that it creates; users are not offered that key. */
const isForUsers = (key: string): boolean => key !== `${prefix}bench`;
/** The key as written in `known`: a Service's setting may be for one port. */
const withoutPort = (key: string): string =>
  servicePolicyKeys.includes(portOfKey(key).key) ? portOfKey(key).key : key;
const known = { labels: new Set(keysIn('labels')), annotations: new Set(keysIn('annotations')) };
const forUsers = new Set([...known.labels, ...known.annotations].filter(isForUsers));
/** Keys whose absence weakens a protection: traffic is not encrypted, or less is refused or read by a waypoint than intended. */
const protections: ReadonlySet<string> = new Set([
  meshLabel,
  modeLabel,
  `${prefix}waypoint`,
  `${prefix}waypoint-namespace`,
  `${prefix}same-node`,
]);
export const isProtection = (key: string): boolean => protections.has(key);

/** Problems of mistyped keys and of labels written as annotations or the other way round. Such keys have no effect. */
function unknownKeys(where: Setting['in'], texts: Labels | Annotations): SettingProblem[] {
  const [kind, elsewhere] =
    where === 'labels' ? ['label', 'annotations' as const] : ['annotation', 'labels' as const];
  return Object.entries(texts).flatMap(([key, value]) => {
    if (!key.startsWith(prefix) || known[where].has(withoutPort(key))) return [];
    const isElsewhere = known[elsewhere].has(key);
    const meant = isElsewhere ? key : nearest(key, forUsers);
    const why = isElsewhere
      ? `it is ${where === 'labels' ? 'an annotation, not a label' : 'a label, not an annotation'}`
      : `Weft has the ${where} ${keysIn(where).filter(isForUsers).join(', ')}${meant === undefined ? '' : ` (did you mean ${meant}?)`}`;
    return [
      {
        key,
        value,
        message: `${kind} ${key} is unknown: ${why}; it has no effect`,
        isProtection: meant !== undefined && isProtection(meant),
      },
    ];
  });
}

type Ports = Parameters<typeof portKeyProblems>[1];

/** Problems of the annotations that set a Service's policy. @param ports the Service's ports; undefined: the object is no Service */
export const servicePolicyProblems = (annotations: Annotations = {}, ports?: Ports): SettingProblem[] =>
  [...serviceSettingsOf(annotations).problems, ...portKeyProblems(annotations, ports)].map((problem) => ({
    ...problem,
    isProtection: true,
  }));

/** The same for a Gateway. The annotations that are flags of its waypoint are reported in its status. */
export const gatewayPolicyProblems = (annotations: Annotations | undefined): SettingProblem[] =>
  servicePolicyProblems(annotations).filter(({ key }) => !gatewayIdleKeys.includes(key));

/** Problems of the labels and annotations of a namespace, pod or Service: invalid values and unknown keys. @param ports of a Service */
export function settingProblems(
  {
    labels = {},
    annotations = {},
  }: {
    readonly labels?: Labels;
    readonly annotations?: Annotations;
  },
  ports?: Ports,
): SettingProblem[] {
  const unread = settings.flatMap(({ in: where, key, unreadable, expects, instead }) => {
    const value = (where === 'labels' ? labels : annotations)[key];
    if (value === undefined) return [];
    const wrong = unreadable(value);
    if (wrong.length === 0) return [];
    const shown = wrong.map((item) => JSON.stringify(item.slice(0, 64))).slice(0, 8);
    const kind = where === 'labels' ? 'label' : 'annotation';
    return [
      {
        key,
        value,
        message: `${kind} ${key}: ${shown.join(', ')} is unknown: ${expects}; ${instead}`,
        isProtection: true,
      },
    ];
  });
  return [
    ...unread,
    ...servicePolicyProblems(annotations, ports),
    ...unknownKeys('labels', labels),
    ...unknownKeys('annotations', annotations),
  ];
}

/** Mesh membership stated by labels; undefined if they state none. Istio's label counts if Weft's label has no valid value. */
export function meshModeOf(labels: Labels): 'enabled' | 'disabled' | undefined {
  const own = labels[meshLabel];
  if (own === 'enabled' || own === 'disabled') return own;
  const istio = labels['istio.io/dataplane-mode'];
  return istio === 'ambient' ? 'enabled' : istio === 'none' ? 'disabled' : undefined;
}

/** Whether labels ask for strict mode. An invalid value counts as strict. */
export const isStrict = (labels: Labels): boolean =>
  labels[modeLabel] !== undefined && labels[modeLabel] !== 'permissive';

/** Whether the policies of a namespace with these labels are in audit mode. An invalid value counts as enforce. */
export const isAudit = (labels: Labels): boolean => labels[policyModeLabel] === 'audit';

/**
 * Strict mode of a namespace while its pods are enrolled for the first time: `available` defers it until all pods are enrolled, `closed`
 * enforces it from the first pod on. Undefined: the annotation is absent.
 */
export const firstEnrollmentOf = (annotations: Annotations): 'available' | 'closed' | undefined => {
  const value = annotations[firstEnrollment];
  return value === undefined ? undefined : value === 'available' ? 'available' : 'closed';
};
