/** Annotations of a Gateway that set what its waypoint does, as flags of the waypoint's program. Pure. */
import { gatewayIdleKeys, waypointIdleFlags } from './idle-settings.js';
import type { Annotations } from './labels.js';

const mergeSlashesKey = 'weft.dev/merge-slashes';

/** The annotations that Gateways may have. */
export const gatewayKeys: readonly string[] = [...gatewayIdleKeys, mergeSlashesKey];

/** With problems no flag should be used: the waypoint stays as it is. */
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
  const problem = `annotation ${mergeSlashesKey}: ${shown} is unknown: it is enabled or disabled; the waypoint stays as it is`;
  return { flags: idle.flags, problems: [...idle.problems, problem] };
}
