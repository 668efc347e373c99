/** How long edges are kept, for people. Pure. */
import { edgesKeptMs } from '../../model/edge.js';

/** `90s`, `15m`, `1h30m`. */
export function durationText(ms: number): string {
  const seconds = Math.round(ms / 1000);
  if (seconds < 120) return `${seconds}s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 120) return `${minutes}m`;
  return `${Math.floor(minutes / 60)}h${minutes % 60 === 0 ? '' : `${minutes % 60}m`}`;
}

/** Says that more was asked for than is kept, and what to do. */
export const keptText = (wantedMs: number): string =>
  `the control plane keeps ${durationText(edgesKeptMs)}, not ${durationText(wantedMs)}: to look back further, collect edges in a file (docs/adopt.md)`;

/** The same of commands that can ask Prometheus. */
export const keptOrPrometheusText = (wantedMs: number): string =>
  `the control plane keeps ${durationText(edgesKeptMs)}, not ${durationText(wantedMs)}: to look back further, ask Prometheus with --prometheus URL (docs/observe.md)`;
