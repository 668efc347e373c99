/** Validates objects before they are compiled: by their schema (Weft's own kinds: the CRD), and by what a schema cannot express. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv';
import { parse, parseAllDocuments } from 'yaml';
import { errorText, WeftError } from '../../src/base/errors.js';
import { parseCidr } from '../../src/model/address.js';
import { parseTrustDomain } from '../../src/model/identity.js';
import { closedForm } from '../compile/closed.js';
import type { RuleErrors } from '../dialects/gateway/closed-rules.js';
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

// The API server validates names itself. A manifest file has only this schema.
const named = {
  type: 'object',
  required: ['metadata'],
  properties: { metadata: { $ref: '#/$defs/namespaced' } },
};

/** Schemas of the CRDs, closed, by kind. */
function crdSchemas(): Schemas {
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

/** Schemas of CRDs that others publish, closed, by the kind's name in the table. All versions of a kind have the same schema. */
function publishedSchemas(from: 'istio' | 'smi'): Schemas {
  const text = readFileSync(findUp('daemonset', 'chart', 'files', `${from}-crds.yaml`), 'utf8');
  const byName = new Map(
    parseAllDocuments(text).map((document) => {
      const { spec } = document.toJS() as PublishedCrd;
      return [`${spec.group}/${spec.names.kind}`, spec.versions[0]?.schema.openAPIV3Schema];
    }),
  );
  const entries = kindNames.flatMap((kind) => {
    const { schema: source, address } = kinds[kind];
    const schema = source === from ? byName.get(`${address.group}/${address.kind ?? kind}`) : undefined;
    if (!schema) return [];
    // They leave out what every object has. Some kinds of SMI have fields beside `spec`.
    const { status: _, ...own } = schema.properties;
    const properties = Object.fromEntries(Object.entries(own).map(([name, one]) => [name, closed(one)]));
    return [[kind, { allOf: [named, { ...schema, properties }] }] as const];
  });
  return Object.fromEntries(entries);
}

interface PublishedCrd {
  readonly spec: {
    readonly group: string;
    readonly names: { readonly kind: string };
    readonly versions: readonly {
      readonly schema: {
        readonly openAPIV3Schema: { readonly properties: Readonly<Record<string, object>> };
      };
    }[];
  };
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
  const schemas = {
    core: core.kinds,
    gateway: gateway.kinds,
    crd: crdSchemas(),
    istio: publishedSchemas('istio'),
    smi: publishedSchemas('smi'),
  };
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

/** Errors that a schema cannot express (such as the form of an address), found by compiling the object alone; undefined if it is valid. */
export function compileErrorOf(object: MeshObject): string | undefined {
  try {
    const compiler = compile([object], { trustDomain: parseTrustDomain('check'), rootsVersion: '' });
    // This field is otherwise parsed only when pods are compiled.
    if (object.kind === 'MeshSettings') object.spec.excludeOutboundCidrs?.forEach(parseCidr);
    return isRoute(object) ? compiler.route(object).invalid?.message : undefined;
  } catch (error) {
    return errorText(error);
  }
}

export interface Read {
  /** The object that is in force: as written, or its closed form; absent: none. */
  readonly object?: MeshObject;
  /** Why the object is not in force as written. */
  readonly problem?: string;
}

/**
 * The object that is in force: as written, or in its closed form. `object` may have any content: only its kind, name and namespace are
 * relied on. An invalid object of a kind without a closed form is not accepted.
 */
export function readObject(object: MeshObject): Read {
  // The schema describes an EndpointSlice as written. The object here has only picked fields.
  const { closed: ownClosedForm } = kinds[object.kind];
  const validate = object.kind === 'EndpointSlice' ? undefined : validatorOf(object.kind);
  if (validate && !validate(object)) {
    const errors = validate.errors ?? [];
    const problem = errors.map((e) => `${e.instancePath.slice(1)} ${messageOf(e)}${unknownOf(e)}`).join('; ');
    const closed =
      ownClosedForm?.(object, problem) ?? closedForm(object, problem, fieldsOf(errors), ruleErrorsOf(errors));
    return { ...(closed ? { object: closed } : {}), problem };
  }
  const problem = compileErrorOf(object);
  if (problem === undefined) return { object };
  // Unreadable rules of a route are closed one by one when it is compiled.
  const taken = isRoute(object)
    ? object
    : (ownClosedForm?.(object, problem) ?? closedForm(object, problem, new Set(['excludeOutboundCidrs'])));
  return { ...(taken ? { object: taken } : {}), problem };
}

/** Errors of a route's rules, by the rule's index; undefined if an error concerns anything else. */
function ruleErrorsOf(errors: readonly ErrorObject[]): RuleErrors | undefined {
  const found = new Map<number, { readonly path: readonly string[]; readonly message: string }[]>();
  for (const error of errors) {
    const [, spec, rules, index, ...path] = error.instancePath.split('/');
    if (spec !== 'spec' || rules !== 'rules' || index === undefined) return undefined;
    const known = found.get(Number(index)) ?? [];
    found.set(Number(index), known);
    const field = path.reduce((text, part) => text + (/^\d+$/.test(part) ? `[${part}]` : `.${part}`), '');
    known.push({ path, message: `rules[${index}]${field} ${messageOf(error)}${unknownOf(error)}` });
  }
  return found;
}

/** The name of an unknown field, as the end of a message. */
const unknownOf = ({ params }: ErrorObject): string => {
  const { additionalProperty } = params as { additionalProperty?: string };
  return additionalProperty === undefined ? '' : `: ${additionalProperty.slice(0, 64)}`;
};

/** The text of a schema error. For a pattern, the title of its schema is shown instead. Descriptions are for `kubectl explain`. */
export function messageOf({ keyword, parentSchema, message }: ErrorObject): string {
  const { title } = (parentSchema ?? {}) as { title?: string };
  return keyword === 'pattern' && title !== undefined ? `must be ${title}` : (message ?? 'is invalid');
}

/** Top-level fields of `spec` with errors; undefined if an error concerns anything else. */
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
