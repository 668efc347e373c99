/** Decides by `apiVersion` and `kind` whether an object of a manifest is read, unused or refused. Pure. */
import { nearest } from '../../src/base/nearest.js';
import type { MeshObject } from '../objects/objects.js';
import type { KindAddress } from '../kinds/kind.js';
import { kindNames, kinds } from '../kinds/kinds.js';

/** Endpoints are read as the EndpointSlices to which Kubernetes mirrors them. */
export type FileKind = MeshObject['kind'] | 'Endpoints';
const addresses: Readonly<Record<string, KindAddress>> = {
  ...Object.fromEntries(kindNames.map((kind) => [kind, kinds[kind].address])),
  Endpoints: { group: '', versions: ['v1'], plural: 'endpoints' },
};
/** The kinds of the table by their names in the API, with their groups. */
const byApiKind = new Map(
  Object.entries(addresses).map(([kind, { kind: apiKind = kind, group }]) => [`${group}/${apiKind}`, kind]),
);
const weftGroup = 'weft.dev';
const istioSecurityGroup = 'security.istio.io';
/** Kinds that take access away. Without such an object, more is allowed than its author meant. */
const closingKinds: ReadonlySet<string> = new Set([
  'AccessPolicy',
  'AuthorizationPolicy',
  'PeerAuthentication',
  'RequestAuthentication',
]);
export const isClosing = (kind: FileKind): boolean => closingKinds.has(kind);
/** Kinds of the Gateway API that Weft does not read, and whose names resemble a kind that it reads: they are no typing errors. */
const namesakes: ReadonlySet<string> = new Set(['UDPRoute']);

export type Recognized =
  | { readonly as: 'read'; readonly kind: FileKind }
  /** A kind of another group, or one that does not concern the mesh. */
  | { readonly as: 'unused'; readonly kind: string; readonly apiVersion: string }
  | {
      readonly as: 'refused';
      readonly field: 'kind' | 'apiVersion';
      readonly message: string;
      /** The object may be a policy, whose selection is then unknown. */
      readonly mayClose: boolean;
    };

const isNear = (word: string, other: string): boolean =>
  word === other || nearest(word, [other]) !== undefined;
/** The API group; undefined if there is no apiVersion. The core group is ''. */
const groupOf = (apiVersion: string | undefined): string | undefined =>
  apiVersion === undefined ? undefined : apiVersion.includes('/') ? (apiVersion.split('/')[0] ?? '') : '';

/** @param own Weft's own kinds */
export function recognize(
  { kind, apiVersion }: { readonly kind?: unknown; readonly apiVersion?: unknown },
  own: readonly string[],
): Recognized {
  const refused = (field: 'kind' | 'apiVersion', message: string, mayClose: boolean): Recognized => ({
    as: 'refused',
    field,
    message,
    mayClose,
  });
  if (typeof kind !== 'string') return refused('kind', 'kind is missing', true);
  if (apiVersion !== undefined && typeof apiVersion !== 'string')
    return refused('apiVersion', 'must be string', true);
  const group = groupOf(apiVersion);
  const isOwn = own.includes(kind);
  if (group === weftGroup && !isOwn) {
    const meant = nearest(kind, own);
    const help = meant === undefined ? '' : `: did you mean ${meant}?`;
    return refused('kind', `${weftGroup} has no kind ${kind}; it has ${own.join(', ')}${help}`, true);
  }
  if (closingKinds.has(kind) && !isOwn && group !== istioSecurityGroup) {
    const isMeant = group === undefined || group === '' || isNear(group, istioSecurityGroup);
    // Linkerd has an AuthorizationPolicy, too.
    if (isMeant)
      return refused(
        'apiVersion',
        `${kind} belongs to the group ${istioSecurityGroup}: write ${istioSecurityGroup}/v1`,
        true,
      );
  }
  const named = (group === undefined ? undefined : byApiKind.get(`${group}/${kind}`)) ?? kind;
  const address = Object.hasOwn(addresses, named) ? addresses[named] : undefined;
  if (address && (group === undefined ? !isDialect(address) : group === address.group)) {
    const version = apiVersion?.split('/')[1];
    // A version that this program does not know may say more than it would read. Kinds of SMI have a closed form for it.
    if ((isOwn || isIstioGroup(address)) && version !== undefined && !address.versions.includes(version))
      return refused(
        'apiVersion',
        `${address.group} has no version ${version}${isOwn ? '' : ` of ${kind}`}; it has ${address.versions.join(', ')}`,
        isOwn || closingKinds.has(kind),
      );
    return { as: 'read', kind: named as FileKind };
  }
  // Other groups have kinds of these names, too. Only the core group, or a group that resembles weft.dev, is taken for a typing error.
  if (isOwn && group !== undefined && (group === '' || isNear(group, weftGroup)))
    return refused(
      'apiVersion',
      `${kind} belongs to the group ${weftGroup}: write ${weftGroup}/v1alpha1`,
      true,
    );
  const meant = address || namesakes.has(kind) ? undefined : meantBy(kind, group);
  if (meant !== undefined)
    return refused(
      'kind',
      `there is no kind ${kind}: did you mean ${meant}?`,
      own.includes(meant) || closingKinds.has(meant),
    );
  if (group === istioSecurityGroup)
    return refused('kind', `${istioSecurityGroup} has no kind ${kind} that this version knows`, true);
  return { as: 'unused', kind, apiVersion: apiVersion ?? '' };
}

/** Objects of other meshes always state their group: without one, a kind's name could be anybody's. */
const isDialect = (address: KindAddress): boolean =>
  isIstioGroup(address) || address.group.endsWith('.smi-spec.io');
const isIstioGroup = ({ group }: KindAddress): boolean => group.endsWith('.istio.io');

/** The kind of the same group that the author probably meant. */
function meantBy(kind: string, group: string | undefined): string | undefined {
  const ofGroup = Object.entries(addresses)
    .filter(([, address]) => group === undefined || address.group === group)
    .map(([name]) => name);
  // Two edits turn a short name into a different word.
  return nearest(kind, ofGroup, kind.length < 6 ? 1 : 2);
}
