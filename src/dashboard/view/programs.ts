/** What the overview says about the programs of the mesh. Pure. */
import type { MeshSnapshot, ProgramState } from '../../model/mesh-snapshot.js';

/** Programs renew a certificate at half of its life, which is 24 h by default: one with less left was not renewed in time. */
const expiresSoonMs = 30 * 60_000;

export interface ProgramSummary {
  readonly ready: number;
  readonly total: number;
  /** Of those that are not ready: how many are not known. */
  readonly unknown: number;
  readonly problems: readonly ProgramState[];
}

/** Programs that are not ready, or of which it is not known. */
export function summaryOf(programs: readonly ProgramState[], kind: ProgramState['kind']): ProgramSummary {
  const own = programs.filter((program) => program.kind === kind);
  return {
    ready: own.filter(({ health }) => health === 'ready').length,
    total: own.length,
    unknown: own.filter(({ health }) => health === 'unknown').length,
    problems: own.filter(({ health }) => health !== 'ready'),
  };
}

/** Those that expire soon or have expired, the first one first. */
export const expiringSoon = (snapshot: MeshSnapshot, nowMs: number): ProgramState[] =>
  snapshot.programs
    .filter(
      ({ certificateExpiresMs }) =>
        certificateExpiresMs !== undefined && certificateExpiresMs - nowMs < expiresSoonMs,
    )
    .sort((a, b) => (a.certificateExpiresMs ?? 0) - (b.certificateExpiresMs ?? 0));

export interface VersionCount {
  /** Undefined: not known. */
  readonly version: string | undefined;
  readonly programs: readonly ProgramState[];
}

/** Programs by version, the most frequent first. */
export function versionsOf(programs: readonly ProgramState[]): VersionCount[] {
  const byVersion = new Map<string | undefined, ProgramState[]>();
  for (const program of programs)
    byVersion.set(program.version, [...(byVersion.get(program.version) ?? []), program]);
  return [...byVersion]
    .map(([version, own]) => ({ version, programs: own }))
    .sort((a, b) => b.programs.length - a.programs.length);
}

export interface SyncCount {
  readonly inSync: number;
  readonly behind: readonly ProgramState[];
  readonly unknown: number;
}

export const syncOf = (programs: readonly ProgramState[]): SyncCount => ({
  inSync: programs.filter(({ isInSync }) => isInSync === true).length,
  behind: programs.filter(({ isInSync }) => isInSync === false),
  unknown: programs.filter(({ isInSync }) => isInSync === undefined).length,
});

/** Programs that have a certificate of which it is not known when it expires. The control plane renews its own. */
export const undatedPrograms = (programs: readonly ProgramState[]): ProgramState[] =>
  programs.filter(
    ({ kind, certificateExpiresMs, hasNoCertificate }) =>
      (kind === 'agent' || kind === 'waypoint') &&
      certificateExpiresMs === undefined &&
      hasNoCertificate !== true,
  );
