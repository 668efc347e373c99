/** The common part of the table entries of Istio's kinds. */
import type { DialectObject, IstioKind, IstioObject } from '../../objects/objects.js';
import type { Kind, KindAddress } from '../../kinds/kind.js';
import { pickOwn, type Raw } from '../../kinds/metadata.js';
import { dialectStatus } from '../../status/dialect.js';

type Parts<K extends IstioKind> = Pick<
  Kind<IstioObject<K>>,
  'claims' | 'dependents' | 'compile' | 'closed' | 'status'
>;

/** @param address without what all kinds of Istio have in common */
export const istioKind = <K extends IstioKind>(
  kind: K,
  address: Pick<KindAddress, 'group' | 'versions' | 'plural' | 'kind'>,
  parts: Partial<Parts<K>>,
): Kind<IstioObject<K>> => ({
  address: { ...address, optional: true },
  schema: 'istio',
  pickFields(raw) {
    const { apiVersion, metadata, status, spec = {} } = raw as Raw<DialectObject<K>>;
    return {
      ...(apiVersion === undefined ? {} : { apiVersion }),
      kind,
      ...pickOwn({ metadata, spec, ...(status ? { status } : {}) }),
    } as IstioObject<K>;
  },
  closed: (object, invalid) => ({ ...object, invalid }),
  status: dialectStatus,
  ...parts,
});
