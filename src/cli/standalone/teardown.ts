/** Removes a testbed by its ledger, even if the program that created it was killed. */
import { existsSync, readdirSync, readFileSync, readlinkSync, rmSync, rmdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { sleep } from '../../base/wait.js';
import { errorText, WeftError } from '../../base/errors.js';
import { endProcess, isAlive, markOf, programs, sh, type ProcessMark } from '../run.js';
import { pinRoot } from './agent.js';
import { readLedger, testbedVariable } from './ledger.js';

const weftRun = '/run/weft';

/**
 * Processes whose environment names the testbed at `state`, without this process. In another mount namespace the same path is
 * another directory, and so another testbed.
 */
function markedProcesses(state: string): ProcessMark[] {
  const mounts = readlinkSync('/proc/self/ns/mnt');
  const entry = `\0${testbedVariable}=${state}\0`;
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .flatMap((name) => {
      try {
        const environment = `\0${readFileSync(`/proc/${name}/environ`, 'latin1')}`;
        if (!environment.includes(entry) || readlinkSync(`/proc/${name}/ns/mnt`) !== mounts) return [];
        return markOf(Number(name)) ?? [];
      } catch {
        return [];
      }
    });
}

/**
 * Removes a testbed by its ledger: programs, namespaces, pinned maps of agents, files. False if there is no testbed. A failure does
 * not stop the removal of the other parts. The ledger is then kept, so that the removal can be repeated.
 */
export async function tearDown(stateDir: string): Promise<boolean> {
  const state = resolve(stateDir);
  const ledger = readLedger(state);
  if (!ledger) return false;
  const failures: unknown[] = [];
  const attempt = async (action: () => unknown): Promise<void> => {
    try {
      await action();
    } catch (error) {
      failures.push(error);
    }
  };
  const endAll = (marks: readonly ProcessMark[]): Promise<unknown> =>
    Promise.all(marks.map((mark) => attempt(() => endProcess(mark, 5_000))));

  await endAll(Object.values(ledger.processes));
  // Programs that were started but not yet recorded, and setup commands that outlived their `up`.
  for (let rest = markedProcesses(state); rest.length > 0; rest = markedProcesses(state)) await endAll(rest);
  for (const instance of ledger.instances) {
    if (!existsSync(join(pinRoot, instance))) continue;
    await attempt(() => sh(process.execPath, [programs.cleanup, '--instance', instance]));
  }
  await attempt(() => {
    if (existsSync(pinRoot) && readdirSync(pinRoot).length === 0) rmdirSync(pinRoot);
  });
  for (const name of ledger.netns) {
    if (!existsSync(join('/run/netns', name))) continue;
    // A program that a user started there would keep the namespace alive without a name.
    await attempt(() =>
      endAll(
        sh('ip', ['netns', 'pids', name])
          .split('\n')
          .filter(Boolean)
          .flatMap((pid) => markOf(Number(pid)) ?? []),
      ),
    );
    await attempt(() => sh('ip', ['netns', 'del', name]));
  }
  if (failures.length > 0) {
    throw new WeftError(
      'WEFT_BED_DOWN',
      `${failures.map(errorText).join('; ')}: repeat weft standalone down --state ${state}`,
      { cause: failures[0], retryable: true },
    );
  }
  await sleep(10);
  rmSync(state, { recursive: true, force: true });
  if (existsSync(weftRun) && readdirSync(weftRun).length === 0) rmdirSync(weftRun);
  return true;
}

/**
 * Removes the testbed at `state` that a killed program left. Throws WEFT_BED_EXISTS if its owner is alive. `running`: text of the
 * error that names the owner.
 */
export async function removeAbandoned(state: string, running: string): Promise<void> {
  const owner = readLedger(state)?.owner;
  if (owner && isAlive(owner))
    throw new WeftError('WEFT_BED_EXISTS', `${running} (process ${owner.pid}): wait for its end`);
  await tearDown(state);
}
