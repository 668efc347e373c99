/** Installs and removes the bench chart with helm. */
import { spawn } from 'node:child_process';
import { dirname, join } from 'node:path';
import { WeftError } from '../../src/base/errors.js';
import { distRoot } from '../../src/cli/run.js';

const chart = join(dirname(distRoot), 'bench', 'chart');
export const release = 'weft-bench';
const saidBytesMax = 64 << 10;
const installMsMax = 60_000;

/** Throws WEFT_HELM if helm is missing, and WEFT_COMMAND with its output if it fails. */
function helm(args: readonly string[], input: string, timeoutMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    // In its own process group: Ctrl-C must reach only the bench, which cleans up before it ends.
    const child = spawn('helm', args, {
      stdio: ['pipe', 'ignore', 'pipe'],
      detached: true,
      timeout: timeoutMs,
    });
    let said = '';
    child.stderr
      .setEncoding('utf8')
      .on('data', (text: string) => (said = (said + text).slice(-saidBytesMax)));
    child.on('error', (cause) =>
      reject(new WeftError('WEFT_HELM', 'cannot run helm: install it (https://helm.sh)', { cause })),
    );
    child.on('exit', (code) => {
      if (code === 0) resolve();
      else
        reject(new WeftError('WEFT_COMMAND', `helm ${args.slice(0, 2).join(' ')}: ${said.trim() || code}`));
    });
    child.stdin.on('error', () => undefined);
    child.stdin.end(input);
  });
}

/** Does not wait until the pods run. Values go through standard input, so that no file contains keys. */
export const installChart = (namespace: string, values: object): Promise<void> =>
  helm(['install', release, chart, '-n', namespace, '-f', '-'], JSON.stringify(values), installMsMax);

export const uninstallChart = (namespace: string, timeoutS: number): Promise<void> =>
  helm(
    ['uninstall', release, '-n', namespace, '--ignore-not-found', '--wait', '--timeout', `${timeoutS}s`],
    '',
    (timeoutS + 60) * 1000,
  );
