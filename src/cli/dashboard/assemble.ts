/** Puts the snapshot of the page together from what could be read. Pure. */
import type { Change, ChangesAnswer } from '../../model/change.js';
import { policyNames, type Edge } from '../../model/edge.js';
import type {
  EdgeState,
  MeshSnapshot,
  PolicyState,
  Problem,
  ProgramState,
  SnapshotPart,
  WorkloadState,
} from '../../model/mesh-snapshot.js';
import { observedOnly } from '../../model/party-name.js';
import type { Observation } from '../edges/observation.js';
import { withRates } from '../edges/with-rates.js';
import type { EdgeHistory } from '../../telemetry/observed/edge-history.js';
import { edgeStates } from '../../telemetry/observed/edge-states.js';
import type { ObjectsView, PolicyRules } from './objects-view.js';
import type { ProgramsView } from './programs.js';

/** What a source says. `why`: sentences about what of it could not be read. Without a value nothing could. */
export interface Reading<T> {
  readonly value?: T;
  readonly why: readonly string[];
}
export const read = <T>(value: T, why: readonly string[] = []): Reading<T> => ({ value, why });
export const unread = (why: string): Reading<never> => ({ why: [why] });

export interface Readings {
  readonly mesh: MeshSnapshot['mesh'];
  readonly edges: Reading<Observation>;
  readonly history: Reading<EdgeHistory>;
  readonly changes: Reading<ChangesAnswer>;
  readonly objects: Reading<ObjectsView>;
  readonly programs: Reading<ProgramsView>;
  readonly problems: Reading<readonly Problem[]>;
}

const changesMax = 200;
/** A change that was just sent need not be acknowledged yet. */
const acknowledgedMsMax = 10_000;

/** Ends of edges that no object tells of: outside of the mesh, or not readable. */
function unknownEnds(edges: readonly EdgeState[], known: readonly WorkloadState[]): WorkloadState[] {
  const ids = new Set(known.map(({ id }) => id));
  const found = new Map<string, WorkloadState>();
  for (const id of edges.flatMap(({ source, destination }) => [source, destination])) {
    if (!ids.has(id)) found.set(id, observedOnly(id));
  }
  return [...found.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
}

function policyStates(policies: readonly PolicyRules[], edges: readonly Edge[]): PolicyState[] {
  // The client's side may report what the other side refused, too.
  const bySide = [true, false].map((isSource) => {
    const counts = new Map<string, { refused: number; audited: number }>();
    for (const { reporter, policy, counts: of } of edges) {
      if ((reporter === 'source') !== isSource) continue;
      for (const name of policyNames(policy)) {
        const sum = counts.get(name) ?? { refused: 0, audited: 0 };
        counts.set(name, { refused: sum.refused + of.refused, audited: sum.audited + of.audited });
      }
    }
    return counts;
  });
  return policies.map(({ key, ...rules }) => {
    const counts = bySide.map((side) => side.get(key) ?? { refused: 0, audited: 0 });
    return {
      ...rules,
      refused: Math.max(...counts.map(({ refused }) => refused)),
      audited: Math.max(...counts.map(({ audited }) => audited)),
    };
  });
}

/**
 * Receivers whose newest change is not acknowledged, or was not accepted.
 * @param changes the newest first
 */
function behind(changes: readonly Change[], nowMs: number): ReadonlyMap<string, boolean> {
  const found = new Map<string, boolean>();
  for (const { timeMs, receivers } of changes)
    for (const { name, acknowledgedMs, refused } of receivers) {
      if (found.has(name)) continue;
      const isLate = acknowledgedMs === undefined && nowMs - timeMs > acknowledgedMsMax;
      if (acknowledgedMs !== undefined || isLate) found.set(name, isLate || refused !== undefined);
    }
  return found;
}

/**
 * Who has the current configuration. A program that is connected is not known to have it while nobody says what it has acknowledged: changes
 * could not be read, or a replica to which it may have acknowledged does not answer.
 * @param late from `behind`
 */
function withSync(
  programs: readonly ProgramState[],
  changes: ChangesAnswer | undefined,
  late: ReadonlyMap<string, boolean>,
): ProgramState[] {
  return programs.map(({ isInSync, ...one }) => {
    if (isInSync !== true) return { ...one, ...(isInSync === undefined ? {} : { isInSync }) };
    if (!changes) return one;
    if (late.get(one.name) !== true) return { ...one, isInSync };
    return changes.missing.length > 0 ? one : { ...one, isInSync: false };
  });
}

const withShares = (states: readonly EdgeState[], history: EdgeHistory | undefined): EdgeState[] =>
  states.map((one) => {
    const shares = history?.shares.get(one.id);
    return shares === undefined ? one : { ...one, shares };
  });

/**
 * Which parts say nothing, and which of the others not all. Ends of edges are workloads, too, but that does not say which workloads there are.
 */
function gapsOf(readings: Readings): Pick<MeshSnapshot, 'unknown' | 'partial'> {
  const { edges, history, changes, objects, programs, problems } = readings;
  const sources: Readonly<Record<SnapshotPart, Reading<unknown>>> = {
    programs,
    workloads: { ...objects, value: objects.value?.workloads },
    edges,
    policies: { ...objects, value: objects.value?.policies },
    problems,
    changes: { ...changes, why: [...changes.why, ...(changes.value?.missing ?? [])] },
    history,
  };
  const parts = Object.keys(sources) as SnapshotPart[];
  const unknown = parts.filter((part) => sources[part].value === undefined);
  const partial = parts.filter((part) => !unknown.includes(part) && sources[part].why.length > 0);
  return {
    ...(unknown.length > 0 ? { unknown } : {}),
    ...(partial.length > 0 ? { partial } : {}),
  };
}

/** Whether nothing of the mesh could be read: no edges, changes or objects, and no program that responds. */
export const isNothingRead = ({ unknown = [], programs }: MeshSnapshot): boolean =>
  (['edges', 'changes', 'workloads'] as const).every((part) => unknown.includes(part)) &&
  programs.every(({ health }) => health !== 'ready');

/** @param fromMs the beginning of the window that was asked for */
export function assemble(readings: Readings, fromMs: number, nowMs: number): MeshSnapshot {
  const { mesh, edges, history, changes, objects, programs, problems } = readings;
  const observed = edges.value?.edges ?? [];
  const observedSinceMs = Math.max(fromMs, edges.value?.observedSinceMs ?? fromMs);
  const states = edges.value
    ? withRates(edges.value, (all, sinceMs) => edgeStates(all, sinceMs, edges.value?.nowMs ?? nowMs))
    : [];
  const known = objects.value?.workloads ?? [];
  const unreadPrograms = programs.value?.unread ?? [];
  const newest = [...(changes.value?.changes ?? [])].sort((a, b) => b.timeMs - a.timeMs);
  return {
    format: 1,
    takenMs: nowMs,
    mesh,
    fromMs: observedSinceMs,
    programs: withSync(programs.value?.programs ?? [], changes.value, behind(newest, nowMs)),
    ...(unreadPrograms.length > 0 ? { programsUnread: unreadPrograms } : {}),
    workloads: [...known, ...unknownEnds(states, known)],
    edges: withShares(states, history.value),
    ...(history.value ? { history: history.value.history } : {}),
    policies: policyStates(objects.value?.policies ?? [], observed),
    problems: [...(problems.value ?? [])],
    changes: newest.slice(0, changesMax),
    ...gapsOf(readings),
    incomplete: [
      ...new Set([
        ...[edges, history, changes, objects, programs, problems].flatMap(({ why }) => why),
        ...(changes.value?.missing ?? []).map((name) => `changes: no answer from ${name}`),
      ]),
    ],
  };
}
