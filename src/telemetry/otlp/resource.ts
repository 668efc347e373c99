/** What a program says about itself to an OTLP collector. */
import { hostname } from 'node:os';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { version } from '../../base/version.js';

export interface OtlpProgram {
  /** As in its traces: `weft-agent`, or the name of a waypoint's Gateway. */
  readonly service: string;
  readonly namespace: string;
  /** Tells the replicas of one service apart. Default: the host's name. */
  readonly instance?: string;
}

/** The attributes of OpenTelemetry's semantic conventions. */
export const resourceOf = ({ service, namespace, instance }: OtlpProgram) =>
  resourceFromAttributes({
    'service.name': service,
    'service.namespace': namespace,
    'service.instance.id': instance ?? hostname(),
    'service.version': version,
  });
