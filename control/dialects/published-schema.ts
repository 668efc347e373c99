/** The fields of kinds that others publish, from their CRDs. Pure. */
import { parseAllDocuments } from 'yaml';

/** A field of a published schema; `path` as in a `FieldTable`. */
export interface SchemaField {
  readonly path: string;
  readonly values: readonly string[];
  readonly fields: readonly SchemaField[];
}

interface Schema {
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
  readonly additionalProperties?: Schema | boolean;
  readonly enum?: readonly unknown[];
  readonly oneOf?: readonly Schema[];
  readonly anyOf?: readonly Schema[];
  readonly allOf?: readonly Schema[];
}

interface Crd {
  readonly kind?: string;
  readonly spec: {
    readonly group: string;
    readonly names: { readonly kind: string };
    readonly versions: readonly { readonly schema?: { readonly openAPIV3Schema?: Schema } }[];
  };
}

/** Schemas that describe one value together: its own and those of its alternatives. */
const partsOf = (schema: Schema): readonly Schema[] => [
  schema,
  ...[schema.oneOf, schema.anyOf, schema.allOf].flatMap((parts) => (parts ?? []).flatMap(partsOf)),
];

const join = (path: string, name: string): string => (path === '' ? name : `${path}.${name}`);

/** @param schemas what describes the value: one schema per version */
function fieldOf(path: string, schemas: readonly Schema[]): SchemaField {
  const parts = schemas.flatMap(partsOf);
  const byPath = new Map<string, Schema[]>();
  const add = (at: string, schema: Schema): void => {
    byPath.set(at, [...(byPath.get(at) ?? []), schema]);
  };
  for (const { properties, items, additionalProperties } of parts) {
    for (const [name, schema] of Object.entries(properties ?? {})) add(join(path, name), schema);
    if (items) add(`${path}[]`, items);
    if (typeof additionalProperties === 'object') add(`${path}{}`, additionalProperties);
  }
  const values = parts.flatMap((part) => (part.enum ?? []).map(String));
  return {
    path,
    values: [...new Set(values)],
    fields: [...byPath].map(([at, of]) => fieldOf(at, of)),
  };
}

/** Members of every object that are not the kind's own. */
const common: ReadonlySet<string> = new Set(['apiVersion', 'kind', 'metadata', 'status']);

/**
 * The fields of each kind, `<group>/<kind>`, of all its published versions: those of `spec` by their path in it, and other members of the
 * object, which kinds without a `spec` have.
 * @param text CRDs as YAML documents
 */
export function publishedFields(text: string): ReadonlyMap<string, SchemaField> {
  const kinds = new Map<string, Schema[]>();
  for (const document of parseAllDocuments(text)) {
    const crd = document.toJS() as Crd | null;
    if (crd?.kind !== 'CustomResourceDefinition') continue;
    const { group, names, versions } = crd.spec;
    const key = `${group}/${names.kind}`;
    const known = kinds.get(key) ?? [];
    kinds.set(key, known);
    for (const { schema } of versions) {
      const { spec, ...others } = schema?.openAPIV3Schema?.properties ?? {};
      const own = Object.entries(others).filter(([name]) => !common.has(name));
      known.push({ properties: Object.fromEntries(own) }, ...(spec ? [spec] : []));
    }
  }
  return new Map([...kinds].map(([key, schemas]) => [key, fieldOf('', schemas)]));
}
