#!/usr/bin/env node
import { spawn } from 'node:child_process';
import { Command } from 'commander';
import { errorText } from '../base/errors.js';
import { missing } from './check.js';
import { runDemo } from './demo/demo.js';
import { programs, run } from './run.js';
import { Bed, tearDown } from './standalone/bed.js';

const stateDefault = '/run/weft/standalone';

/** Runs one of the programs in this one's place: its output, signals and exit code. */
function become(program: string, args: readonly string[]): void {
  const child = spawn(process.execPath, [program, ...args], { stdio: 'inherit' });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => child.kill(signal));
  child.on('exit', (code, signal) => process.exit(signal ? 1 : (code ?? 1)));
}

function needMachine(): void {
  const what = missing();
  if (what === undefined) return;
  console.error(`weft: ${what}`);
  process.exit(2);
}

const program = new Command('weft').description('An ambient service mesh without sidecars').version('0.1.0');

const passThrough = (
  name: string,
  description: string,
  target: string,
  first: readonly string[] = [],
): void => {
  program
    .command(name)
    .description(description)
    .allowUnknownOption()
    .helpOption(false)
    .argument('[args...]')
    .action((args: string[]) => become(target, [...first, ...args]));
};
passThrough('control', 'run the control plane', programs.control);
passThrough('token', "print a node's join token", programs.control, ['token']);
passThrough('agent', "run a node's agent", programs.agent);
passThrough('cleanup', 'remove what agents left in the kernel', programs.cleanup);

program
  .command('check')
  .description('say whether this machine can run Weft')
  .action(() => {
    needMachine();
    console.log('this machine can run Weft');
  });

const standalone = program
  .command('standalone')
  .description('nodes and pods as network namespaces on this machine');
standalone
  .command('up')
  .requiredOption('-f, --from <dir>', 'manifests')
  .option('--state <dir>', 'where the bed is written down', stateDefault)
  .action(async (options: { from: string; state: string }) => {
    needMachine();
    const bed = Bed.create(options);
    try {
      await bed.up();
    } catch (error) {
      await tearDown(options.state);
      throw error;
    }
    for (const node of bed.topology.nodes) {
      console.log(
        `node ${node.name} in ${node.netns}: ${node.pods.map(({ name, netns }) => `${name} (${netns})`).join(', ')}`,
      );
    }
    console.log(`up; run programs in a pod by: nsenter --net=/run/netns/NETNS -- PROGRAM`);
  });
standalone
  .command('down')
  .option('--state <dir>', 'where the bed is written down', stateDefault)
  .action(async (options: { state: string }) => {
    console.log((await tearDown(options.state)) ? 'down' : `no bed at ${options.state}`);
  });

program
  .command('demo')
  .description('see the mesh at work on two nodes made of network namespaces')
  .option('--json', 'print one JSON object only')
  .action(async (options: { json?: boolean }) => {
    needMachine();
    const result = await runDemo(options.json ? () => undefined : (line) => console.log(line));
    if (options.json) console.log(JSON.stringify(result));
    else console.log(result.ok ? '\nAll steps ok.' : '\nSome steps failed.');
    process.exitCode = result.ok ? 0 : 1;
  });

program
  .command('dump')
  .description("a node agent's whole state, as JSON")
  .option('--netns <name>', "the node's network namespace")
  .option('--path <path>', 'dump, connections or certificates', 'dump')
  .action(async (options: { netns?: string; path: string }) => {
    const url = `http://127.0.0.1:15000/${options.path}`;
    if (options.netns === undefined) {
      console.log(await (await fetch(url)).text());
      return;
    }
    const { code, stdout, stderr } = await run(options.netns, 'curl', ['-sS', '-m', '5', url]);
    if (code !== 0) throw new Error(stderr.trim());
    console.log(stdout);
  });

program.parseAsync().catch((error: unknown) => {
  console.error(`weft: ${errorText(error)}`);
  process.exit(1);
});
