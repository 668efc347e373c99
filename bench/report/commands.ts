/** The commands that read results: `report` (table, page, plots, export) and `compare`. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { errorText, WeftError } from '../../src/base/errors.js';
import { within } from '../harness/options.js';
import { readResult, type BenchResult } from '../result/result.js';
import { compareResults, printComparison } from './compare.js';
import { htmlReport } from './html.js';
import { plotFiles } from './plot-files.js';
import { smpExport } from './smp.js';
import { printResult } from './terminal.js';

export interface Outputs {
  readonly json?: string;
  readonly html?: string;
  readonly plots?: string;
  readonly smp?: string;
}

/** Throws WEFT_BENCH_FILE if a file cannot be written. */
export function writeOutputs(result: BenchResult, { json, html, plots, smp }: Outputs): void {
  const write = (path: string, text: () => string): void => {
    try {
      writeFileSync(path, text());
    } catch (error) {
      throw new WeftError('WEFT_BENCH_FILE', `${path} cannot be written: ${errorText(error)}`, {
        cause: error,
      });
    }
  };
  // The result is written first: the other files can be made from it again.
  if (json !== undefined) write(json, () => `${JSON.stringify(result, null, 1)}\n`);
  if (html !== undefined) write(html, () => htmlReport(result));
  if (smp !== undefined) write(smp, () => smpExport(result));
  if (plots !== undefined) {
    mkdirSync(plots, { recursive: true });
    for (const { name, svg } of plotFiles(result)) write(join(plots, name), () => `${svg}\n`);
  }
}

/** Exit code for a file that cannot be read. Exit code 1 means that something got slower. */
const unreadableExitCode = 2;

function reading<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof WeftError) || error.code !== 'WEFT_BENCH_FILE') throw error;
    console.error(`bench: ${errorText(error)}`);
    process.exitCode = unreadableExitCode;
    return undefined;
  }
}

export function registerReport(program: Command): void {
  program
    .command('report <result>')
    .description('a result that --json wrote, as a table, a page, plots, or an export')
    .option('--all', 'every point and metric, with spread and noise')
    .option('--html <file>', 'one page with plots, that needs nothing else')
    .option('--plots <dir>', 'each plot as SVG, light and dark')
    .option('--smp <file>', 'in the format of Service Mesh Performance')
    .action((file: string, options: Outputs & { readonly all?: true }) => {
      reading(() => {
        const result = readResult(file);
        writeOutputs(result, options);
        const width = process.stdout.columns ?? 120;
        console.log(printResult(result, { width, ...(options.all ? { all: true } : {}) }));
      });
    });
  program
    .command('compare <before> <after>')
    .description('what got slower from one result to another; exit code 1 where something did')
    .option('--threshold <percent>', 'a change below it does not count', within(0, 1000, false), 10)
    .action((before: string, after: string, { threshold }: { readonly threshold: number }) => {
      reading(() => {
        const options = { threshold: threshold / 100 };
        const comparison = compareResults(readResult(before), readResult(after), options);
        console.log(printComparison(comparison, options));
        if (comparison.slower) process.exitCode = 1;
      });
    });
}
