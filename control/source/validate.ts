/** Whether an object may be compiled: its schema (Weft's own kinds: the CRD's), and what a schema cannot say. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Ajv, type ValidateFunction } from 'ajv';
import { parse } from 'yaml';
import { errorText, WeftError } from '../../src/base/errors.js';
import { parseTrustDomain } from '../../src/model/identity.js';
import { compile } from '../compile/compile.js';
import { gatewayGroup, gatewayKinds, type MeshObject } from '../compile/objects.js';

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

/** Several groups have kinds of these names. */
export const isForeign = (kind: string, apiVersion: unknown): boolean =>
  (gatewayKinds as readonly string[]).includes(kind) &&
  typeof apiVersion === 'string' &&
  !apiVersion.startsWith(`${gatewayGroup}/`);

let validators: Map<string, ValidateFunction> | undefined;
/** One per kind: Weft's own from the CRDs, so that files and the API server refuse alike. */
export function validatorOf(kind: string): ValidateFunction | undefined {
  if (!validators) {
    validators = new Map();
    const ajv = new Ajv({ allErrors: true, strict: false, useDefaults: false, validateFormats: false });
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
    compile([object], { trustDomain: parseTrustDomain('check'), rootsVersion: '' });
    return undefined;
  } catch (error) {
    return errorText(error);
  }
}
