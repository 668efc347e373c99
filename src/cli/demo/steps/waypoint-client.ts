/** Helpers of the waypoint steps: requests, tunnels opened by a test client, and the access log of the waypoint. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { until } from '../../../base/wait.js';
import { parseSpiffeId } from '../../../model/identity.js';
import { assembleSvid } from '../../../tls/certificate.js';
import { issueSvid } from '../../../tls/issue.js';
import { createCsr, parseCsr } from '../../../tls/csr.js';
import { distRoot, run } from '../../run.js';
import { accessLogOf, type WaypointReplica } from '../../standalone/waypoint.js';
import { here, id, type Stage } from '../stage.js';

/** The example files of docs/waypoint.md. */
const examples = join(dirname(distRoot), 'docs', 'examples', 'waypoint');
export const waypointExample = (name: string): string => readFileSync(join(examples, `${name}.yaml`), 'utf8');

export const place: WaypointReplica = {
  namespace: 'shop',
  name: 'waypoint',
  node: 'node-b',
  flags: ['--access-log-mode', 'all', '--drain-ms', '10000', '--drain-delay-ms', '2000'],
};
export const second: WaypointReplica = { ...place, node: 'node-a', replica: 1 };
export const vip = '10.96.0.20';
export const vip6 = 'fd00:96::20';
/** Pods of both versions: one on the node of web, one on the other node. */
export const pods = ['10.244.1.60', '10.244.2.60', '[fd00:244:1::60]', '[fd00:244:2::60]'];

export interface Answer {
  readonly status: number;
  readonly body: string;
  readonly error: string;
}

/** curl has its own time limits. Many requests at once are slow on an emulated machine. */
const askMsMax = 90_000;
export async function ask(netns: string, url: string, ...more: readonly string[]): Promise<Answer> {
  const args = ['-sS', '-m', '6', '--noproxy', '*', '--path-as-is', '-w', '\n%{http_code}', ...more, url];
  const { stdout, stderr } = await run(netns, 'curl', args, askMsMax);
  const at = stdout.lastIndexOf('\n');
  return { status: Number(stdout.slice(at + 1)), body: stdout.slice(0, at).trim(), error: stderr.trim() };
}
export const podOf = ({ body }: Answer): string => (JSON.parse(body) as { pod: string }).pod;

/** Records of the waypoint's access log. */
export function requests(stage: Stage, from = place): Record<string, unknown>[] {
  const path = accessLogOf(stage.testbed, from);
  if (!existsSync(path)) return [];
  return readFileSync(path, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}
export function request(
  stage: Stage,
  what: string,
  find: (line: Record<string, unknown>) => boolean,
): Promise<Record<string, unknown>> {
  return until(`the waypoint has logged ${what}`, 20_000, () => requests(stage).findLast(find));
}

/** A certificate from the CA of the mesh, as an attacker on a node would have. */
export function certificateOf(stage: Stage, account: string): string {
  const identity = parseSpiffeId(id(account));
  const { keyPem, csrPem } = createCsr(identity);
  const csr = parseCsr(csrPem);
  assert.ok(csr.ok);
  const file = (name: string): string => readFileSync(join(stage.testbed.controlState(), name), 'utf8');
  const leaf = issueSvid({
    caKeyPem: file('ca-key.pem'),
    caCertPem: file('ca-cert.pem'),
    csrPublicKeyPem: csr.value.publicKeyPem,
    id: identity,
    ttlS: 3600,
  });
  const path = join(stage.state, `stolen-${account}.json`);
  const svid = assembleSvid(identity, keyPem, [leaf, file('root-cert.pem')]);
  writeFileSync(path, JSON.stringify(svid), { mode: 0o600 });
  return path;
}

interface TunnelAnswer {
  readonly opened: boolean;
  readonly answer?: string;
  readonly code?: string;
  readonly why?: string;
}
export async function tunnel(
  netns: string,
  svid: string,
  expected: string,
  ip: string,
  authority: string,
  ...claimed: readonly string[]
): Promise<TunnelAnswer> {
  const args = [join(here, 'tunnel.js'), svid, expected, ip, authority, ...claimed];
  const { stdout, stderr } = await run(netns, process.execPath, args, 15_000);
  return stdout === '' ? { opened: false, why: stderr } : (JSON.parse(stdout) as TunnelAnswer);
}

export const refusedStatus = (answer: Answer): string =>
  answer.status === 0 ? answer.error.replace(/^curl: \(\d+\) /, '') : `HTTP ${answer.status}`;
