/** Reads the report of a Job. */
import { Ajv } from 'ajv';
import { WeftError } from '../../src/base/errors.js';
import type { ClientReport } from './plan.js';

const text = { type: 'string', maxLength: 2000 } as const;
const numbers = { type: 'object', additionalProperties: { type: 'number' } } as const;
const validate = new Ajv({ strict: false }).compile({
  type: 'object',
  required: ['samples', 'failures', 'counters', 'versions'],
  properties: {
    samples: {
      type: 'array',
      maxItems: 1000,
      items: {
        type: 'object',
        required: ['workload', 'point', 'values'],
        properties: {
          workload: text,
          point: text,
          perSecondWanted: { type: 'number' },
          values: numbers,
          short: text,
        },
      },
    },
    failures: {
      type: 'array',
      maxItems: 1000,
      items: {
        type: 'object',
        required: ['workload', 'point', 'why'],
        properties: { workload: text, point: text, why: text },
      },
    },
    counters: numbers,
    versions: { type: 'object', additionalProperties: text },
  },
});

/** Parses the last line of a Job's log. Throws WEFT_BENCH_JOB with that line if it is not a report. */
export function readReport(log: string): ClientReport {
  const last = log.trimEnd().split('\n').at(-1) ?? '';
  try {
    const value: unknown = JSON.parse(last);
    if (validate(value)) return value as ClientReport;
  } catch {
    // Reported below.
  }
  throw new WeftError(
    'WEFT_BENCH_JOB',
    `the client's Job ended without a report: ${last.slice(-500) || 'it said nothing'}`,
  );
}
