#!/usr/bin/env node
/** `npm run bench [-- SUITE]`. */
import { writeFileSync } from 'node:fs';
import { Command, Option } from 'commander';
import { errorText } from '../src/base/errors.js';
import { missing } from '../src/cli/check.js';
import { clusterCommand } from './cluster/command.js';
import { printControl, runControl } from './control/suite.js';
import { printDialects, runDialects } from './dialects/suite.js';
import { within } from './harness/options.js';
import { readRatios, type Report } from './harness/report.js';
import { printKernel, runKernel } from './kernel/suite.js';
import { printL4 } from './l4/report.js';
import { runL4 } from './l4/suite.js';
import { registerMesh } from './mesh/command.js';
import { registerReport } from './report/commands.js';
import { printSecured } from './waypoint/secured-report.js';
import { runSecured } from './waypoint/secured.js';
import { http2Parts, printHttp2 } from './waypoint/http2-report.js';
import { runHttp2 } from './waypoint/http2.js';
import { printResilience } from './waypoint/resilience/report.js';
import { runResilience } from './waypoint/resilience/suite.js';
import { mergedReport } from './waypoint/report.js';
import { printWaypoint } from './waypoint/plain-report.js';
import { printUpdates, runUpdates } from './waypoint/updates.js';
import { runWaypoint } from './waypoint/suite.js';

/** Ends with a message if a requirement is missing, else starts a run that a signal can end cleanly. */
function begin(): { onProgress: (text: string) => void; interrupted: () => boolean } {
  const what = missing();
  if (what !== undefined) {
    console.error(`weft: ${what}`);
    process.exit(2);
  }
  let interrupted = false;
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => (interrupted = true));
  return { onProgress: (text) => console.error(text), interrupted: () => interrupted };
}

const program = new Command('bench').description('measure what the mesh costs on this machine');
registerMesh(program, begin, within);
registerReport(program);
program
  .command('l4')
  .description(
    'round trips, throughput and new connections, direct and through the mesh, on one node and across two',
  )
  .option('--rounds <n>', 'number of rounds', within(1, 1000, true), 5)
  .option('--seconds <s>', 'duration of each measurement', within(0.1, 300, false), 2)
  .option('--at-once <n>', 'connections in flight while new ones are counted', within(1, 1024, true), 8)
  .option(
    '--workers <n>',
    'threads of each agent that relay (default: the default of the agent)',
    within(1, 256, true),
  )
  .option('--variants <name...>', 'only these beside direct: mesh, encrypted, typescript, ztunnel and others')
  .addOption(new Option('--paths <name...>', 'only these').choices(['same-node', 'cross-node']))
  .option('--json <file>', 'write ratios and all rounds')
  .option('--against <file>', 'also print the ratios of an earlier run (a file that --json wrote)')
  .option('--state <dir>', 'state directory of the testbed', '/run/weft/bench')
  .action(
    async (options: {
      rounds: number;
      seconds: number;
      atOnce: number;
      workers?: number;
      variants?: readonly string[];
      paths?: readonly string[];
      json?: string;
      against?: string;
      state: string;
    }) => {
      const started = begin();
      const earlier = options.against === undefined ? undefined : readRatios(options.against);
      const report = await runL4({
        ...options,
        ...started,
      });
      if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(report, null, 2)}\n`);
      console.log(printL4(report, earlier));
    },
  );

program
  .command('kernel')
  .description('costs of the kernel path besides data transfer: first connections, cuts, connect(), memory')
  .option('--rounds <n>', 'number of rounds', within(1, 1000, true), 5)
  .option('--seconds <s>', 'duration of the connect() measurement', within(0.1, 300, false), 1)
  .option('--json <file>', 'write medians and all rounds')
  .option('--state <dir>', 'state directory of the testbed', '/run/weft/bench')
  .action(async (options: { rounds: number; seconds: number; json?: string; state: string }) => {
    const report = await runKernel({ ...options, ...begin() });
    if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(report, null, 2)}\n`);
    console.log(printKernel(report));
  });

program
  .command('control')
  .description('the control plane at scale: delay of a change, cold start, reconnection')
  .option('--pods <n>', 'pods', within(1, 200_000, true), 10_000)
  .option('--services <n>', 'services', within(1, 50_000, true), 1_000)
  .option('--nodes <n>', 'nodes, each with its own stream', within(1, 2_000, true), 200)
  .option('--rate <n>', 'changes per second', within(1, 1_000, true), 20)
  .option('--seconds <s>', 'duration in seconds', within(1, 3_600, true), 30)
  .option('--rounds <n>', 'rounds of changes', within(1, 100, true), 1)
  .option(
    '--virtual-services <n>',
    "Istio's VirtualServices, of as many Services, with a waypoint in each namespace",
    within(0, 50_000, true),
    0,
  )
  .option('--destination-rules <n>', 'DestinationRules of as many of them', within(0, 50_000, true), 0)
  .option('--json <file>', 'write the result')
  .action(
    async (options: {
      pods: number;
      services: number;
      nodes: number;
      rate: number;
      seconds: number;
      rounds: number;
      virtualServices: number;
      destinationRules: number;
      json?: string;
    }) => {
      const report = await runControl({ ...options, ...begin() });
      if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(report, null, 2)}\n`);
      console.log(printControl(report));
    },
  );

program
  .command('waypoint')
  .description('the proxy of the waypoint beside an Envoy with the same job')
  .option('--rounds <n>', 'number of rounds', within(1, 1000, true), 5)
  .option('--seconds <s>', 'duration of each measurement', within(1, 300, true), 3)
  .option('--quick', 'two short rounds, for a first impression')
  .option('--tls', 'HBONE (and mutual TLS) on both sides instead of plain connections')
  .addOption(
    new Option('--only <part...>', 'some of what is measured').choices([
      'http1',
      ...http2Parts,
      'updates',
      'resilience',
    ]),
  )
  .option(
    '--per-second <n>',
    'requests per second of the open loop, with --tls (default: found by trial)',
    within(100, 100_000, true),
  )
  .option('--envoy <file>', 'Envoy binary to use instead of a download')
  .option('--node-flag <flag...>', "Node.js flags for the process of Weft's proxy", [])
  .option('--json <file>', 'write ratios and all rounds')
  .action(
    async (options: {
      rounds: number;
      seconds: number;
      quick?: true;
      envoy?: string;
      tls?: true;
      only?: readonly string[];
      perSecond?: number;
      nodeFlag: readonly string[];
      json?: string;
    }) => {
      const given = {
        ...options,
        ...(options.quick ? { rounds: 2, seconds: 1, longSeconds: 1 } : { longSeconds: options.seconds * 2 }),
        nodeFlags: options.nodeFlag,
        ...begin(),
      };
      const wanted = (part: string): boolean => options.only?.includes(part) ?? true;
      const parts = http2Parts.filter(wanted);
      const reports: Report[] = [];
      const add = <R extends Report>(report: R, print: (of: R) => string): void => {
        reports.push(report);
        console.log(`${print(report)}\n`);
      };
      if (wanted('http1'))
        if (options.tls) add(await runSecured(given), printSecured);
        else add(await runWaypoint(given), printWaypoint);
      if (parts.length > 0)
        add(await runHttp2({ ...given, parts, wire: options.tls ? 'hbone' : 'plain' }), printHttp2);
      if (options.only?.includes('updates') ?? options.tls) add(await runUpdates(given), printUpdates);
      if (options.only?.includes('resilience') ?? !options.tls)
        add(await runResilience(given), printResilience);
      if (options.json !== undefined)
        writeFileSync(options.json, `${JSON.stringify(mergedReport(reports), null, 2)}\n`);
    },
  );

program
  .command('dialects')
  .description("Istio's YAML: compiled from cold, a change, and what a request by an Istio route costs")
  .option('--rounds <n>', 'number of rounds', within(1, 1000, true), 3)
  .option('--seconds <s>', 'duration of each measurement', within(1, 300, true), 3)
  .option('--virtual-services <n>', 'VirtualServices, each of a Service', within(1, 100_000, true), 10_000)
  .option(
    '--destination-rules <n>',
    'DestinationRules, each with two subsets',
    within(1, 100_000, true),
    5_000,
  )
  .option('--json <file>', 'write the result')
  .action(
    async (options: {
      rounds: number;
      seconds: number;
      virtualServices: number;
      destinationRules: number;
      json?: string;
    }) => {
      const report = await runDialects({ ...options, ...begin() });
      if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(report, null, 2)}\n`);
      console.log(printDialects(report));
    },
  );

program.addCommand(clusterCommand());

program.parseAsync().catch((error: unknown) => {
  console.error(`bench: ${errorText(error)}`);
  process.exitCode = 1;
});
