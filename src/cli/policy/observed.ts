/** The edges that a command works on: of the control plane, or from a file. */
import { InvalidArgumentError, type Command } from 'commander';
import { sinceOption } from '../edges/since.js';
import { durationMsOf } from '../../model/duration.js';
import { edgesKeptMs, type Edge } from '../../model/edge.js';
import { askMesh } from '../control-admin.js';
import { edgesQuestion } from '../edges/edges-question.js';
import { durationText, keptText } from '../edges/kept.js';
import type { PlaceFlags } from '../place.js';
import { readEdgeFile, type Observed } from './edge-file.js';

export interface ObservedFlags extends PlaceFlags {
  readonly edges?: string;
  readonly since?: number;
}

function duration(text: string): number {
  const ms = durationMsOf(text);
  if (ms !== undefined && ms > 0) return ms;
  throw new InvalidArgumentError('not a duration such as 15m or 1h');
}

/** Adds the options that say which edges are read, and since when. */
export const observedOptions = (command: Command): Command =>
  command
    .option(
      '--edges <file>',
      'observed edges, as `weft edges --json` prints them, one JSON object a line (default: those of the control plane)',
    )
    .addOption(
      sinceOption(' (default: the 15m that the control plane keeps, or all of a file)').argParser(duration),
    );

/** How far back a command looks, in milliseconds; 0: as far as its file goes. */
export const wantedMs = ({ since, edges }: Pick<ObservedFlags, 'since' | 'edges'>): number =>
  since ?? (edges === undefined ? edgesKeptMs : 0);

/**
 * The edges from or to a namespace. Errors: WEFT_ADMIN, WEFT_EDGES, WEFT_SOURCE_MISSING, ApiError.
 * @param namespace undefined: of all namespaces. On a cluster, reading them needs the right for all of them
 */
export async function observedEdges(flags: ObservedFlags, namespace: string | undefined): Promise<Observed> {
  const wanted = wantedMs(flags);
  const query = { namespace, sinceMs: wanted === 0 ? 0 : Date.now() - wanted };
  if (flags.edges !== undefined) {
    const found = await readEdgeFile(flags.edges);
    const edges = found.edges.filter(({ counts }) => counts.lastSeenMs >= query.sinceMs);
    return { ...found, edges: edgesOf(edges, namespace) };
  }
  return askMesh(flags, edgesQuestion(query));
}

/** Edges from or to a namespace. */
const edgesOf = (edges: readonly Edge[], namespace: string | undefined): readonly Edge[] =>
  namespace === undefined
    ? edges
    : edges.filter((one) => one.source.namespace === namespace || one.destination.namespace === namespace);

/** What the observation lacks, one line each. */
export function observationGaps(
  { sinceMs, missing }: Observed,
  flags: Pick<ObservedFlags, 'since' | 'edges'>,
  nowMs: number,
): string[] {
  const wanted = wantedMs(flags);
  const gaps: string[] = [];
  if (flags.edges === undefined && wanted > edgesKeptMs) gaps.push(keptText(wanted));
  if (sinceMs === undefined) gaps.push('since when was watched is not known: the file of edges does not say');
  if (sinceMs !== undefined && nowMs - sinceMs < wanted - 1_000)
    gaps.push(
      `watched only ${durationText(nowMs - sinceMs)} of ${durationText(wanted)}: what is rarer than that is missing`,
    );
  if (missing.length > 0)
    gaps.push(`did not answer: ${missing.join(', ')}: what only they have received is missing`);
  return gaps;
}
