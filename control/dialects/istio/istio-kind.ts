/** The common part of the table entries of Istio's kinds. */
import type { DialectObject, IstioKind, IstioObject } from '../../objects/objects.js';
import type { CompileContext, Compiled, Kind, KindAddress } from '../../kinds/kind.js';
import { pickOwn, type Raw } from '../../kinds/metadata.js';
import { dialectStatus } from '../../status/dialect.js';
import { rootRemarks } from './root-namespace.js';

type Parts<K extends IstioKind> = Pick<
  Kind<IstioObject<K>>,
  'claims' | 'dependents' | 'compile' | 'interim' | 'closed' | 'status'
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
    const own = pickOwn({ metadata, spec, ...(status ? { status } : {}) });
    const annotations = Object.entries(metadata.annotations ?? {}).filter(([key]) =>
      /(^|\.)istio\.io\//.test(key),
    );
    return {
      ...(apiVersion === undefined ? {} : { apiVersion }),
      kind,
      ...own,
      ...(annotations.length === 0
        ? {}
        : {
            metadata: {
              ...own.metadata,
              annotations: { ...own.metadata.annotations, ...Object.fromEntries(annotations) },
            },
          }),
    } as IstioObject<K>;
  },
  closed: (object, invalid) => ({ ...object, invalid }),
  status: dialectStatus,
  ...parts,
  ...(parts.compile && {
    compile(object: IstioObject<K>, context: CompileContext): Compiled {
      const compiled = parts.compile?.(object, context) ?? { resources: [] };
      const remarks = rootRemarks(object, context.registry.rootNamespace);
      return remarks.length === 0
        ? compiled
        : { ...compiled, remarks: [...(compiled.remarks ?? []), ...remarks] };
    },
  }),
});
