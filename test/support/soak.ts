/** The load of the soak tests (test/soak/soak.c): a server, and a client that checks each byte of connections of every shape. */
import { join } from 'node:path';
import { projectRoot } from '../../native/index.js';
import { run, sh } from '../../src/cli/run.js';

/** `npm run test:soak` sets 600. */
export const seconds = Number(process.env['SOAK_SECONDS'] ?? '20');
/** Use fewer on a slow machine. */
export const connections = Number(process.env['SOAK_CONNECTIONS'] ?? '300');
export const soakPort = 9100;

/** Counts of connections; `wrong`: those with a byte that is not the expected one, or too few; `stuck`: those that did not end. */
export interface SoakOutcome {
  readonly opened: number;
  readonly finished: number;
  readonly resets: number;
  readonly refused: number;
  readonly bytes: number;
  readonly wrong: number;
  readonly stuck: number;
}

/** Compiles the program. Returns its path in `dir`. */
export function buildSoak(dir: string): string {
  const program = join(dir, 'soak');
  const source = join(projectRoot, 'test', 'soak', 'soak.c');
  sh('cc', ['-O2', '-Wall', '-Wextra', '-Werror', '-o', program, source]);
  return program;
}

/** Connects from a pod's network namespace to the server at `ip`, `count` connections at once. Rejects if the program says anything else. */
export async function driveSoak(
  program: string,
  netns: string,
  ip: string,
  load: { readonly count: number; readonly forSeconds: number; readonly seed: number },
): Promise<SoakOutcome> {
  const { count, forSeconds, seed } = load;
  const args = ['drive', ip, soakPort, count, forSeconds, seed].map(String);
  const { stdout, stderr } = await run(netns, program, args, (forSeconds + 120) * 1000);
  if (stderr !== '') throw new Error(`seed ${seed}: ${stderr}`);
  try {
    return JSON.parse(stdout) as SoakOutcome;
  } catch {
    throw new Error(`seed ${seed}: ${stdout}`);
  }
}
