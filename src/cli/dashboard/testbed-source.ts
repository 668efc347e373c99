/** Programs and problems of a testbed: from the admin ports of its programs, and its files. */
import { X509Certificate } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { version } from '../../base/version.js';
import type { Finding } from '../../findings/finding.js';
import { stateOf, type PlaceFlags } from '../place.js';
import { testbedManifests } from '../policy/meshes.js';
import { programs, shAsync } from '../run.js';
import { statusOf } from '../status.js';
import { read } from './assemble.js';
import { allProblems, findingProblems, unenforcedProblems } from './problems.js';
import { testbedPrograms } from './programs.js';
import type { MeshSource } from './sources.js';

/** Undefined if it cannot be read: the control plane has not started yet. */
function rootExpires(state: string): string | undefined {
  try {
    return new X509Certificate(readFileSync(join(state, 'control', 'root-cert.pem'))).validTo;
  } catch {
    return undefined;
  }
}

/** When the control plane last wrote its list of problems: an object that is corrected to its last valid content is no change. */
function problemsMark(state: string): string {
  try {
    return String(statSync(join(state, 'control', 'problems.json')).mtimeMs);
  } catch {
    return '';
  }
}

async function manifestFindings(state: string, root: string): Promise<readonly Finding[]> {
  const from = testbedManifests(state);
  const args = [programs.control, 'check-manifests', '--root-namespace', root, '--from', ...from];
  return JSON.parse(await shAsync(process.execPath, args)) as Finding[];
}

export function testbedSource(flags: PlaceFlags): MeshSource {
  const state = stateOf(flags);
  return {
    mesh: { kind: 'testbed', name: basename(state), version },
    programsMs: 4_000,
    pausePerReading: 2,
    mark: () => problemsMark(state),
    programs: async () =>
      read({ programs: testbedPrograms(await statusOf(state), rootExpires(state)), unread: [] }),
    problems: async () => {
      const [{ configuration = [] }, findings] = await Promise.all([
        statusOf(state),
        manifestFindings(state, flags.rootNamespace),
      ]);
      return read(allProblems(findingProblems(findings), unenforcedProblems(configuration)));
    },
  };
}
