/** Converts annotations of a Gateway that configure its waypoint to flags of the waypoint's program. Pure. */
import { gatewayIdleKeys, waypointIdleFlags } from './idle-settings.js';
import type { Annotations } from './labels.js';
import { servicePolicyKeys } from './service-policy.js';

const mergeSlashesKey = 'weft.dev/merge-slashes';
const trustedProxiesKey = 'weft.dev/trusted-proxies';

/** Whether a text is a number of proxies that may be trusted. */
export const isTrustedProxies = (text: string): boolean => /^[0-9]$/.test(text);

/** Annotations that are flags with the same values. */
const settings = [
  {
    key: mergeSlashesKey,
    flag: '--merge-slashes',
    isValid: (value: string) => value === 'enabled' || value === 'disabled',
    expected: 'enabled or disabled',
  },
  {
    key: trustedProxiesKey,
    flag: '--trusted-proxies',
    isValid: isTrustedProxies,
    expected: 'a number from 0 to 9',
  },
] as const;

/** The annotations that Gateways may have. */
export const gatewayKeys: readonly string[] = [
  ...new Set([...gatewayIdleKeys, mergeSlashesKey, trustedProxiesKey, ...servicePolicyKeys]),
];

/** Flags from a Gateway's annotations. If there are problems, the caller must not use the flags and leaves the waypoint unchanged. */
export function waypointFlags(annotations: Annotations = {}): {
  readonly flags: readonly string[];
  readonly problems: readonly string[];
} {
  const idle = waypointIdleFlags(annotations);
  const flags = [...idle.flags];
  const problems = [...idle.problems];
  for (const { key, flag, isValid, expected } of settings) {
    const value = annotations[key];
    if (value === undefined) continue;
    if (isValid(value)) flags.push(`${flag}=${value}`);
    else
      problems.push(
        `annotation ${key}: ${JSON.stringify(value.slice(0, 64))} is unknown: expected ${expected}; the waypoint stays unchanged`,
      );
  }
  return { flags, problems };
}
