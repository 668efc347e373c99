/** Random objects that the published schema of a kind accepts, with values that occur in real ones and values that hurt. */
import { kinds } from '../../control/kinds/kinds.js';
import type { MeshObject } from '../../control/objects/objects.js';
import { publishedSchema } from '../../control/source/schemas.js';

interface Schema {
  readonly type?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: Schema | boolean;
  readonly items?: Schema;
  readonly enum?: readonly unknown[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly required?: readonly string[];
  readonly 'x-kubernetes-int-or-string'?: boolean;
}
export type Random = (below: number) => number;

const specs = new Map<MeshObject['kind'], Schema>();
/** The schema of a kind's spec. */
function specOf(kind: MeshObject['kind']): Schema {
  const found = specs.get(kind) ?? publishedSchema(kind)?.properties['spec'];
  if (!found) throw new Error(`no schema of ${kind}`);
  specs.set(kind, found);
  return found;
}

const values = {
  host: [
    'api',
    'db',
    'api.shop.svc.cluster.local',
    'x.other.svc.cluster.local',
    '*',
    '*.shop.svc.cluster.local',
    'example.com',
    '*.example.com',
    '',
  ],
  namespace: ['shop', 'other', '.', '*', '~', 'weft-system', ''],
  duration: ['0s', '1ms', '5s', '1h', '-1s', 'x', '9999999999s'],
  path: ['/', '/a', '/a/', '/a/{*}/b', '/{**}', '/%2e%2e/x', 'a', '//', '*', '/a*', '*a'],
  regex: ['.*', '/a/[0-9]+', '(', 'a{1000}', '(a+)+$', '\\d+'],
  address: ['10.0.0.1', '10.96.0.1', '10.0.0.0/8', '::1', '169.254.169.254', '127.0.0.1', 'x', '0.0.0.0/0'],
  any: [
    '',
    'v1',
    'v2',
    'a',
    'A b',
    '*',
    '-',
    'x-user',
    'GET',
    '5xx,reset',
    '503',
    'é',
    'request.headers[x]',
    'source.ip',
    'cluster.local/ns/shop/sa/api',
    'a\u0000b',
    'x'.repeat(300),
  ],
} as const;
const byField: readonly (readonly [RegExp, readonly (keyof typeof values)[]])[] = [
  [/host|Name$|^name$|fqdn/i, ['host', 'any']],
  [/namespace|exportTo|gateways/i, ['namespace']],
  [/time|duration|interval|delay|warmup|ttl|age|backoff/i, ['duration']],
  [/uri|path|prefix|rewrite/i, ['path', 'regex']],
  [/regex/i, ['regex']],
  [/ip|address|subnet|cidr/i, ['address']],
];

/** @param share of the optional fields that are set, in percent */
export class RandomObjects {
  constructor(
    private readonly random: Random,
    private readonly share = 25,
  ) {}

  pick<T>(list: readonly T[]): T {
    return list[this.random(list.length)] as T;
  }

  /** An object of the kind. The schema's conditions across fields (oneOf) may refuse it: then its closed form counts. */
  object(kind: MeshObject['kind'], namespace: string, name: string): MeshObject {
    const { group, versions } = kinds[kind].address;
    return {
      apiVersion: `${group}/${this.pick(versions)}`,
      kind,
      metadata: {
        name,
        namespace,
        ...(this.random(2) === 0
          ? {}
          : { creationTimestamp: this.pick(['2026-01-01T00:00:00Z', '2026-01-02T00:00:00Z']) }),
      },
      spec: this.#value(specOf(kind), '', 0),
    } as unknown as MeshObject;
  }

  #text(field: string): string {
    const known = byField.find(([pattern]) => pattern.test(field))?.[1] ?? ['any'];
    return this.pick<string>(this.random(8) === 0 ? values.any : values[this.pick(known)]);
  }

  #value(schema: Schema, field: string, depth: number): unknown {
    if (schema.enum) return this.pick(schema.enum);
    if (schema['x-kubernetes-int-or-string'])
      return this.random(2) === 0 ? this.random(1000) : this.#text(field);
    switch (schema.type) {
      case 'object':
        return this.#object(schema, field, depth);
      case 'array':
        return Array.from({ length: this.random(3) }, () =>
          this.#value(schema.items ?? {}, field, depth + 1),
        );
      case 'boolean':
        return this.random(2) === 0;
      case 'integer':
      case 'number': {
        const { minimum = -1, maximum = 70_000 } = schema;
        return this.pick(
          [minimum, maximum, 0, 1, 2, 50, 80, 100, 200, 503, 8080].filter(
            (one) => one >= minimum && one <= maximum,
          ),
        );
      }
      default:
        return this.#text(field);
    }
  }

  #object({ properties, additionalProperties, required = [] }: Schema, field: string, depth: number): object {
    const entries: (readonly [string, unknown])[] = [];
    for (const [name, schema] of Object.entries(properties ?? {}))
      if (required.includes(name) || this.random(100) < (depth < 2 ? 2 * this.share : this.share))
        entries.push([name, this.#value(schema, name, depth + 1)]);
    if (typeof additionalProperties === 'object')
      for (let i = this.random(3); i > 0; i--)
        entries.push([
          this.pick(['app', 'version', 'x-user', 'v1']),
          this.#value(additionalProperties, field, depth + 1),
        ]);
    return Object.fromEntries(entries);
  }
}
