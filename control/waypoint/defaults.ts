/** Defaults for rendering waypoints. The chart passes them to the control plane as JSON (`--waypoint`). */
import { Ajv } from 'ajv';
import { WeftError } from '../../src/base/errors.js';
import type { JsonObject } from './overlay.js';

export interface WaypointDefaults {
  readonly image: string;
  readonly imagePullPolicy: string;
  readonly imagePullSecrets: readonly JsonObject[];
  readonly replicas: number;
  /** Worker processes per replica, which share the port. */
  readonly workers: number;
  readonly resources: JsonObject;
  readonly extraArgs: readonly string[];
  /**
   * Name of a Secret in the Gateway's namespace. Clients that present the value of its key `token` may read the waypoint's metrics with
   * names. Empty: no client may.
   */
  readonly metricsTokenSecret: string;
  /** HOST:PORT of the rate limit service. Empty: there is none. */
  readonly rateLimiter: string;
  /** Prefixes of labels and annotations that Gateways may set on their waypoints' objects, in addition to those that are always allowed. */
  readonly metadataPrefixes: readonly string[];
}

const schema = {
  type: 'object',
  additionalProperties: false,
  required: ['image'],
  properties: {
    image: { type: 'string', minLength: 1 },
    imagePullPolicy: { enum: ['Always', 'IfNotPresent', 'Never'], default: 'IfNotPresent' },
    imagePullSecrets: { type: 'array', items: { type: 'object' }, default: [] },
    replicas: { type: 'integer', minimum: 1, default: 2 },
    workers: { type: 'integer', minimum: 1, maximum: 64, default: 2 },
    resources: { type: 'object', default: {} },
    extraArgs: { type: 'array', items: { type: 'string' }, default: [] },
    metricsTokenSecret: { type: 'string', default: '' },
    rateLimiter: { type: 'string', default: '' },
    metadataPrefixes: {
      type: 'array',
      // Label prefixes are DNS names.
      items: {
        type: 'string',
        pattern: '^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$',
      },
      default: [],
    },
  },
} as const;

/** Parses the JSON of `--waypoint` and fills in the defaults. Error: WEFT_WAYPOINT_DEFAULTS. */
export function waypointDefaults(json: string): WaypointDefaults {
  let given: unknown;
  try {
    given = JSON.parse(json);
  } catch (error) {
    throw new WeftError('WEFT_WAYPOINT_DEFAULTS', `--waypoint is not valid JSON`, { cause: error });
  }
  const ajv = new Ajv({ allErrors: true, useDefaults: true });
  const validate = ajv.compile<WaypointDefaults>(schema);
  if (validate(given)) return given;
  throw new WeftError('WEFT_WAYPOINT_DEFAULTS', `--waypoint: ${ajv.errorsText(validate.errors)}`);
}
