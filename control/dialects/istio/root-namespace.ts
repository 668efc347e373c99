/** Istio's usual root namespace. Weft's is another one, which has to be said: what is there was meant for the whole mesh. Pure. */
import { namespaceOf } from '../../../src/model/labels.js';
import type { IstioKind, IstioObject } from '../../objects/objects.js';
import type { Remark } from '../remarks.js';

const istioRoot = 'istio-system';
/** The kinds that count for the whole mesh in the root namespace. */
const meshWide: ReadonlySet<IstioKind> = new Set<IstioKind>([
  'AuthorizationPolicy',
  'PeerAuthentication',
  'RequestAuthentication',
  'DestinationRule',
  'Sidecar',
  'Telemetry',
]);

/** @param root the root namespace of this mesh */
export function rootRemarks(object: IstioObject<IstioKind>, root: string): readonly Remark[] {
  if (namespaceOf(object) !== istioRoot || root === istioRoot || !meshWide.has(object.kind)) return [];
  return [
    {
      does: 'narrower',
      field: 'metadata.namespace',
      message: `${istioRoot} is Istio's root namespace, and ${root} is Weft's: the object counts for ${istioRoot} alone`,
      instead: `namespace: ${root}`,
    },
  ];
}
