/** The applications of these tests: a client that sends requests continuously, and servers on both nodes (manifests/apps.yaml). */
import { until } from '../../../src/base/wait.js';
import type { ConnectionRecord } from '../../../src/telemetry/connection-record.js';
import { httpGet, kubectl } from '../../support/cluster.js';

export const shop = (...args: string[]): Promise<string> => kubectl('-n', 'shop', ...args);

/** Results so far of the client shop/web, which sends a request every few milliseconds. */
export interface Traffic {
  readonly good: number;
  readonly bad: number;
  readonly last: string;
  readonly errors: readonly string[];
}
export const traffic = async (): Promise<Traffic> =>
  JSON.parse(
    await shop('exec', 'deploy/web', '--', 'node', '-e', httpGet('http://localhost:9000/')),
  ) as Traffic;
/** Results of the client since `before`, once there are `count` more responses. */
export async function since(before: Traffic, count = 50): Promise<Traffic> {
  return until(`${count} more responses`, 30_000, async () => {
    const now = await traffic();
    return (
      now.good - before.good >= count && { ...now, good: now.good - before.good, bad: now.bad - before.bad }
    );
  });
}
export const ofWeb = (record: ConnectionRecord): boolean =>
  record.direction === 'outbound' && record.source.pod?.startsWith('web-') === true;

export const denyWeb = `apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: no-web, namespace: shop }
spec: { action: DENY, selector: { matchLabels: { app: api } }, rules: [{ from: [{ serviceAccounts: [shop/web] }] }] }
`;
