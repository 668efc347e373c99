/** `weft edges`: who calls whom, by which path, and whether mutual TLS protects it. */
import { Command } from 'commander';
import { jsonOption } from '../place.js';
import { edgeStates } from '../../telemetry/observed/edge-states.js';
import { printable } from '../printable.js';
import { observation, prometheusOptions, type PrometheusFlags } from '../prometheus/options.js';
import { gapsOf } from '../stat/statistics-of.js';
import { edgeFilter } from './filter.js';
import type { Observation } from './observation.js';
import { edgeOptions, type EdgeFlags } from './options.js';
import { edgeLines } from './rows.js';

interface Flags extends EdgeFlags, PrometheusFlags {
  readonly json?: boolean;
}

function* lines(found: Observation, flags: Flags): Generator<string> {
  const { edges, nowMs, observedSinceMs } = found;
  const states = edgeStates(edges, observedSinceMs, nowMs, edgeFilter(flags));
  yield* edgeLines(states, nowMs);
  if (states.length === 0) yield 'nothing was observed';
  yield* gapsOf(found);
}

export function edgesCommand(): Command {
  const command = new Command('edges').description(
    'show who calls whom, by which path, and whether mutual TLS protects it',
  );
  return jsonOption(
    prometheusOptions(edgeOptions(command, '15m')),
    ', with the edges as they were reported',
  ).action(async (flags: Flags) => {
    const found = await observation(flags);
    if (flags.json !== true) return console.log([...lines(found, flags)].map(printable).join('\n'));
    const { edges, observedSinceMs: sinceMs, missing } = found;
    console.log(JSON.stringify({ edges: edges.filter(edgeFilter(flags)), sinceMs, missing }));
    for (const gap of gapsOf(found)) console.error(printable(gap));
  });
}
