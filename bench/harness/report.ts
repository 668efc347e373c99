/** The report of a run: a table for people, and one JSON object for later runs. */
import { readFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { WeftError } from '../../src/base/errors.js';
import type { Sample, Spread } from './statistics.js';

/** The file that `--json` writes. Later runs are compared with `ratios`. The other fields describe the run. */
export interface Report {
  readonly suite: string;
  readonly settings: Readonly<Record<string, number | string>>;
  readonly machine: {
    readonly kernel: string;
    readonly cpu: string;
    readonly cpus: number;
    readonly node: string;
  };
  /** `<path>.<metric>` -> mesh divided by direct, median over rounds */
  readonly ratios: Readonly<Record<string, number>>;
  readonly spread: Readonly<Record<string, Spread>>;
  /** Direct divided by direct. A ratio within this spread is noise. */
  readonly noise: Readonly<Record<string, Spread>>;
  /** `<path>.<variant>.<metric>` -> median over rounds, in the metric's unit */
  readonly medians: Readonly<Record<string, number>>;
  readonly rounds: readonly Sample[];
}

export const machine = (): Report['machine'] => ({
  kernel: release(),
  cpu: cpus()[0]?.model ?? '',
  cpus: cpus().length,
  node: process.version,
});

/** Columns with their minimum width. The first one is aligned left, the others right. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((title, at) => Math.max(title.length, ...rows.map((row) => row[at]?.length ?? 0)));
  const line = (row: readonly string[]): string =>
    widths
      .map((width, at) => (at === 0 ? (row[at] ?? '').padEnd(width) : (row[at] ?? '').padStart(width)))
      .join('  ')
      .trimEnd();
  return [line(head), widths.map((width) => '-'.repeat(width)).join('  '), ...rows.map(line)].join('\n');
}

/** Three significant digits. */
export function figure(value: number | undefined): string {
  if (value === undefined || !Number.isFinite(value)) return '';
  const size = Math.abs(value);
  return value.toFixed(size >= 100 || size === 0 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3);
}

/** The ratios in the file of an earlier run. Throws WEFT_BENCH_FILE for any other file. */
export function readRatios(path: string): Readonly<Record<string, number>> {
  try {
    const { ratios } = JSON.parse(readFileSync(path, 'utf8')) as { ratios?: unknown };
    if (typeof ratios !== 'object' || ratios === null) throw new Error('it has no "ratios"');
    return Object.fromEntries(
      Object.entries(ratios).filter((pair): pair is [string, number] => typeof pair[1] === 'number'),
    );
  } catch (error) {
    throw new WeftError(
      'WEFT_BENCH_FILE',
      `${path} cannot be compared with: ${error instanceof Error ? error.message : String(error)}; give a file that --json wrote`,
      { cause: error },
    );
  }
}
