/** Objects of these tests: routes as text, and what the control plane reports on an object. */
import { until } from '../../../src/base/wait.js';
import { kubectl } from '../../support/cluster.js';

export const store = (...args: string[]): Promise<string> => kubectl('-n', 'store', ...args);
interface Condition {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
  readonly observedGeneration: number;
}
export interface ObjectStatus {
  readonly metadata: { readonly generation: number };
  readonly status?: {
    readonly conditions?: readonly Condition[];
    readonly addresses?: readonly { readonly value: string }[];
    readonly parents?: readonly {
      readonly controllerName: string;
      readonly conditions: readonly Condition[];
    }[];
  };
}
export const read = async (...what: string[]): Promise<ObjectStatus> =>
  JSON.parse(await store('get', ...what, '-o', 'json')) as ObjectStatus;
/** Resolves with a condition once it has the reason and the object's current generation. */
export const conditionOf = (
  what: readonly [string, string],
  type: string,
  reason: string,
): Promise<Condition> => {
  let last: unknown;
  return until(`${what.join(' ')} has condition ${type} with reason ${reason}`, 60_000, async () => {
    const { metadata, status } = await read(...what);
    const conditions = [
      ...(status?.conditions ?? []),
      ...(status?.parents ?? []).flatMap((one) => one.conditions),
    ];
    last = conditions;
    const found = conditions.find((one) => one.type === type);
    return found?.reason === reason && found.observedGeneration === metadata.generation && found;
  }).catch((error: unknown) => {
    throw new Error(`${String(error)}: ${JSON.stringify(last)}`);
  });
};

export const route = (
  name: string,
  rules: string,
  more = '',
  kind = 'HTTPRoute',
  namespace = 'store',
): string => `---
apiVersion: gateway.networking.k8s.io/v1
kind: ${kind}
metadata: { name: ${name}, namespace: ${namespace} }
spec:
  parentRefs: [{ group: '', kind: Service, name: api, namespace: store, port: ${kind === 'GRPCRoute' ? 9090 : 80}${more} }]
  rules: ${rules}
`;
export const to = (name: string, more = ''): string =>
  `backendRefs: [{ name: ${name}, namespace: store, port: 80${more} }]`;

export const rollout = (...args: string[]): Promise<string> =>
  store('rollout', 'status', ...args, '--timeout=120s');
