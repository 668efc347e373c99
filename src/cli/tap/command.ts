/** `weft tap`: requests at waypoints and connections at agents, as they happen. */
import { Command, InvalidArgumentError, Option } from 'commander';
import { UsageError } from '../../base/usage.js';
import {
  tapKinds,
  tapLimits,
  tapOutcomes,
  tapProblem,
  type TapFilter,
  type TapQuery,
} from '../../model/tap.js';
import { jsonOption, meshOptions, namespaceOption, type MeshFlags } from '../place.js';
import { lineText } from './rows.js';
import { tapEvents } from './tap-events.js';

interface Flags extends MeshFlags {
  readonly namespace?: string;
  readonly workload?: readonly string[];
  readonly identity?: readonly string[];
  readonly path?: readonly string[];
  readonly status?: readonly string[];
  readonly policy?: readonly string[];
  readonly outcome?: readonly (typeof tapOutcomes)[number][];
  readonly method?: readonly string[];
  readonly kind?: readonly (typeof tapKinds)[number][];
  readonly sample: number;
  readonly limit?: number;
  readonly json?: boolean;
}

/** `1/100`, or a share such as 0.01: one of so many. Error: InvalidArgumentError, for commander. */
export function sampleOf(text: string): number {
  const ratio = /^1\/(\d{1,7})$/.exec(text);
  const share = /^(?:0?\.\d+|1(?:\.0+)?)$/.test(text) ? Number(text) : undefined;
  const of = ratio ? Number(ratio[1]) : share === undefined ? NaN : Math.round(1 / share);
  if (!(of >= 1 && of <= tapLimits.sampleOfMax))
    throw new InvalidArgumentError('not a sample such as 1/100 or 0.01');
  return of;
}

function count(text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new InvalidArgumentError('not a number of lines');
  return Number(text);
}

const several = (one: string, all: readonly string[] = []): readonly string[] => [...all, ...one.split(',')];
/** Identities and paths may have commas. */
const repeated = (one: string, all: readonly string[] = []): readonly string[] => [...all, one];

/** Problems of a filter begin with the name of its field. */
const flagOf: Readonly<Record<string, string>> = {
  namespace: '--namespace',
  workloads: '--workload',
  identities: '--identity',
  requestPaths: '--path',
  ways: '--path',
  statuses: '--status',
  policies: '--policy',
  outcomes: '--outcome',
  methods: '--method',
  kinds: '--kind',
};

/** The query of the flags. A path that begins with `/` is that of requests, any other a way of connections. Error: WEFT_TAP_INPUT. */
export function queryOf(flags: Flags): TapQuery {
  const { namespace, workload, identity, path = [], status, policy, outcome, method, kind } = flags;
  const requestPaths = path.filter((one) => one.startsWith('/'));
  const ways = path.filter((one) => !one.startsWith('/'));
  const filter: TapFilter = {
    ...(namespace === undefined ? {} : { namespace }),
    ...(workload ? { workloads: workload } : {}),
    ...(identity ? { identities: identity } : {}),
    ...(requestPaths.length > 0 ? { requestPaths } : {}),
    ...(ways.length > 0 ? { ways } : {}),
    ...(status ? { statuses: status } : {}),
    ...(policy ? { policies: policy } : {}),
    ...(outcome ? { outcomes: outcome } : {}),
    ...(method ? { methods: method } : {}),
    ...(kind ? { kinds: kind } : {}),
  };
  const query = { filter, sampleOf: flags.sample };
  const problem = tapProblem(query);
  if (problem !== undefined) {
    const text = problem.replace(/^\w+(?=:)/, (field) => flagOf[field] ?? field);
    const hint = problem.startsWith('ways:') ? '; a path of requests begins with /' : '';
    throw new UsageError('WEFT_TAP_INPUT', `the tap cannot be begun: ${text}${hint}`);
  }
  return query;
}

/** Resolves once standard output has taken the line: a terminal or pipe that is slow loses events at the control plane, and is told. */
const print = (text: string): Promise<void> =>
  new Promise((resolve) => {
    if (process.stdout.write(`${text}\n`)) resolve();
    else process.stdout.once('drain', resolve);
  });

async function run(flags: Flags): Promise<void> {
  const query = queryOf(flags);
  const { limit = Infinity, json = false } = flags;
  const ended = new AbortController();
  const end = (): void => ended.abort();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, end);
  // The reader of a pipe is gone.
  process.stdout.on('error', end);
  let events = 0;
  for await (const line of tapEvents(flags, query, ended.signal)) {
    const isEvent = 'event' in line;
    if (json) await print(JSON.stringify(line));
    else if (isEvent) await print(lineText(line));
    else console.error(lineText(line));
    if (isEvent && ++events >= limit) break;
  }
}

export function tapCommand(): Command {
  const command = namespaceOption(
    new Command('tap').description('show requests at waypoints and connections at agents as they happen'),
  )
    .option('--workload <ns/name>', 'only from or to this workload; may be repeated', several)
    .option(
      '--identity <spiffe>',
      'only from or to this identity; * at the end stands for any rest; may be repeated',
      repeated,
    )
    .option(
      '--path <path>',
      'path of requests (/orders/*), or way of connections (kernel, hbone, …); may be repeated',
      repeated,
    )
    .option('--status <status>', 'of requests: 404, 5xx; may be repeated', several)
    .option('--policy <ns/name>', 'only what this policy decided; may be repeated', several)
    .addOption(new Option('--outcome <outcome...>', 'only what came out so').choices([...tapOutcomes]))
    .option('--method <method>', 'of requests: GET; may be repeated', several)
    .addOption(new Option('--kind <kind...>', 'only requests, or only connections').choices([...tapKinds]))
    .addOption(
      new Option('--sample <share>', 'show one of so many: 1/100, or a share such as 0.01')
        .argParser(sampleOf)
        .default(1, 'all'),
    )
    .addOption(new Option('--limit <number>', 'end after so many').argParser(count));
  return jsonOption(meshOptions(command), ', one object a line').action((flags: Flags) => run(flags));
}
