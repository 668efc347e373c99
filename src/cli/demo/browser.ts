/** Chromium, if the machine has it. */
import { execFile } from 'node:child_process';
import { accessSync, constants, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const names = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];
/** A page on a slow machine. */
const pageMsMax = 120_000;
/** What the page's clock runs before its content is printed; it stands still while answers are waited for. */
const pageClockMs = 8_000;

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Environment variable CHROMIUM (`none`: not to be used), else the first of the usual names that PATH has. Undefined: there is none. */
export function browserPath(env: NodeJS.ProcessEnv = process.env): string | undefined {
  const given = env['CHROMIUM'] ?? '';
  if (given === 'none') return undefined;
  if (given !== '') return given;
  const dirs = (env['PATH'] ?? '').split(':').filter((dir) => dir !== '');
  return names.flatMap((name) => dirs.map((dir) => join(dir, name))).find(isExecutable);
}

export interface LoadedPage {
  /** The document after its scripts ran. */
  readonly dom: string;
  /** Messages of the console, errors among them. */
  readonly console: readonly string[];
}

/** Loads a page without a screen. Errors: those of the browser. */
export async function loadPage(browser: string, url: string): Promise<LoadedPage> {
  const profile = mkdtempSync(join(tmpdir(), 'weft-browser-'));
  const args = [
    '--headless',
    // The demo runs as root, for which Chromium has no sandbox. The page is the demo's own.
    '--no-sandbox',
    '--disable-gpu',
    '--disable-dev-shm-usage',
    `--user-data-dir=${profile}`,
    '--enable-logging=stderr',
    `--virtual-time-budget=${pageClockMs}`,
    '--dump-dom',
    url,
  ];
  try {
    return await new Promise<LoadedPage>((resolve, reject) => {
      execFile(
        browser,
        args,
        { encoding: 'utf8', timeout: pageMsMax, maxBuffer: 64 << 20 },
        (error, stdout, stderr) => {
          if (error) return reject(new Error(`${browser}: ${error.message}`));
          resolve({ dom: stdout, console: consoleLines(stderr) });
        },
      );
    });
  } finally {
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  }
}

/**
 * Chromium logs what pages write to their console: `[…:INFO:CONSOLE:1] "text", source: URL (1)`. Its own windows are pages, too, which are left
 * out. Pure.
 */
export const consoleLines = (stderr: string): readonly string[] =>
  stderr
    .split('\n')
    .flatMap((line) => /:CONSOLE[:(]\d+\)?\] (.*)$/.exec(line)?.[1] ?? [])
    .filter((text) => !/, source: chrome:\/\/\S+ \(\d+\)$/.test(text));
