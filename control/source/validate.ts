/** Validates objects before they are compiled: by their schema (Weft's own kinds: the CRD), and by what a schema cannot express. */
import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv';
import { errorText } from '../../src/base/errors.js';
import { parseCidr } from '../../src/model/address.js';
import { parseTrustDomain } from '../../src/model/identity.js';
import { closedForm } from '../compile/closed.js';
import type { RuleErrors } from '../dialects/gateway/closed-rules.js';
import { compile } from '../compile/compile.js';
import { kindNames, kinds } from '../kinds/kinds.js';
import { isRoute, type MeshObject } from '../objects/objects.js';
import type { FileKind } from './recognize.js';
import { schemaOf } from './schemas.js';

/** Weft's own kinds: those with a CRD in the chart. */
export const ownKinds = (): readonly string[] =>
  kindNames.filter((kind) => kinds[kind].schema === 'crd').sort();

let ajv: Ajv | undefined;
const validators = new Map<FileKind, ValidateFunction>();

/**
 * The validator of a kind, compiled at its first use. Weft's own kinds are validated by their CRDs, so that files and the API server refuse
 * the same objects.
 */
export function validatorOf(kind: FileKind): ValidateFunction {
  const known = validators.get(kind);
  if (known) return known;
  ajv ??= new Ajv({
    allErrors: true,
    strict: false,
    useDefaults: false,
    validateFormats: false,
    verbose: true,
  });
  const validate = ajv.compile(schemaOf(kind));
  validators.set(kind, validate);
  return validate;
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
