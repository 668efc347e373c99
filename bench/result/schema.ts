/** JSON Schema of the result file. A change that older readers would misread gets a new name. */
export const schemaName = 'weft.dev/bench/v1';

const text = { type: 'string' } as const;
const number = { type: 'number' } as const;
const placement = { enum: ['same-node', 'cross-node', 'own'] } as const;
const numbers = { type: 'object', additionalProperties: number } as const;
const spread = {
  type: 'object',
  required: ['median', 'min', 'max'],
  properties: { median: number, min: number, max: number },
} as const;
const object = (properties: object, required: readonly string[] = Object.keys(properties)): object => ({
  type: 'object',
  required,
  properties,
});
const list = (items: object): object => ({ type: 'array', items });

export const resultSchema = {
  $schema: 'http://json-schema.org/draft-07/schema#',
  title: 'Result of npm run bench',
  ...object({
    schema: { const: schemaName },
    where: { enum: ['standalone', 'cluster', 'own'] },
    startedAt: text,
    endedAt: text,
    interrupted: { type: 'boolean' },
    settings: { type: 'object' },
    machine: { type: 'object' },
    versions: { type: 'object', additionalProperties: text },
    variants: list(
      object({
        name: text,
        title: text,
        kind: { enum: ['none', 'noise', 'sidecar', 'weft', 'other'] },
        about: text,
      }),
    ),
    workloads: list(
      object({
        name: text,
        title: text,
        kind: { enum: ['load', 'scale', 'cost'] },
        pointTitle: text,
        about: text,
      }),
    ),
    samples: list(
      object(
        {
          round: { type: 'integer', minimum: 0 },
          placement,
          variant: text,
          workload: text,
          point: text,
          perSecondWanted: number,
          values: numbers,
          short: text,
        },
        ['round', 'placement', 'variant', 'workload', 'point', 'values'],
      ),
    ),
    figures: list(
      object(
        {
          placement,
          workload: text,
          point: text,
          metric: text,
          variant: text,
          values: spread,
          rounds: { type: 'integer', minimum: 1 },
          ratio: spread,
          noise: spread,
          difference: { enum: ['none', 'better', 'worse'] },
        },
        ['placement', 'workload', 'point', 'metric', 'variant', 'values', 'rounds', 'difference'],
      ),
    ),
    missing: list(object({ what: text, why: text })),
    failures: list(
      object({ round: number, placement, variant: text, workload: text, point: text, why: text }),
    ),
    evidence: list(object({ variant: text, what: text, value: number })),
    generators: list(object({ name: text, version: text, baseline: numbers })),
    goals: list(
      object(
        {
          what: text,
          wanted: text,
          found: spread,
          state: { enum: ['reached', 'by the median alone', 'not reached', 'not measured'] },
          unit: text,
          from: text,
        },
        ['what', 'wanted', 'state', 'unit', 'from'],
      ),
    ),
  }),
} as const;
