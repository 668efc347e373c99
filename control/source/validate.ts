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
import { isRoute, type MeshObject } from '../objects/objects.js';

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

let own: readonly string[] | undefined;
/** Weft's own kinds, by the CRDs. */
export function ownKinds(): readonly string[] {
  own ??= readdirSync(crdDir())
    .map(
      (file) =>
        (parse(readFileSync(join(crdDir(), file), 'utf8')) as { spec: { names: { kind: string } } }).spec
          .names.kind,
    )
    .sort();
  return own;
}

let validators: Map<string, ValidateFunction> | undefined;
/** One per kind: Weft's own from the CRDs, so that files and the API server refuse alike. */
export function validatorOf(kind: string): ValidateFunction | undefined {
  if (!validators) {
    validators = new Map();
    const ajv = new Ajv({
      allErrors: true,
      strict: false,
      useDefaults: false,
      validateFormats: false,
      verbose: true,
    });
    const read = (file: string) =>
      parse(readFileSync(findUp('control', 'source', 'schemas', file), 'utf8'), { merge: true }) as {
        $defs: object;
        kinds: Record<string, object>;
      };
    const [core, gateway] = [read('core.yaml'), read('gateway.yaml')];
    const $defs = { ...core.$defs, ...gateway.$defs };
    for (const [name, schema] of Object.entries({ ...core.kinds, ...gateway.kinds }))
      validators.set(name, ajv.compile({ ...schema, $defs }));
    const dir = crdDir();
    for (const file of readdirSync(dir)) {
      const crd = parse(readFileSync(join(dir, file), 'utf8')) as {
        spec: { names: { kind: string }; versions: { schema: { openAPIV3Schema: object } }[] };
      };
      const schema = crd.spec.versions[0]?.schema.openAPIV3Schema;
      // The API server checks names by itself; a file has only us.
      const named = {
        type: 'object',
        required: ['metadata'],
        properties: { metadata: { $ref: '#/$defs/namespaced' } },
      };
      if (schema) validators.set(crd.spec.names.kind, ajv.compile({ allOf: [named, closed(schema)], $defs }));
    }
  }
  return validators.get(kind);
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
