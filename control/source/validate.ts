/** Whether an object may be compiled: its schema (Weft's own kinds: the CRD's), and what a schema cannot say. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv';
import { parse } from 'yaml';
import { errorText, WeftError } from '../../src/base/errors.js';
import { parseCidr } from '../../src/model/address.js';
import { parseTrustDomain } from '../../src/model/identity.js';
import { closedForm } from '../compile/closed.js';
import { compile } from '../compile/compile.js';
import type { Kind } from '../kinds/kind.js';
import { kindNames, kinds } from '../kinds/kinds.js';
import { isRoute, type MeshObject } from '../objects/objects.js';
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
 * A CRD cannot say that unknown fields are wrong: the API server drops them, or refuses them where its client asks for that.
 * In a file they are a mistake that somebody wants to hear of.
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

/** Weft's own kinds: those with a CRD in the chart. */
export const ownKinds = (): readonly string[] =>
  kindNames.filter((kind) => kinds[kind].schema === 'crd').sort();

type Schemas = Readonly<Record<string, object>>;

/** A file of control/source/schemas. */
const readSchemas = (file: string): { readonly $defs: object; readonly kinds: Schemas } =>
  parse(readFileSync(findUp('control', 'source', 'schemas', file), 'utf8'), { merge: true }) as {
    $defs: object;
    kinds: Schemas;
  };

/** Schemas of the CRDs, closed, by kind. */
function crdSchemas(): Schemas {
  // The API server validates names itself. A manifest file has only this schema.
  const named = {
    type: 'object',
    required: ['metadata'],
    properties: { metadata: { $ref: '#/$defs/namespaced' } },
  };
  const dir = crdDir();
  const entries = readdirSync(dir).flatMap((file) => {
    const { spec } = parse(readFileSync(join(dir, file), 'utf8')) as {
      spec: { names: { kind: string }; versions: { schema: { openAPIV3Schema: object } }[] };
    };
    const schema = spec.versions[0]?.schema.openAPIV3Schema;
    return schema ? [[spec.names.kind, { allOf: [named, closed(schema)] }] as const] : [];
  });
  return Object.fromEntries(entries);
}

let validators: ReadonlyMap<string, ValidateFunction> | undefined;
/** The validator of a kind. Weft's own kinds are validated by their CRDs, so that files and the API server refuse the same objects. */
export const validatorOf = (kind: FileKind): ValidateFunction | undefined =>
  (validators ??= compileValidators()).get(kind);

function compileValidators(): ReadonlyMap<string, ValidateFunction> {
  const ajv = new Ajv({
    allErrors: true,
    strict: false,
    useDefaults: false,
    validateFormats: false,
    verbose: true,
  });
  const [core, gateway] = [readSchemas('core.yaml'), readSchemas('gateway.yaml')];
  const schemas = { core: core.kinds, gateway: gateway.kinds, crd: crdSchemas() };
  const $defs = { ...core.$defs, ...gateway.$defs };
  const compiled = (kind: FileKind, from: Kind['schema']) => {
    const schema = schemas[from][kind];
    if (!schema) throw new WeftError('WEFT_NOT_BUILT', `the ${from} schemas have no kind ${kind}`);
    return [kind, ajv.compile({ ...schema, $defs })] as const;
  };
  return new Map([
    ...kindNames.map((kind) => compiled(kind, kinds[kind].schema)),
    compiled('Endpoints', 'core'),
  ]);
}

/** What a schema cannot say (an address's form) shows when the object is compiled alone; undefined where nothing is wrong. */
export function compileErrorOf(object: MeshObject): string | undefined {
  try {
    const compiler = compile([object], { trustDomain: parseTrustDomain('check'), rootsVersion: '' });
    // Of settings, what pods are compiled by.
    if (object.kind === 'MeshSettings') object.spec.excludeOutboundCidrs?.forEach(parseCidr);
    return isRoute(object) ? compiler.route(object).invalid?.message : undefined;
  } catch (error) {
    return errorText(error);
  }
}

export interface Read {
  /** What is in force of it; absent: nothing. */
  readonly object?: MeshObject;
  /** Why it is not in force as it is written. */
  readonly problem?: string;
}

/**
 * An object as it is in force: as it is written, or in its closed form. `object` may have any content: its kind, name and namespace alone
 * are relied on. Kinds that close nothing are not taken.
 */
export function readObject(object: MeshObject): Read {
  // The compiled form of an EndpointSlice has other fields than the written one, which its schema is of.
  const validate = object.kind === 'EndpointSlice' ? undefined : validatorOf(object.kind);
  if (validate && !validate(object)) {
    const errors = validate.errors ?? [];
    const problem = errors.map((e) => `${e.instancePath.slice(1)} ${messageOf(e)}`).join('; ');
    const closed = closedForm(object, problem, fieldsOf(errors));
    return { ...(closed ? { object: closed } : {}), problem };
  }
  const problem = compileErrorOf(object);
  if (problem === undefined) return { object };
  // Of a route, the rules that cannot be read are closed one by one.
  const taken = isRoute(object) ? object : closedForm(object, problem, new Set(['excludeOutboundCidrs']));
  return { ...(taken ? { object: taken } : {}), problem };
}

/** A pattern is for programs: where the title of its schema says in words what it stands for, these. Descriptions are for `kubectl explain`. */
export function messageOf({ keyword, parentSchema, message }: ErrorObject): string {
  const { title } = (parentSchema ?? {}) as { title?: string };
  return keyword === 'pattern' && title !== undefined ? `must be ${title}` : (message ?? 'is wrong');
}

/** Top-level fields of `spec` that the errors are about; undefined where one is about more than that. */
function fieldsOf(errors: readonly ErrorObject[]): ReadonlySet<string> | undefined {
  const fields = new Set<string>();
  for (const { instancePath, params } of errors) {
    const [, spec, named] = instancePath.split('/');
    const field = named ?? (params as { additionalProperty?: string }).additionalProperty;
    if (spec !== 'spec' || field === undefined) return undefined;
    fields.add(field);
  }
  return fields;
}
