/** `weft top`: the routes or pairs of workloads with the most requests, as they come. */
import { setTimeout } from 'node:timers/promises';
import { Argument, Command, Option } from 'commander';
import { errorText } from '../../base/errors.js';
import type { Statistic, Subject } from '../../telemetry/observed/statistics.js';
import { observeMesh, type Observation } from '../edges/observation.js';
import { edgeOptions, type EdgeFlags } from '../edges/options.js';
import { durationText } from '../edges/kept.js';
import { printable } from '../printable.js';
import { gapsOf, statisticsOf } from '../stat/statistics-of.js';
import { sorts, topLines, type Sort } from './rows.js';
import { Screen } from './screen.js';

const refreshMs = 2_000;
const topSubjects = ['routes', 'edges', 'workloads', 'services'] as const satisfies readonly Subject[];

interface Flags extends EdgeFlags {
  readonly sort: Sort;
  readonly once?: boolean;
}

interface Refresh {
  readonly by: Subject;
  readonly statistics: readonly Statistic[];
  readonly found: Observation;
}

/** Without a subject: routes, or pairs of workloads as long as nobody reports requests. */
async function refreshOf(wanted: Subject | undefined, flags: Flags): Promise<Refresh> {
  const nowMs = Date.now();
  const found = await observeMesh(flags, { namespace: flags.namespace, sinceMs: nowMs - flags.since }, nowMs);
  const by = wanted ?? 'routes';
  const statistics = statisticsOf(found, by, flags);
  if (wanted !== undefined || statistics.length > 0) return { by, statistics, found };
  return { by: 'edges', statistics: statisticsOf(found, 'edges', flags), found };
}

function linesOf({ by, statistics, found }: Refresh, { sort }: Flags, before?: Refresh): string[] {
  if (statistics.length === 0) return ['nothing was observed', ...gapsOf(found)].map(printable);
  const last = before?.by === by ? new Map(before.statistics.map((one) => [one.id, one])) : undefined;
  return topLines(by, statistics, sort, last).map(printable);
}

const footerOf = ({ found }: Refresh, { since, sort }: Flags, problem?: string): string[] =>
  [
    ...(problem === undefined ? gapsOf(found) : [problem]),
    `the last ${durationText(since)} by ${sort}, ${new Date(found.nowMs).toISOString()}; programs report every 10 s; Ctrl-C ends`,
  ].map(printable);

/** Draws until the signal. A control plane that does not answer for a while is named; what was there before stays. */
async function live(wanted: Subject | undefined, flags: Flags, signal: AbortSignal): Promise<void> {
  let last = await refreshOf(wanted, flags);
  const screen = new Screen(process.stdout);
  try {
    screen.show(linesOf(last, flags), footerOf(last, flags));
    for (;;) {
      await setTimeout(refreshMs, undefined, { signal });
      try {
        const next = await refreshOf(wanted, flags);
        screen.show(linesOf(next, flags, last), footerOf(next, flags));
        last = next;
      } catch (error) {
        screen.show(linesOf(last, flags), footerOf(last, flags, errorText(error)));
      }
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    screen.close();
  }
}

export function topCommand(): Command {
  const command = new Command('top')
    .description(
      'show the routes or pairs of workloads with the most requests, again every 2 s on a terminal',
    )
    .addArgument(
      new Argument(
        '[subject]',
        'what is shown (default: routes, or edges where nobody counts requests)',
      ).choices(topSubjects),
    );
  return edgeOptions(command, '1m')
    .addOption(new Option('--sort <by>', 'what comes first').choices(sorts).default('requests'))
    .option('--once', 'show one table and end')
    .action(async (wanted: Subject | undefined, flags: Flags) => {
      if (flags.once === true || !process.stdout.isTTY) {
        const one = await refreshOf(wanted, flags);
        return console.log(
          [...linesOf(one, flags), ...(one.statistics.length > 0 ? gapsOf(one.found) : [])].join('\n'),
        );
      }
      const end = new AbortController();
      for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => end.abort());
      await live(wanted, flags, end.signal);
    });
}
