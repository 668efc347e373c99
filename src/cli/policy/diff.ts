/** What changes for observed calls if policies change. Pure. */
import type { Call } from './calls.js';
import { CallEvaluator, targetKey, type Evaluation, type Outcome } from './evaluate-call.js';
import type { PolicyMesh } from './policy-mesh.js';

export type ChangeKind =
  'newly-denied' | 'newly-allowed' | 'newly-audited' | 'no-longer-audited' | 'may-change';

export interface Change {
  readonly kind: ChangeKind;
  readonly call: Call;
  readonly before: Evaluation;
  readonly after: Evaluation;
}

export interface Diff {
  readonly changes: readonly Change[];
  /** Calls that cannot be evaluated, with the reason. They are never counted as unchanged. */
  readonly unknown: readonly { readonly call: Call; readonly why: string }[];
  readonly unchanged: number;
}

const order: readonly ChangeKind[] = [
  'newly-denied',
  'may-change',
  'newly-audited',
  'newly-allowed',
  'no-longer-audited',
];

/** `depends`: some of a call is refused. A change that can only allow more of it is none that may refuse. */
function kindOf(before: Evaluation, after: Evaluation): ChangeKind | undefined {
  const [was, is]: [Outcome, Outcome] = [before.outcome, after.outcome];
  if (is === 'depends') {
    if (was === 'refused') return 'newly-allowed';
    return was === is && before.policy === after.policy && before.why === after.why
      ? undefined
      : 'may-change';
  }
  if (is === 'refused')
    return was === 'refused' ? undefined : was === 'depends' ? 'may-change' : 'newly-denied';
  if (was === 'refused' || was === 'depends') return 'newly-allowed';
  if (is === was) return undefined;
  return is === 'audited' ? 'newly-audited' : 'no-longer-audited';
}

/** Evaluates each call in both meshes. The changes that may refuse something come first, then by how often calls were seen. */
export function policyDiff(calls: readonly Call[], before: PolicyMesh, after: PolicyMesh): Diff {
  const [evaluateBefore, evaluateAfter] = [new CallEvaluator(before), new CallEvaluator(after)];
  const changes: Change[] = [];
  const unknown: { call: Call; why: string }[] = [];
  let unchanged = 0;
  for (const call of calls) {
    // What leaves the mesh has no policy.
    if (call.destination.namespace === '' && !call.destination.isOther && call.services.size === 0) {
      unchanged++;
      continue;
    }
    const key = targetKey(call);
    const [was, is] = [evaluateBefore.evaluate(call, key), evaluateAfter.evaluate(call, key)];
    if (is.outcome === 'unknown') unknown.push({ call, why: is.why });
    else if (was.outcome === 'unknown')
      changes.push({
        kind: is.outcome === 'refused' ? 'newly-denied' : 'may-change',
        call,
        before: was,
        after: is,
      });
    else {
      const kind = kindOf(was, is);
      if (kind === undefined) unchanged++;
      else changes.push({ kind, call, before: was, after: is });
    }
  }
  const total = ({ call }: Change): number => call.passed + call.refused;
  changes.sort((a, b) => order.indexOf(a.kind) - order.indexOf(b.kind) || total(b) - total(a));
  return { changes, unknown, unchanged };
}
