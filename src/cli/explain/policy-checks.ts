/** Policies that apply, evaluated one by one by the functions that decide about all of them together. Pure. */
import type { HttpAttributes, Verdict } from '../../policy/authorize.js';
import { authorizeClient } from '../../waypoint/authorization/authorize.js';
import type { PolicyGroup } from '../../waypoint/authorization/endpoint-policies.js';
import type { Client } from '../../waypoint/listener/client.js';
import type { PolicyCheck } from './result.js';

export interface Decided {
  readonly policy?: string | undefined;
  readonly rule?: number | undefined;
}
/** Marks the policies that decided: several ALLOW policies that do not match are named together. */
export const deciding = (checks: readonly PolicyCheck[], { policy }: Decided): readonly PolicyCheck[] => {
  const names = new Set(policy?.split(',').map((one) => one.trim()));
  return checks.map((one) => ({ ...one, decides: names.has(one.policy) }));
};

/** Each policy alone, by the function that decides about all. */
export function checksOf(
  groups: readonly PolicyGroup[],
  at: string,
  client: Client,
  http: HttpAttributes | undefined,
  serverName?: string,
): readonly PolicyCheck[] {
  const found = new Map<string, PolicyCheck>();
  for (const group of groups)
    for (const policy of group.policies) {
      const named = group.named.filter(({ key }) => key === policy.key);
      const verdict = authorizeClient([{ ...group, policies: [policy], named }], client, http, serverName);
      const check = checkOf(policy, at, verdict);
      const before = found.get(policy.key);
      // A policy may apply at the Service and at the endpoint: what refuses counts.
      if (!before || check.result === 'refuses') found.set(policy.key, check);
    }
  return [...found.values()];
}

/** @param verdict that of the policy alone */
export function checkOf(
  { key, action }: { readonly key: string; readonly action: 'allow' | 'deny' },
  at: string,
  { reason, rule, audited }: Verdict,
): PolicyCheck {
  const result =
    audited.length > 0
      ? 'would refuse (audit mode)'
      : reason === 'denied'
        ? 'refuses'
        : reason === 'allowed'
          ? 'allows'
          : 'does not match';
  return { policy: key, action, at, result, ...(rule === undefined ? {} : { rule }), decides: false };
}
