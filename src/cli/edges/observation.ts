/** The edges that a command shows, and over which time they were observed. */
import { edgeSlotMs, edgesKeptMs, type Edge, type EdgeAnswer, type EdgeQuery } from '../../model/edge.js';
import { askMesh } from '../control-admin.js';
import type { MeshFlags } from '../place.js';
import { edgesQuestion } from './edges-question.js';
import { keptOrPrometheusText } from './kept.js';

export interface Observation {
  readonly edges: readonly Edge[];
  readonly nowMs: number;
  /** Since when all programs that answered have observed. */
  readonly observedSinceMs: number;
  /**
   * Edges whose counts are all of the time since `fromMs`, for rates. Absent: the control plane has not run for long enough. A control plane
   * that has just started gets reports of the time before, and its replicas have not started at the same time.
   */
  readonly rated?: { readonly edges: readonly Edge[]; readonly fromMs: number };
  /** Replicas that did not answer. */
  readonly missing: readonly string[];
  /** What is missing: sentences. */
  readonly gaps: readonly string[];
}

/** The control plane computes its 15 minutes a moment before or after this program does. */
const keptSlackMs = 10_000;
/** From the start of the first whole slot. */
const ratedMsMin = 20_000;

const slotBefore = (ms: number): number => Math.floor(ms / edgeSlotMs) * edgeSlotMs;
const slotAfter = (ms: number): number => Math.ceil(ms / edgeSlotMs) * edgeSlotMs;

/** Since when the counts of an answer are, if the control plane has observed all of the time that was asked for. Pure. */
function countedFromMs(
  { sinceMs: askedMs }: EdgeQuery,
  { sinceMs }: EdgeAnswer,
  nowMs: number,
): number | undefined {
  const wantedMs = Math.max(askedMs, nowMs - edgesKeptMs);
  return sinceMs > wantedMs + keptSlackMs ? undefined : slotBefore(wantedMs);
}

function* gapsOf({ sinceMs, missing }: EdgeAnswer, isYoung: boolean, askedForMs: number): Generator<string> {
  if (isYoung) yield `observed since ${new Date(sinceMs).toISOString()}: programs report every 10 s`;
  if (askedForMs > edgesKeptMs) yield keptOrPrometheusText(askedForMs);
  for (const replica of missing) yield `no answer from ${replica}: what was reported to it is missing`;
}

/** What the control plane has. `ask`: asks it. Errors: those of `ask`. */
export async function observe(
  ask: (query: EdgeQuery) => Promise<EdgeAnswer>,
  query: EdgeQuery,
  nowMs: number,
): Promise<Observation> {
  const answer = await ask(query);
  const fromMs = countedFromMs(query, answer, nowMs);
  const found = {
    edges: answer.edges,
    nowMs,
    observedSinceMs: answer.sinceMs,
    missing: answer.missing,
    gaps: [...gapsOf(answer, fromMs === undefined, nowMs - query.sinceMs)],
  };
  if (fromMs !== undefined) return { ...found, rated: { edges: answer.edges, fromMs } };
  const wholeMs = slotAfter(answer.sinceMs);
  if (nowMs - wholeMs < ratedMsMin) return found;
  const { edges } = await ask({ ...query, sinceMs: wholeMs });
  return { ...found, rated: { edges, fromMs: wholeMs } };
}

/** The observation of the mesh that a command is about. Errors: those of askMesh. */
export const observeMesh = (flags: MeshFlags, query: EdgeQuery, nowMs = Date.now()): Promise<Observation> =>
  observe((one) => askMesh(flags, edgesQuestion(one)), query, nowMs);
