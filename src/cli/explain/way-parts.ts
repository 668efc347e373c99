/** What several kinds of ways have in common. */
import { formatSocketAddress, type SocketAddress } from '../../model/address.js';
import type { Workload } from '../../model/workload.js';
import type { InboundPlan } from '../../path/choose-path.js';
import { authorize, type ConnectionAttributes } from '../../policy/authorize.js';
import { checkOf, deciding, type Decided } from './policy-checks.js';
import type { ExplainMesh } from './mesh.js';
import type { PolicyCheck, Way } from './result.js';

export const nodeText = (node: string): string =>
  node === '' || node === 'any' ? 'its node' : `node ${node}`;
export const podText = ({ namespace, name }: Workload): string => `${namespace}/${name}`;
export const targetText = (workload: Workload | undefined, target: SocketAddress): string =>
  workload ? `${podText(workload)} (${formatSocketAddress(target)})` : formatSocketAddress(target);

export const whyAllowed = ({
  reason,
  policy,
  rule,
}: {
  reason: string;
  policy?: string;
  rule?: number;
}): string => (reason === 'allowed' ? `policy ${policy} rule ${rule} allows it` : 'no policy forbids it');
export const decidedOf = ({ policy, rule }: Decided): Pick<Way, 'policy' | 'rule'> => ({
  ...(policy === undefined ? {} : { policy }),
  ...(rule === undefined ? {} : { rule }),
});

/** Each policy of a workload, evaluated alone. */
export function nodeChecks(
  mesh: ExplainMesh,
  workload: Workload,
  attributes: ConnectionAttributes,
  node: string,
  decided: { readonly policy?: string },
): readonly PolicyCheck[] {
  const checks = mesh.view
    .policiesFor(workload)
    .map((policy) => checkOf(policy, nodeText(node), authorize([policy], attributes)));
  return deciding(checks, decided);
}

/** What the node of the destination decides. */
export function arrival(
  mesh: ExplainMesh,
  workload: Workload,
  plan: InboundPlan,
): Pick<Way, 'outcome' | 'why' | 'code' | 'decidedBy' | 'policy' | 'rule' | 'audited' | 'policies'> {
  const node = mesh.enrolled(workload.uid)?.node ?? workload.node;
  const { verdict, attributes } = plan;
  const base = {
    decidedBy: nodeText(node),
    ...decidedOf(verdict ?? {}),
    audited: verdict?.audited ?? [],
    policies: attributes && verdict ? nodeChecks(mesh, workload, attributes, node, verdict) : [],
  };
  return plan.kind === 'refuse'
    ? { ...base, outcome: 'refused', why: plan.why, code: plan.code }
    : { ...base, outcome: 'allowed', why: whyAllowed(plan.verdict) };
}
