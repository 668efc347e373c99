import { cpus, release, totalmem } from 'node:os';
import { writeFileSync } from 'node:fs';
import { Command } from 'commander';
import { errorText } from '../src/base/errors.js';
import { benchL4, type L4Result } from './l4.js';

const number = (value: string): number => Number(value);

function table(result: L4Result): string {
  const lines = ['', `${'ratio to direct'.padEnd(26)}${'mesh'.padStart(8)}${'noise'.padStart(8)}`];
  for (const [name, value] of Object.entries(result.ratios)) {
    lines.push(
      `${name.padEnd(26)}${value.toFixed(2).padStart(8)}${(result.noise[name] ?? Number.NaN).toFixed(2).padStart(8)}`,
    );
  }
  lines.push('');
  for (const [name, value] of Object.entries(result.costs))
    lines.push(`${name.padEnd(26)}${value.toFixed(2).padStart(8)}`);
  return lines.join('\n');
}

const program = new Command('bench').description('measures the mesh against no mesh, interleaved');
program
  .command('l4')
  .description('latency, throughput and connection rate, same node and across nodes')
  .option('--rounds <n>', 'interleaved rounds', number, 5)
  .option('--seconds <s>', 'per throughput and connection run', number, 3)
  .option('--pings <n>', 'round trips per latency run', number, 10_000)
  .option('--json <file>', 'write ratios and rounds')
  .action(async (options: { rounds: number; seconds: number; pings: number; json?: string }) => {
    const result = await benchL4({ ...options, onStep: (text) => console.error(text) });
    console.log(table(result));
    if (options.json !== undefined) {
      const machine = {
        cpus: cpus().length,
        memoryGb: Math.round(totalmem() / 1e9),
        kernel: release(),
        node: process.version,
      };
      writeFileSync(options.json, `${JSON.stringify({ ...result, machine, settings: options })}\n`);
    }
  });
program.parseAsync().catch((error: unknown) => {
  console.error(errorText(error));
  process.exit(1);
});
