/** Reads edges from a file: JSON lines, each an edge, or the answer of a query with many. */
import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { Ajv } from 'ajv';
import { errorText, WeftError } from '../../base/errors.js';
import { isRecord } from '../../base/record.js';
import type { Edge } from '../../model/edge.js';
import { edgeReporters } from '../../model/edge-reporter.js';
import { parseSpiffeId } from '../../model/identity.js';

export interface Observed {
  readonly edges: readonly Edge[];
  /** Since when all programs have observed; undefined: the file does not say. */
  readonly sinceMs: number | undefined;
  /** Replicas of the control plane that did not answer. */
  readonly missing: readonly string[];
}

const edgesMax = 1_000_000;
const lineCharsMax = 64 << 20;

// Names are printed: no control characters.
const text = { type: 'string', maxLength: 2048, pattern: '^[^\\u0000-\\u001f\\u007f-\\u009f]*$' } as const;
const count = { type: 'number', minimum: 0 } as const;
const object = (properties: Readonly<Record<string, object>>, required: readonly string[]): object => ({
  type: 'object',
  properties,
  required,
});
const party = object({ namespace: text, workload: text, pod: text, identity: { ...text, nullable: true } }, [
  'namespace',
  'workload',
  'pod',
]);
const schema = object(
  {
    reporter: { type: 'string', enum: edgeReporters },
    source: party,
    destination: party,
    service: text,
    port: { type: 'integer', minimum: 0, maximum: 65535 },
    path: text,
    method: text,
    pathTemplate: text,
    policy: text,
    counts: object(
      {
        connections: count,
        refused: count,
        audited: count,
        bytesSent: count,
        bytesReceived: count,
        requests: count,
        failures: count,
        latencyCounts: { type: 'array', maxItems: 100, items: count },
        lastSeenMs: count,
      },
      ['connections', 'refused', 'audited', 'requests', 'lastSeenMs'],
    ),
  },
  [
    'reporter',
    'source',
    'destination',
    'service',
    'port',
    'path',
    'method',
    'pathTemplate',
    'policy',
    'counts',
  ],
);
const validate = new Ajv({ strict: false }).compile<Edge>(schema);

/** Error: what of the value is not of an edge's form. Fields of later versions are left out of account. */
function edgeOf(value: unknown): Edge {
  if (!validate(value)) {
    const [first] = validate.errors ?? [];
    throw new Error(
      `${first?.instancePath.slice(1).replaceAll('/', '.') ?? ''} ${first?.message ?? ''}`.trim(),
    );
  }
  for (const { identity } of [value.source, value.destination]) if (identity) parseSpiffeId(identity);
  const { source, destination } = value;
  return {
    ...value,
    source: { ...source, identity: source.identity ?? undefined },
    destination: { ...destination, identity: destination.identity ?? undefined },
  };
}

interface Answer {
  readonly edges: readonly unknown[];
  readonly sinceMs?: unknown;
  readonly missing?: unknown;
}
const isAnswer = (value: unknown): value is Answer => isRecord(value) && Array.isArray(value['edges']);

/** Collects the edges of a file's lines. */
export class EdgeLines {
  readonly edges: Edge[] = [];
  readonly missing: string[] = [];
  sinceMs: number | undefined;
  #line = 0;

  constructor(private readonly file: string) {}

  /** Errors: WEFT_EDGES, with the line. */
  add(line: string): void {
    this.#line++;
    if (line.trim() === '') return;
    try {
      if (line.length > lineCharsMax) throw new Error(`it has more than ${lineCharsMax} characters`);
      const value: unknown = JSON.parse(line);
      if (!isAnswer(value)) return this.#push(value);
      for (const one of value.edges) this.#push(one);
      if (typeof value.sinceMs === 'number')
        this.sinceMs = Math.min(this.sinceMs ?? Number.POSITIVE_INFINITY, value.sinceMs);
      if (Array.isArray(value.missing)) this.missing.push(...value.missing.map(String));
    } catch (error) {
      throw new WeftError('WEFT_EDGES', `${this.file}:${this.#line}: ${errorText(error)}`, { cause: error });
    }
  }

  #push(value: unknown): void {
    if (this.edges.length === edgesMax) throw new Error(`there are more than ${edgesMax} edges`);
    this.edges.push(edgeOf(value));
  }
}

/** Errors: WEFT_EDGES, WEFT_SOURCE_MISSING. */
export async function readEdgeFile(file: string): Promise<Observed> {
  const lines = new EdgeLines(file);
  const input = createReadStream(file, 'utf8');
  const failed = new Promise<never>((_resolve, reject) => {
    input.on('error', (error) =>
      reject(new WeftError('WEFT_SOURCE_MISSING', errorText(error), { cause: error })),
    );
  });
  const read = async (): Promise<void> => {
    for await (const line of createInterface({ input, crlfDelay: Infinity })) lines.add(line);
  };
  await Promise.race([read(), failed]);
  const { edges, sinceMs, missing } = lines;
  return { edges, sinceMs, missing };
}
