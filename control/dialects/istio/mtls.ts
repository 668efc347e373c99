/**
 * PeerAuthentications: which one governs a pod, and what it denies. The most specific object governs: the oldest one whose selector selects
 * the pod, or else the oldest one of the namespace, or else the oldest one of the mesh. A mode that is not set is inherited. Pure.
 */
import { namespaceOf, selects, type Labels } from '../../../src/model/labels.js';
import type { AuthorizationPolicy } from '../../../src/model/policy.js';
import { plaintextMatch } from '../../compile/policies.js';
import type { MtlsMode } from '../../objects/istio-security.js';
import { objectKey } from '../../objects/object-key.js';
import type { IstioObject } from '../../objects/objects.js';
import type { Registry } from '../../registry/registry.js';
import { labelsOfSelector, resourceNameOf } from './security-scope.js';
import { byAge } from '../../objects/age.js';

type PeerAuthentication = IstioObject<'PeerAuthentication'>;

const selectorOf = ({ spec }: PeerAuthentication): Labels | undefined => labelsOfSelector(spec.selector);

/** The PeerAuthentications of a namespace and of the mesh. */
export interface MtlsLevels {
  readonly isRoot: boolean;
  readonly mesh?: PeerAuthentication;
  readonly namespace?: PeerAuthentication;
  /** Those with a selector, the oldest first. */
  readonly workloads: readonly Selecting[];
  /** Those that cannot be read. They hold in addition. */
  readonly closed: readonly Selecting[];
}
interface Selecting {
  readonly object: PeerAuthentication;
  /** Absent: all pods. */
  readonly selector: Labels | undefined;
}

const withSelector = (objects: readonly PeerAuthentication[]): readonly Selecting[] =>
  objects.map((object) => ({ object, selector: selectorOf(object) }));

/** The PeerAuthentications that concern the pods of a namespace. In the root namespace a selector has no effect, as in Istio. */
export function mtlsLevels(namespace: string, registry: Registry): MtlsLevels {
  const root = registry.rootNamespace;
  const index = registry.indexes.PeerAuthentication;
  const own = [...index.in(namespace)].sort(byAge);
  const ofRoot = namespace === root ? own : [...index.in(root)].sort(byAge);
  const isWide = (one: PeerAuthentication): boolean => one.invalid === undefined && !selectorOf(one);
  const mesh = ofRoot.find(isWide);
  const ofNamespace = namespace === root ? undefined : own.find(isWide);
  return {
    isRoot: namespace === root,
    ...(mesh ? { mesh } : {}),
    ...(ofNamespace ? { namespace: ofNamespace } : {}),
    workloads: withSelector(namespace === root ? [] : own).filter(
      ({ object, selector }) => object.invalid === undefined && selector !== undefined,
    ),
    closed: withSelector([...new Set([...own, ...ofRoot])]).filter(
      ({ object, selector }) =>
        object.invalid !== undefined && (selector === undefined || namespaceOf(object) === namespace),
    ),
  };
}

/** The PeerAuthentications whose policies hold for a pod. */
export function mtlsOf(levels: MtlsLevels, labels: Labels): PeerAuthentication[] {
  const governing =
    levels.workloads.find(({ selector }) => selects(selector, labels))?.object ??
    levels.namespace ??
    levels.mesh;
  const closed = levels.closed.filter(({ selector }) => !selector || selects(selector, labels));
  return [...(governing ? [governing] : []), ...closed.map(({ object }) => object)];
}

const isSet = (mode: MtlsMode | undefined): mode is Exclude<MtlsMode, 'UNSET'> =>
  mode !== undefined && mode !== 'UNSET';

/** The mode of the first level that sets one. */
const inherited = (...levels: readonly (PeerAuthentication | undefined)[]): MtlsMode =>
  levels.map((one) => one?.spec.mtls?.mode).find(isSet) ?? 'PERMISSIVE';

function portsOf({ spec }: PeerAuthentication): { readonly strict: number[]; readonly lifted: number[] } {
  const modes = Object.entries(spec.portLevelMtls ?? {});
  if (modes.length > 0 && !labelsOfSelector(spec.selector))
    throw new Error('portLevelMtls: it needs a selector with labels');
  for (const [port] of modes)
    if (!/^[1-9][0-9]{0,4}$/.test(port) || Number(port) > 65535)
      throw new Error(`portLevelMtls: ${JSON.stringify(port)} is no port`);
  const ports = (holds: (mode: MtlsMode) => boolean): number[] =>
    modes.flatMap(([port, { mode }]) => (isSet(mode) && holds(mode) ? [Number(port)] : []));
  return { strict: ports((mode) => mode === 'STRICT'), lifted: ports((mode) => mode !== 'STRICT') };
}

/**
 * The policy of a PeerAuthentication, for the pods that it governs. Undefined: it denies nothing, or governs no pod. Error: the field that
 * cannot be read.
 */
export function mtlsPolicy(object: PeerAuthentication, levels: MtlsLevels): AuthorizationPolicy | undefined {
  const ports = portsOf(object);
  const { mesh, namespace } = levels;
  const isStrict = inherited(object, namespace, mesh) === 'STRICT';
  const match = isStrict
    ? { ...plaintextMatch, notDestinationPorts: ports.lifted }
    : { ...plaintextMatch, destinationPorts: ports.strict };
  if ((!isStrict && ports.strict.length === 0) || unusedBecause(object, levels)) return undefined;
  return {
    ...resourceNameOf(object),
    // Pods reference it: those of a namespace whose PeerAuthentication is PERMISSIVE do not.
    scope: 'workload',
    services: [],
    action: 'deny',
    dryRun: false,
    rules: [{ clauses: [{ matches: [match] }] }],
  };
}

/** Why a PeerAuthentication governs no pod. */
export function unusedBecause(
  object: PeerAuthentication,
  { isRoot, mesh, namespace }: MtlsLevels,
): { readonly reason: string; readonly message: string } | undefined {
  if (object.invalid !== undefined) return undefined;
  if (selectorOf(object))
    return isRoot
      ? {
          reason: 'Ignored',
          message: 'in the root namespace a PeerAuthentication with a selector has no effect, as in Istio',
        }
      : undefined;
  const older = isRoot ? mesh : namespace;
  return !older || older === object
    ? undefined
    : {
        reason: 'Conflicted',
        message: `${objectKey(older)} is older, and holds for the same ${isRoot ? 'mesh' : 'namespace'}`,
      };
}
