/** Weights of a TrafficSplit's backends. Pure. */
import type { TrafficSplitSpec } from '../../objects/objects.js';

/** Quantities of Kubernetes in thousandths, as far as weights can have them. */
const units: Readonly<Record<string, number>> = { m: 1, '': 1000, k: 1e6, M: 1e9 };
/** The largest weight of a route's backend. */
const weightMax = 1_000_000;

/** The weight in thousandths. Error: it is none. @param given undefined: 0, as the API of the first version reads it */
function thousandthsOf(given: number | string | undefined, field: string): number {
  if (given === undefined) return 0;
  const text = String(given).trim();
  const [, number = '', unit = ''] = /^(\d{1,12}(?:\.\d{1,6})?)([mkM]?)$/.exec(text) ?? [];
  const thousandths = Number(number) * (units[unit] ?? 0);
  if (
    number === '' ||
    !Number.isInteger(thousandths) ||
    (typeof given === 'number' && !Number.isInteger(given))
  )
    throw new Error(
      `${field}: ${JSON.stringify(given)} is no weight: write a whole number, or a quantity such as 500m`,
    );
  return thousandths;
}

const divisor = (a: number, b: number): number => (b === 0 ? a : divisor(b, a % b));

/** The backends' weights as whole numbers with the same proportions. Error: a weight that cannot be read. */
export function weightsOf(backends: TrafficSplitSpec['backends']): readonly number[] {
  const given = backends.map(({ weight }, index) => thousandthsOf(weight, `spec.backends[${index}].weight`));
  const common = given.reduce(divisor, 0) || 1;
  // Whole numbers stay as they are written.
  const by = given.every((one) => one % 1000 === 0) ? 1000 : common;
  const weights = given.map((one) => one / by);
  const largest = Math.max(0, ...weights);
  return largest <= weightMax ? weights : weights.map((one) => Math.ceil((one * weightMax) / largest));
}
