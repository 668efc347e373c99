/** Reads files of `weft policy test`. An unknown field is an error: a case that tests less than its author wrote would pass. Pure. */
import { Ajv, type ErrorObject } from 'ajv';
import { errorText, WeftError, type Decoded } from '../../base/errors.js';
import { nearest } from '../../base/nearest.js';
import { readManifests } from '../../kubernetes/manifests.js';

export interface PolicyTestFrom {
  readonly namespace?: string;
  readonly serviceAccount?: string;
  readonly identity?: string;
  readonly ip?: string;
}
export interface PolicyTestTo {
  readonly service?: string;
  readonly workload?: string;
  readonly port: number;
}
export interface PolicyTestRequest {
  readonly method?: string;
  readonly path?: string;
  readonly host?: string;
  readonly headers?: Readonly<Record<string, string>>;
}
export interface PolicyTestCase {
  readonly name?: string;
  readonly from: PolicyTestFrom;
  readonly to: PolicyTestTo;
  readonly request?: PolicyTestRequest;
  /** The server name of a TLS connection. */
  readonly sni?: string;
  readonly expect: 'allow' | 'deny';
  /** The policy that has to decide, `namespace/name`. */
  readonly policy?: string;
}
export interface PolicyTestFile {
  readonly manifests: readonly string[];
  readonly rootNamespace?: string;
  readonly cases: readonly PolicyTestCase[];
}

const casesMax = 10_000;
const text = { type: 'string', minLength: 1, maxLength: 2048 } as const;
const named = { type: 'string', maxLength: 512, pattern: '^[^/]+/[^/]+$' } as const;
const object = (
  properties: Readonly<Record<string, object>>,
  required: readonly string[] = [],
  more: object = {},
): object => ({ type: 'object', additionalProperties: false, properties, required, ...more });

const schema = object(
  {
    manifests: { type: 'array', minItems: 1, maxItems: 1_000, items: text },
    rootNamespace: text,
    cases: {
      type: 'array',
      minItems: 1,
      maxItems: casesMax,
      items: object(
        {
          name: text,
          from: object({ namespace: text, serviceAccount: text, identity: text, ip: text }, [], {
            minProperties: 1,
            dependentRequired: { namespace: ['serviceAccount'], serviceAccount: ['namespace'] },
          }),
          to: object(
            {
              service: named,
              workload: named,
              port: { type: 'integer', minimum: 1, maximum: 65535 },
            },
            ['port'],
            { minProperties: 2, maxProperties: 2 },
          ),
          request: object({
            method: { type: 'string', maxLength: 64, pattern: "^[0-9A-Z!#$%&'+.^_`|~-]+$" },
            path: { type: 'string', minLength: 1, maxLength: 8192, pattern: '^/' },
            host: text,
            headers: {
              type: 'object',
              maxProperties: 100,
              additionalProperties: { type: 'string', maxLength: 8192 },
            },
          }),
          sni: { type: 'string', minLength: 1, maxLength: 255, pattern: '^[A-Za-z0-9._-]*[A-Za-z0-9_-]$' },
          expect: { type: 'string', enum: ['allow', 'deny'] },
          policy: text,
        },
        ['from', 'to', 'expect'],
      ),
    },
  },
  ['manifests', 'cases'],
);

const validate = new Ajv({ allErrors: true, strict: false, verbose: true }).compile<PolicyTestFile>(schema);
const errorsMax = 20;

function textOf({ instancePath, message, params, parentSchema }: ErrorObject): string {
  const at = instancePath.slice(1).replaceAll('/', '.');
  const { additionalProperty: unknown, allowedValues } = params as {
    additionalProperty?: string;
    allowedValues?: readonly unknown[];
  };
  if (unknown === undefined)
    return `${at === '' ? 'the file' : at}: ${message}${allowedValues ? `: ${allowedValues.join(', ')}` : ''}`;
  const fields = Object.keys((parentSchema as { properties?: object }).properties ?? {});
  const meant = nearest(unknown, fields);
  return `${at === '' ? '' : `${at}.`}${unknown}: there is no such field: the fields here are ${fields.join(', ')}${meant === undefined ? '' : ` (did you mean ${meant}?)`}`;
}

/** Reads the text of a file. */
export function readPolicyTest(file: string, content: string): Decoded<PolicyTestFile> {
  const wrong = (...errors: readonly string[]): Decoded<PolicyTestFile> => ({
    ok: false,
    errors: errors.slice(0, errorsMax).map((error) => `${file}: ${error}`),
  });
  try {
    const { manifests, errors } = readManifests(content);
    if (errors.length > 0) return wrong(...errors.map(({ line, message }) => `line ${line}: ${message}`));
    const [first, second] = manifests;
    if (!first || second) return wrong('it must be one YAML document with manifests and cases');
    if (!validate(first.value)) return wrong(...(validate.errors ?? []).map(textOf));
    return { ok: true, value: first.value };
  } catch (error) {
    return wrong(error instanceof WeftError ? error.message : errorText(error));
  }
}
