/** The spec of Istio's Telemetry, with the fields that Weft reads. */
import type { Labels } from '../../src/model/labels.js';

interface TelemetryTarget {
  readonly group?: string;
  readonly kind: string;
  readonly name: string;
}
/** Of which side of a connection a rule is. */
interface TelemetryMatch {
  readonly mode?: 'CLIENT_AND_SERVER' | 'CLIENT' | 'SERVER';
}

export interface TelemetrySpec {
  readonly selector?: { readonly matchLabels?: Labels };
  readonly targetRef?: TelemetryTarget;
  readonly targetRefs?: readonly TelemetryTarget[];
  readonly accessLogging?: readonly {
    readonly disabled?: boolean | null;
    readonly match?: TelemetryMatch;
    readonly filter?: { readonly expression?: string };
  }[];
  readonly tracing?: readonly {
    readonly match?: TelemetryMatch;
    readonly disableSpanReporting?: boolean | null;
    readonly randomSamplingPercentage?: number | null;
  }[];
}
