/** The table of fields of each kind of another mesh that the control plane reads, by `<group>/<kind>`. */
import type { FieldTable } from '../dialects/fields.js';
import { istioFieldTables } from '../dialects/istio/field-tables.js';
import { smiFieldTables } from '../dialects/smi/field-tables.js';

export const fieldTables: Readonly<Record<string, FieldTable | undefined>> = {
  ...istioFieldTables,
  ...smiFieldTables,
};
