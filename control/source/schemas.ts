/**
 * The schemas of all kinds: of the core and the Gateway API in control/source/schemas, of Weft's own kinds in the chart's CRDs, and of other
 * meshes' kinds in the CRDs that they publish. Each is read at the first use of one of its kinds: a directory of manifests uses few.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { WeftError } from '../../src/base/errors.js';
import { kinds } from '../kinds/kinds.js';
import type { MeshObject } from '../objects/objects.js';
import type { FileKind } from './recognize.js';

function findUp(...parts: string[]): string {
  let dir = fileURLToPath(new URL('.', import.meta.url));
  while (!existsSync(join(dir, ...parts))) {
    if (dir === '/')
      throw new WeftError('WEFT_NOT_BUILT', `${parts.join('/')} is missing: run npm run build`);
    dir = join(dir, '..');
  }
  return join(dir, ...parts);
}

/**
 * The schema with unknown fields refused. A CRD cannot refuse them: the API server drops them, or refuses them if its client requests that.
 * In a file an unknown field is an error that is reported.
 */
function closed(schema: object): object {
  const entries = Object.entries(schema).map(([key, value]): [string, unknown] => [
    key,
    value !== null && typeof value === 'object' && !Array.isArray(value) ? closed(value as object) : value,
  ]);
  const isOpen = 'properties' in schema && !('additionalProperties' in schema) && 'type' in schema;
  return Object.fromEntries([...entries, ...(isOpen ? [['additionalProperties', false] as const] : [])]);
}

export const crdDir = (): string => findUp('daemonset', 'chart', 'crds');

/** A file of control/source/schemas. */
interface SchemaFile {
  readonly $defs: object;
  readonly kinds: Readonly<Record<string, object>>;
}

/** Calls `read` once. */
function once<T>(read: () => T): () => T {
  let value: { readonly of: T } | undefined;
  return () => (value ??= { of: read() }).of;
}
const schemaFile = (file: string): (() => SchemaFile) =>
  once(
    () =>
      parse(readFileSync(findUp('control', 'source', 'schemas', file), 'utf8'), {
        merge: true,
      }) as SchemaFile,
  );
const core = schemaFile('core.yaml');
const gateway = schemaFile('gateway.yaml');

// The API server validates names itself. A manifest file has only this schema.
const named = {
  type: 'object',
  required: ['metadata'],
  properties: { metadata: { $ref: '#/$defs/namespaced' } },
};

interface Crd {
  readonly spec: {
    readonly group: string;
    readonly names: { readonly kind: string };
    readonly versions: readonly { readonly schema: { readonly openAPIV3Schema: OpenSchema } }[];
  };
}
interface OpenSchema {
  readonly properties: Readonly<Record<string, object>>;
}
/** All versions of a kind have the same schema. */
const schemaIn = ({ spec }: Crd): OpenSchema | undefined => spec.versions[0]?.schema.openAPIV3Schema;

const ownCrds = once(() => {
  const dir = crdDir();
  const crds = readdirSync(dir).map((file) => parse(readFileSync(join(dir, file), 'utf8')) as Crd);
  return new Map(crds.map((crd) => [crd.spec.names.kind, schemaIn(crd)]));
});

const publishedTexts = {
  istio: once(() => publishedCrds('istio')),
  smi: once(() => publishedCrds('smi')),
};
/** The texts of the CRDs in a file of the chart. Only those that are needed are parsed: that takes most of the time. */
const publishedCrds = (of: string): readonly string[] =>
  readFileSync(findUp('daemonset', 'chart', 'files', `${of}-crds.yaml`), 'utf8').split(/^---$/m);

/** The schema of a kind of another mesh, as it is published; undefined: the kind is of no other mesh. */
export function publishedSchema(name: MeshObject['kind']): OpenSchema | undefined {
  const { schema: from, address } = kinds[name];
  if (from !== 'istio' && from !== 'smi') return undefined;
  const { group, kind = name } = address;
  for (const text of publishedTexts[from]()) {
    if (!new RegExp(`^    kind: ${kind}$`, 'm').test(text)) continue;
    const crd = parse(text) as Crd;
    if (crd.spec.group === group && crd.spec.names.kind === kind) return schemaIn(crd);
  }
  return undefined;
}

/** They leave out what every object has. Some kinds of SMI have fields beside `spec`. */
function closedPublished(schema: OpenSchema): object {
  const { status: _, ...own } = schema.properties;
  return {
    ...schema,
    properties: Object.fromEntries(Object.entries(own).map(([name, one]) => [name, closed(one)])),
  };
}

function found(kind: FileKind): object | undefined {
  if (kind === 'Endpoints') return core().kinds[kind];
  switch (kinds[kind].schema) {
    case 'core':
      return core().kinds[kind];
    case 'gateway':
      return gateway().kinds[kind];
    case 'crd': {
      const own = ownCrds().get(kind);
      return own && { allOf: [named, closed(own)] };
    }
    default: {
      const published = publishedSchema(kind);
      return published && { allOf: [named, closedPublished(published)] };
    }
  }
}

/** The JSON schema of a kind, with unknown fields refused. Error: WEFT_NOT_BUILT, if it is missing. */
export function schemaOf(kind: FileKind): object {
  const schema = found(kind);
  if (!schema) throw new WeftError('WEFT_NOT_BUILT', `there is no schema of the kind ${kind}`);
  return { ...schema, $defs: { ...core().$defs, ...gateway().$defs } };
}
