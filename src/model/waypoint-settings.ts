/** Converts annotations of a Gateway that configure its waypoint to flags of the waypoint's program. Pure. */
import { gatewayIdleKeys, waypointIdleFlags } from './idle-settings.js';
import type { Annotations } from './labels.js';
import { servicePolicyKeys } from './service-policy.js';

const mergeSlashesKey = 'weft.dev/merge-slashes';

/** The annotations that Gateways may have. */
export const gatewayKeys: readonly string[] = [
  ...new Set([...gatewayIdleKeys, mergeSlashesKey, ...servicePolicyKeys]),
];

/** Flags from a Gateway's annotations. If there are problems, the caller must not use the flags and leaves the waypoint unchanged. */
export function waypointFlags(annotations: Annotations = {}): {
  readonly flags: readonly string[];
  readonly problems: readonly string[];
} {
  const idle = waypointIdleFlags(annotations);
  const merge = annotations[mergeSlashesKey];
  if (merge === undefined) return idle;
  if (merge === 'enabled' || merge === 'disabled')
    return { flags: [...idle.flags, `--merge-slashes=${merge}`], problems: idle.problems };
  const shown = JSON.stringify(merge.slice(0, 64));
  const problem = `annotation ${mergeSlashesKey}: ${shown} is unknown: expected enabled or disabled; the waypoint stays unchanged`;
  return { flags: idle.flags, problems: [...idle.problems, problem] };
}
