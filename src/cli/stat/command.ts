/** `weft stat`: how well workloads, Services, routes and edges do: success, requests, latencies, refusals, mutual TLS. */
import { Argument, Command } from 'commander';
import { jsonOption } from '../place.js';
import { UsageError } from '../../base/usage.js';
import { subjects, type Subject } from '../../telemetry/observed/statistics.js';
import { durationText } from '../edges/kept.js';
import type { Observation } from '../edges/observation.js';
import { edgeOptions, type EdgeFlags } from '../edges/options.js';
import { noRatesText } from '../edges/with-rates.js';
import { printable } from '../printable.js';
import {
  observation,
  prometheusOptions,
  prometheusUrl,
  type PrometheusFlags,
} from '../prometheus/options.js';
import { linesOf } from './rows.js';
import { gapsOf, statisticsOf } from './statistics-of.js';

interface Flags extends EdgeFlags, PrometheusFlags {
  readonly json?: boolean;
}

/** Metrics have no labels for these. */
const notInPrometheus: readonly Subject[] = ['routes'];

function* lines(found: Observation, by: Subject, flags: Flags): Generator<string> {
  const statistics = statisticsOf(found, by, flags);
  yield* linesOf(by, statistics);
  if (statistics.length === 0)
    yield by === 'routes'
      ? 'no requests were observed: waypoints report them, and nodes those of namespaces with the label weft.dev/golden-signals=enabled (docs/observe.md)'
      : 'nothing was observed';
  const { rated, nowMs } = found;
  if (statistics.length > 0 && by !== 'policies')
    yield rated ? `rates are of the last ${durationText(nowMs - rated.fromMs)}` : noRatesText;
  yield* gapsOf(found);
}

export function statCommand(): Command {
  const command = new Command('stat')
    .description(
      'show success, requests per second, latencies, refusals and mutual TLS by workload, Service, route, edge or policy',
    )
    .addArgument(new Argument('[subject]', 'what is shown').choices(subjects).default('workloads'));
  return jsonOption(prometheusOptions(edgeOptions(command, '10m'))).action(
    async (by: Subject, flags: Flags) => {
      if (prometheusUrl(flags, process.env) !== undefined && notInPrometheus.includes(by))
        throw new UsageError(
          'WEFT_PROMETHEUS',
          `the metrics in Prometheus do not tell ${by} of an edge: look back 15m at most, without --prometheus`,
        );
      const found = await observation(flags, Date.now(), by === 'policies' ? 'policies' : 'traffic');
      if (flags.json !== true) return console.log([...lines(found, by, flags)].map(printable).join('\n'));
      const { nowMs, observedSinceMs, rated, missing } = found;
      const statistics = statisticsOf(found, by, flags);
      console.log(
        JSON.stringify({
          by,
          nowMs,
          observedSinceMs,
          ratedSinceMs: rated?.fromMs ?? null,
          missing,
          statistics,
        }),
      );
      for (const gap of gapsOf(found)) console.error(printable(gap));
    },
  );
}
