/** One list of the changes that several replicas of the control plane report, each with the receivers that it serves. Pure. */
import type { Change, ChangeReceiver, ChangesAnswer } from '../../src/model/change.js';

/** Replicas hear of a deletion, which has no version, at about the same time. */
const sameMs = 10_000;

const keyOf = ({ kind, namespace, name, operation, version = '' }: Change): string =>
  JSON.stringify([kind, namespace, name, operation, version]);

/** A receiver may have moved to another replica, which it acknowledged to. */
function mergedReceivers(a: readonly ChangeReceiver[], b: readonly ChangeReceiver[]): ChangeReceiver[] {
  const byName = new Map(a.map((one) => [one.name, one]));
  for (const one of b) {
    const known = byName.get(one.name);
    if (known?.acknowledgedMs === undefined) byName.set(one.name, one);
  }
  return [...byName.values()];
}

function mergedChange(a: Change, b: Change): Change {
  const of = (name: 'acknowledged' | 'waiting'): number =>
    (a.omitted?.[name] ?? 0) + (b.omitted?.[name] ?? 0);
  return {
    ...a,
    timeMs: Math.min(a.timeMs, b.timeMs),
    resources: Math.max(a.resources, b.resources),
    receivers: mergedReceivers(a.receivers, b.receivers),
    ...(a.omitted || b.omitted
      ? { omitted: { acknowledged: of('acknowledged'), waiting: of('waiting') } }
      : {}),
  };
}

/** The answer for all replicas. A replica that began later knows less, so changes are complete since the last beginning. */
export function mergeAnswers(answers: readonly ChangesAnswer[], missing: readonly string[]): ChangesAnswer {
  const groups = new Map<string, Change[]>();
  for (const change of answers.flatMap(({ changes }) => changes)) {
    const group = groups.get(keyOf(change)) ?? [];
    groups.set(keyOf(change), group);
    const at = group.findIndex(
      (one) => change.version !== undefined || Math.abs(one.timeMs - change.timeMs) <= sameMs,
    );
    const same = group[at];
    if (same) group[at] = mergedChange(same, change);
    else group.push(change);
  }
  return {
    changes: [...groups.values()].flat().sort((a, b) => a.timeMs - b.timeMs),
    sinceMs: Math.max(...answers.map(({ sinceMs }) => sinceMs)),
    missing: [...missing, ...answers.flatMap((one) => one.missing)],
  };
}
