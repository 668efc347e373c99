/**
 * Annotations that set idle timeouts of a waypoint: on an HTTPRoute or GRPCRoute for the requests of its rules, on a Gateway for all
 * requests of its waypoint. The Gateway API has no field for these timeouts. Pure.
 */
import { durationMsOf, idleMsMax } from './duration.js';
import type { Annotations } from './labels.js';
import type { RouteIdleTimeouts } from './route.js';

const bodyKey = 'weft.dev/request-body-idle-timeout';
const streamKey = 'weft.dev/stream-idle-timeout';

function read(
  annotations: Annotations,
  key: string,
  problems: string[],
  instead: string,
): number | undefined {
  const text = annotations[key];
  if (text === undefined) return undefined;
  const ms = durationMsOf(text);
  if (ms === undefined || ms > idleMsMax) {
    const shown = JSON.stringify(text.slice(0, 64));
    problems.push(
      `annotation ${key}: ${shown} is no duration: expected for example 90s or 1h30m, at most 576h; 0s disables the timeout; ${instead}`,
    );
    return undefined;
  }
  return ms;
}

interface RouteIdleSettings {
  /** Undefined if no annotation sets a timeout. */
  readonly idleTimeouts: RouteIdleTimeouts | undefined;
  /** Invalid annotations; the waypoint's own timeouts apply in their place. */
  readonly problems: readonly string[];
}

/** Idle timeouts from a route's annotations. */
export function routeIdleSettings(annotations: Annotations = {}): RouteIdleSettings {
  const problems: string[] = [];
  const instead = "the waypoint's own timeout applies";
  const bodyIdleMs = read(annotations, bodyKey, problems, instead);
  const streamIdleMs = read(annotations, streamKey, problems, instead);
  const isSet = bodyIdleMs !== undefined || streamIdleMs !== undefined;
  return {
    idleTimeouts: isSet
      ? {
          ...(bodyIdleMs === undefined ? {} : { bodyIdleMs }),
          ...(streamIdleMs === undefined ? {} : { streamIdleMs }),
        }
      : undefined,
    problems,
  };
}

/** The annotations that routes may have. */
export const routeIdleKeys: readonly string[] = [bodyKey, streamKey];

/** Flags of the waypoint's program by Gateway annotation. */
const waypointFlags = {
  'weft.dev/request-head-timeout': '--request-head-timeout-ms',
  [bodyKey]: '--request-body-idle-timeout-ms',
  [streamKey]: '--stream-idle-timeout-ms',
  'weft.dev/connection-idle-timeout': '--connection-idle-timeout-ms',
} as const;

/** The annotations that Gateways may have. */
export const gatewayIdleKeys: readonly string[] = Object.keys(waypointFlags);

/** Flags of the waypoint's program from a Gateway's annotations. If there are problems, the caller must not use the flags. */
export function waypointIdleFlags(annotations: Annotations = {}): {
  readonly flags: readonly string[];
  readonly problems: readonly string[];
} {
  const problems: string[] = [];
  const flags = Object.entries(waypointFlags).flatMap(([key, flag]) => {
    const ms = read(annotations, key, problems, 'the waypoint stays unchanged');
    return ms === undefined ? [] : [`${flag}=${ms}`];
  });
  return { flags, problems };
}
