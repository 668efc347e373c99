/** The options of commands that can ask Prometheus. */
import type { Command } from 'commander';
import { edgesKeptMs, type EdgeQuery } from '../../model/edge.js';
import { observeMesh, type Observation } from '../edges/observation.js';
import type { EdgeFlags } from '../edges/options.js';
import { prometheusServer } from './client.js';
import { observePrometheus } from './observe.js';

export interface PrometheusFlags {
  readonly prometheus?: string;
  readonly prometheusTokenFile?: string;
}

export const prometheusVariable = 'WEFT_PROMETHEUS_URL';

export const prometheusOptions = (command: Command): Command =>
  command
    .option(
      '--prometheus <url>',
      `ask this Prometheus instead of the control plane; ${prometheusVariable} names one for ranges longer than 15m`,
    )
    .option('--prometheus-token-file <file>', 'bearer token for Prometheus');

/** The Prometheus to ask; undefined: the control plane is asked. Pure. */
export function prometheusUrl(
  { prometheus, since }: Pick<PrometheusFlags & EdgeFlags, 'prometheus' | 'since'>,
  environment: NodeJS.ProcessEnv,
): string | undefined {
  if (prometheus !== undefined) return prometheus;
  const url = environment[prometheusVariable] ?? '';
  return since > edgesKeptMs && url !== '' ? url : undefined;
}

/** The observation that a command shows. Errors: those of observeMesh, WEFT_PROMETHEUS. */
export function observation(
  flags: EdgeFlags & PrometheusFlags,
  about: 'traffic' | 'policies' = 'traffic',
): Promise<Observation> {
  const nowMs = Date.now();
  const query: EdgeQuery = { namespace: flags.namespace, sinceMs: nowMs - flags.since };
  const url = prometheusUrl(flags, process.env);
  if (url === undefined) return observeMesh(flags, query, nowMs);
  return observePrometheus(prometheusServer(url, flags.prometheusTokenFile), query, nowMs, about);
}
