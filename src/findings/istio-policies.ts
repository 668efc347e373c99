/** Istio's AuthorizationPolicies in the form in which findings read policies. Pure. */
import type { Labels } from '../model/labels.js';
import type { CheckedPolicy, Labeled } from './objects.js';

interface Target {
  readonly kind: string;
  readonly name: string;
}
export interface CheckedAuthorizationPolicy extends Labeled {
  readonly spec?: {
    readonly action?: string;
    readonly selector?: { readonly matchLabels?: Labels };
    readonly targetRef?: Target;
    readonly targetRefs?: readonly Target[];
    readonly rules?: readonly {
      readonly to?: readonly {
        readonly operation?: { readonly ports?: readonly string[]; readonly notPorts?: readonly string[] };
      }[];
      readonly when?: readonly {
        readonly key: string;
        readonly values?: readonly string[];
        readonly notValues?: readonly string[];
      }[];
    }[];
  };
}

type Ports = NonNullable<NonNullable<CheckedPolicy['spec']['rules']>[number]['to']>[number];
const portsOf = (ports: readonly string[] = [], notPorts: readonly string[] = []): Ports => ({
  ports: ports.map(Number),
  notPorts: notPorts.map(Number),
});

/** Undefined: the policy is for waypoints, which have no pods and ports of their own. */
export function checkedPolicy({
  metadata,
  spec = {},
}: CheckedAuthorizationPolicy): CheckedPolicy | undefined {
  const { action, selector, targetRef, targetRefs = targetRef ? [targetRef] : [], rules = [] } = spec;
  const services = targetRefs.filter(({ kind }) => kind === 'Service');
  if (targetRefs.length > services.length) return undefined;
  const labels = Object.keys(selector?.matchLabels ?? {}).length > 0 ? selector : undefined;
  return {
    kind: 'AuthorizationPolicy',
    metadata,
    spec: {
      // CUSTOM and AUDIT match as a DENY does.
      action: (action ?? 'ALLOW') === 'ALLOW' ? 'ALLOW' : 'DENY',
      ...(labels ? { selector: labels } : {}),
      ...(services.length > 0 ? { targetRefs: services } : {}),
      rules: rules.map(({ to = [], when = [] }) => ({
        to: [
          ...to.map(({ operation }) => portsOf(operation?.ports, operation?.notPorts)),
          ...when
            .filter(({ key }) => key === 'destination.port')
            .map(({ values, notValues }) => portsOf(values, notValues)),
        ],
      })),
    },
  };
}
