/**
 * Decodes what OTLP/HTTP exporters send, by the field numbers of opentelemetry-proto: only the fields that tests look at. A message is read
 * by a table from field number to its name and kind.
 */
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';

type Kind = 'string' | 'double' | 'fixed64' | 'uint32' | 'bool' | 'bytes' | 'doubles' | 'fixed64s' | Table;
/** Repeated fields have a name that ends with `[]`. */
interface Table {
  readonly [field: number]: readonly [name: string, kind: Kind];
}

const anyValue: Table = {
  1: ['string', 'string'],
  4: ['double', 'double'],
  3: ['int', 'uint32'],
  5: ['array', { 1: ['values[]', { 1: ['string', 'string'] }] }],
};
const keyValue: Table = { 1: ['key', 'string'], 2: ['value', anyValue] };
const resource: Table = { 1: ['attributes[]', keyValue] };
const numberPoint: Table = {
  7: ['attributes[]', keyValue],
  2: ['start', 'fixed64'],
  3: ['time', 'fixed64'],
  4: ['double', 'double'],
  6: ['int', 'fixed64'],
};
const histogramPoint: Table = {
  9: ['attributes[]', keyValue],
  2: ['start', 'fixed64'],
  3: ['time', 'fixed64'],
  4: ['count', 'fixed64'],
  5: ['sum', 'double'],
  6: ['counts', 'fixed64s'],
  7: ['bounds', 'doubles'],
};
const metric: Table = {
  1: ['name', 'string'],
  2: ['description', 'string'],
  5: ['gauge', { 1: ['points[]', numberPoint] }],
  7: ['sum', { 1: ['points[]', numberPoint], 2: ['temporality', 'uint32'], 3: ['isMonotonic', 'bool'] }],
  9: ['histogram', { 1: ['points[]', histogramPoint], 2: ['temporality', 'uint32'] }],
};
const metricsRequest: Table = {
  1: ['resources[]', { 1: ['resource', resource], 2: ['scopes[]', { 2: ['metrics[]', metric] }] }],
};
const logRecord: Table = {
  1: ['time', 'fixed64'],
  2: ['severity', 'uint32'],
  5: ['body', anyValue],
  6: ['attributes[]', keyValue],
  9: ['traceId', 'bytes'],
  10: ['spanId', 'bytes'],
  12: ['event', 'string'],
};
const logsRequest: Table = {
  1: ['resources[]', { 1: ['resource', resource], 2: ['scopes[]', { 2: ['records[]', logRecord] }] }],
};

type Fields = Record<string, unknown>;

function decode(reader: BinaryReader, table: Table, end = reader.len): Fields {
  const fields: Fields = {};
  while (reader.pos < end) {
    const [field, wire] = reader.tag();
    const [name, kind] = table[field] ?? [];
    if (name === undefined || kind === undefined) {
      reader.skip(wire, field);
      continue;
    }
    const value = valueOf(reader, kind, wire);
    if (name.endsWith('[]')) ((fields[name.slice(0, -2)] ??= []) as unknown[]).push(value);
    else fields[name] = value;
  }
  return fields;
}

function valueOf(reader: BinaryReader, kind: Kind, wire: WireType): unknown {
  const list = <T>(read: () => T): T[] => {
    if (wire !== WireType.LengthDelimited) return [read()];
    const end = reader.uint32() + reader.pos;
    const values: T[] = [];
    while (reader.pos < end) values.push(read());
    return values;
  };
  switch (kind) {
    case 'string':
      return reader.string();
    case 'double':
      return reader.double();
    case 'fixed64':
      return Number(reader.fixed64());
    case 'uint32':
      return Number(reader.int64());
    case 'bool':
      return reader.bool();
    case 'bytes':
      return Buffer.from(reader.bytes()).toString('hex');
    case 'doubles':
      return list(() => reader.double());
    case 'fixed64s':
      return list(() => Number(reader.fixed64()));
    default: {
      const length = reader.uint32();
      return decode(reader, kind, reader.pos + length);
    }
  }
}

export interface Point {
  readonly attributes: Readonly<Record<string, string | number>>;
  /** Nanoseconds since 1970. */
  readonly start: number;
  readonly time: number;
  /** Of a counter or gauge. */
  readonly value?: number;
  readonly count?: number;
  readonly sum?: number;
  readonly counts?: readonly number[];
  readonly bounds?: readonly number[];
}

export interface ReceivedMetric {
  readonly name: string;
  readonly kind: 'gauge' | 'sum' | 'histogram';
  /** 2: cumulative. */
  readonly temporality?: number;
  readonly isMonotonic?: boolean;
  readonly points: readonly Point[];
  readonly resource: Readonly<Record<string, string | number>>;
}

export interface ReceivedLog {
  readonly event: string;
  readonly severity: number;
  readonly body: string;
  readonly attributes: Readonly<Record<string, string | number | readonly string[]>>;
  readonly traceId: string | undefined;
  readonly spanId: string | undefined;
  readonly resource: Readonly<Record<string, string | number>>;
}

const scalar = (value: unknown): string | number | readonly string[] => {
  const { string, double, int, array } = (value ?? {}) as Fields;
  if (array !== undefined)
    return listOf(array as Fields, 'values').map((one) => String((one as Fields)['string']));
  return (string ?? double ?? int ?? '') as string | number;
};
const attributesOf = (fields: unknown): Record<string, string | number> =>
  Object.fromEntries(
    listOf((fields ?? {}) as Fields, 'attributes').map((one) => {
      const { key, value } = one as Fields;
      return [key as string, scalar(value) as string | number];
    }),
  );
const listOf = (fields: Fields, name: string): readonly unknown[] => (fields[name] ?? []) as unknown[];

function* scopesOf(
  body: Uint8Array,
  table: Table,
): Generator<[resource: Record<string, string | number>, Fields]> {
  const request = decode(new BinaryReader(body), table);
  for (const one of listOf(request, 'resources') as Fields[])
    for (const scope of listOf(one, 'scopes') as Fields[]) yield [attributesOf(one['resource']), scope];
}

/** The metrics of a request to /v1/metrics. */
export function decodeMetrics(body: Uint8Array): ReceivedMetric[] {
  return [...scopesOf(body, metricsRequest)].flatMap(([of, scope]) =>
    (listOf(scope, 'metrics') as Fields[]).map((fields) => {
      const kind = (['gauge', 'sum', 'histogram'] as const).find((name) => fields[name]) ?? 'gauge';
      const data = (fields[kind] ?? {}) as Fields;
      return {
        name: fields['name'] as string,
        kind,
        temporality: data['temporality'] as number,
        isMonotonic: data['isMonotonic'] as boolean,
        points: (listOf(data, 'points') as Fields[]).map((point) => ({
          ...(point as unknown as Point),
          value: (point['double'] ?? point['int'] ?? 0) as number,
          attributes: attributesOf(point),
        })),
        resource: of,
      };
    }),
  );
}

/** The records of a request to /v1/logs. */
export function decodeLogs(body: Uint8Array): ReceivedLog[] {
  return [...scopesOf(body, logsRequest)].flatMap(([of, scope]) =>
    (listOf(scope, 'records') as Fields[]).map((fields) => ({
      event: (fields['event'] ?? '') as string,
      severity: fields['severity'] as number,
      body: scalar(fields['body']) as string,
      attributes: attributesOf(fields),
      traceId: fields['traceId'] as string | undefined,
      spanId: fields['spanId'] as string | undefined,
      resource: of,
    })),
  );
}
