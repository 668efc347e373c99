/**
 * Labels and annotations by which namespaces and pods say how they take part in the mesh: which values they may have, and what one that
 * nobody knows is taken for. The API server refuses the same (daemonset/chart/templates/validation.yaml). Pure.
 */
import { nearest } from '../base/nearest.js';
import { parseCidr, type Cidr } from './address.js';
import type { Annotations, Labels } from './labels.js';

const meshLabel = 'weft.dev/mesh';
const modeLabel = 'weft.dev/mode';
const firstEnrollment = 'weft.dev/first-enrollment';

export interface SettingProblem {
  /** The label or annotation. */
  readonly key: string;
  readonly value: string;
  /** Which values there are, and what stands in the place of this one. */
  readonly message: string;
  /** Whoever wrote it may rely on a protection that is not there: it stands for a key that takes into the mesh or makes it stricter. */
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

/** What cannot be read of a list of exclusions excludes nothing: more is captured, not less. */
export const portList = (text: string | undefined): number[] => items(text).filter(isPort).map(Number);
export const cidrList = (text: string | undefined): Cidr[] =>
  items(text).flatMap((item) => {
    const block = cidrOf(item);
    return block ? [block] : [];
  });

interface Setting {
  readonly in: 'labels' | 'annotations';
  readonly key: string;
  /** What of the value cannot be read. */
  readonly unreadable: (value: string) => readonly string[];
  readonly expects: string;
  /** What stands in its place. */
  readonly instead: string;
}

const oneOf = (...values: readonly string[]): Pick<Setting, 'unreadable' | 'expects'> => ({
  unreadable: (value) => (values.includes(value) ? [] : [value]),
  expects: `it is ${values.join(' or ')}`,
});
const ports = {
  unreadable: (value: string) => items(value).filter((item) => !isPort(item)),
  expects: 'it is a list of port numbers from 1 to 65535 (names are not known here)',
};
const settings: readonly Setting[] = [
  {
    in: 'labels',
    key: meshLabel,
    ...oneOf('enabled', 'disabled'),
    instead:
      'it is as if it were not there: a namespace is then outside of the mesh unless istio.io/dataplane-mode takes it in, a pod is as its namespace',
  },
  { in: 'labels', key: modeLabel, ...oneOf('strict', 'permissive'), instead: 'it is taken for strict' },
  {
    in: 'annotations',
    key: 'weft.dev/exclude-outbound-ports',
    ...ports,
    instead: 'these are not excluded',
  },
  { in: 'annotations', key: 'weft.dev/exclude-inbound-ports', ...ports, instead: 'these are not excluded' },
  { in: 'annotations', key: 'weft.dev/splice-off-ports', ...ports, instead: 'these are passed over' },
  {
    in: 'annotations',
    key: 'weft.dev/exclude-outbound-cidrs',
    unreadable: (value) => items(value).filter((item) => !cidrOf(item)),
    expects: 'it is a list of address blocks like 10.0.0.0/8',
    instead: 'these are not excluded',
  },
  {
    in: 'annotations',
    key: 'weft.dev/same-node',
    ...oneOf('kernel', 'encrypted'),
    instead: 'it is taken for encrypted',
  },
  { in: 'annotations', key: 'weft.dev/splice', ...oneOf('on', 'off'), instead: 'it is taken for off' },
  {
    in: 'annotations',
    key: firstEnrollment,
    ...oneOf('available', 'closed'),
    instead: 'it is taken for closed',
  },
];

const prefix = 'weft.dev/';
/** What else there is of Weft on namespaces, pods and Services, and whose value is not looked at here. */
const others: Readonly<Record<Setting['in'], readonly string[]>> = {
  labels: [`${prefix}waypoint`, `${prefix}waypoint-namespace`, `${prefix}export`, `${prefix}bench`],
  annotations: [`${prefix}netns`],
};
const keysIn = (where: Setting['in']): readonly string[] => [
  ...settings.filter((setting) => setting.in === where).map(({ key }) => key),
  ...others[where],
];
/** The bench marks the namespaces that it makes. */
const isForUsers = (key: string): boolean => key !== `${prefix}bench`;
const known = { labels: new Set(keysIn('labels')), annotations: new Set(keysIn('annotations')) };
const forUsers = new Set([...known.labels, ...known.annotations].filter(isForUsers));
/** Without one of these a pod is not encrypted, or less is refused or read than its author believes. */
const protections: ReadonlySet<string> = new Set([
  meshLabel,
  modeLabel,
  `${prefix}waypoint`,
  `${prefix}waypoint-namespace`,
  `${prefix}same-node`,
]);
export const isProtection = (key: string): boolean => protections.has(key);

/** A mistyped key, or one in the wrong place, says nothing at all: whoever wrote it believes that it does. */
function unknownKeys(where: Setting['in'], texts: Labels | Annotations): SettingProblem[] {
  const [kind, elsewhere] =
    where === 'labels' ? ['label', 'annotations' as const] : ['annotation', 'labels' as const];
  return Object.entries(texts).flatMap(([key, value]) => {
    if (!key.startsWith(prefix) || known[where].has(key)) return [];
    const isElsewhere = known[elsewhere].has(key);
    const meant = isElsewhere ? key : nearest(key, forUsers);
    const why = isElsewhere
      ? `it is one of the ${elsewhere}`
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

/** What a namespace or pod says of itself that nobody can read. */
export function settingProblems({
  labels = {},
  annotations = {},
}: {
  readonly labels?: Labels;
  readonly annotations?: Annotations;
}): SettingProblem[] {
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
  return [...unread, ...unknownKeys('labels', labels), ...unknownKeys('annotations', annotations)];
}

/** Undefined where the labels say nothing that is known; the Istio label means the same where Weft's own says nothing. */
export function meshModeOf(labels: Labels): 'enabled' | 'disabled' | undefined {
  const own = labels[meshLabel];
  if (own === 'enabled' || own === 'disabled') return own;
  const istio = labels['istio.io/dataplane-mode'];
  return istio === 'ambient' ? 'enabled' : istio === 'none' ? 'disabled' : undefined;
}

/** A value that nobody knows asks for the stronger of the two. */
export const isStrict = (labels: Labels): boolean =>
  labels[modeLabel] !== undefined && labels[modeLabel] !== 'permissive';

/**
 * What a namespace's annotations say of strict mode while its pods are enrolled for the first time: that it waits for all of them, or is in
 * force from the first. Undefined: nothing.
 */
export const firstEnrollmentOf = (annotations: Annotations): 'available' | 'closed' | undefined => {
  const value = annotations[firstEnrollment];
  return value === undefined ? undefined : value === 'available' ? 'available' : 'closed';
};
