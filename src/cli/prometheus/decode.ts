/**
 * Decodes responses of Prometheus' HTTP API: vectors and matrices of samples. Prometheus has labels from any program that it scrapes, and
 * the server itself may be any: what does not have the form is left out and counted. Never throws. Pure.
 */
import { isRecord } from '../../base/record.js';

/** Longer label values are cut: none that Weft writes is. */
const labelCharsMax = 512;

export interface Sample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export type PrometheusAnswer =
  | { readonly kind: 'error'; readonly why: string }
  | {
      readonly kind: 'vector';
      readonly samples: readonly Sample[];
      /** Samples without the form. */
      readonly undecodable: number;
    }
  | {
      readonly kind: 'times';
      /** Of the first sample of a range, in milliseconds; undefined: there is none. */
      readonly firstMs: number | undefined;
    };

const shapeless: PrometheusAnswer = { kind: 'error', why: 'this is no response of a Prometheus' };

function labelsOf(value: unknown): Readonly<Record<string, string>> | undefined {
  if (!isRecord(value)) return undefined;
  const labels: Record<string, string> = Object.create(null) as Record<string, string>;
  for (const [name, text] of Object.entries(value)) {
    if (typeof text !== 'string') return undefined;
    labels[name] = text.slice(0, labelCharsMax);
  }
  return labels;
}

/** `[seconds, "value"]` */
function pointOf(value: unknown): readonly [seconds: number, value: number] | undefined {
  if (!Array.isArray(value)) return undefined;
  const [seconds, text] = value as unknown[];
  if (typeof seconds !== 'number' || typeof text !== 'string') return undefined;
  const number = Number(text);
  return Number.isFinite(number) && Number.isFinite(seconds) && number >= 0 ? [seconds, number] : undefined;
}

function sampleOf(value: unknown): Sample | undefined {
  if (!isRecord(value)) return undefined;
  const labels = labelsOf(value['metric']);
  const point = pointOf(value['value']);
  return labels && point ? { labels, value: Math.min(point[1], Number.MAX_SAFE_INTEGER) } : undefined;
}

function firstOf(series: unknown): number[] {
  const values: unknown = isRecord(series) ? series['values'] : undefined;
  const [first] = Array.isArray(values) ? (values as unknown[]) : [];
  const point = pointOf(first);
  return point ? [point[0] * 1_000] : [];
}

export function decodeAnswer(text: string): PrometheusAnswer {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return shapeless;
  }
  if (!isRecord(value)) return shapeless;
  const { status, error, data } = value;
  if (status === 'error' && typeof error === 'string')
    return { kind: 'error', why: error.slice(0, labelCharsMax) };
  if (status !== 'success' || !isRecord(data) || !Array.isArray(data['result'])) return shapeless;
  const result = data['result'] as unknown[];
  if (data['resultType'] === 'matrix') {
    const firsts = result.flatMap(firstOf);
    return { kind: 'times', firstMs: firsts.reduce<number | undefined>(earlier, undefined) };
  }
  if (data['resultType'] !== 'vector') return shapeless;
  const samples = result.flatMap((one) => sampleOf(one) ?? []);
  return { kind: 'vector', samples, undecodable: result.length - samples.length };
}

const earlier = (a: number | undefined, b: number): number => (a === undefined ? b : Math.min(a, b));
