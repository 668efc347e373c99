/** The common part of the table entries of SMI's kinds. */
import type { Kind, KindAddress } from '../../kinds/kind.js';
import { pickOwn, type Raw } from '../../kinds/metadata.js';
import type { SmiKind, SmiObject } from '../../objects/objects.js';
import { dialectStatus } from '../../status/dialect.js';
import { smiVersions } from './specs.js';

/** Fields that older versions have beside `metadata`. */
const besideSpec = ['matches', 'destination', 'specs', 'sources'] as const;

/** @param address without what all kinds of SMI have in common */
export const smiKind = <K extends SmiKind>(
  kind: K,
  address: Pick<KindAddress, 'group' | 'plural' | 'kind'>,
  parts: Partial<Pick<Kind<SmiObject<K>>, 'dependents' | 'compile' | 'status'>>,
): Kind<SmiObject<K>> => ({
  address: { ...address, versions: smiVersions[kind], optional: true },
  schema: 'smi',
  pickFields(raw) {
    const { apiVersion, metadata, status, spec, ...others } = raw as Raw<SmiObject<K>>;
    const { spec: picked, ...own } = pickOwn({ metadata, spec, ...(status ? { status } : {}) });
    const given: Readonly<Record<string, unknown>> = others;
    return {
      ...(apiVersion === undefined ? {} : { apiVersion }),
      kind,
      ...own,
      ...(picked === undefined ? {} : { spec: picked }),
      ...Object.fromEntries(
        besideSpec.flatMap((name) => (given[name] === undefined ? [] : [[name, given[name]]])),
      ),
    } as unknown as SmiObject<K>;
  },
  closed: (object, invalid) => ({ ...object, invalid }),
  status: dialectStatus,
  ...parts,
});
