/** The demo's pods with a waypoint for `echo`, and a policy by which only `web` may call `api`: what tests of commands observe. */
import { execFile, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { until } from '../../src/base/wait.js';
import { distRoot, run, type Finished } from '../../src/cli/run.js';
import { startWaypoint } from '../../src/cli/standalone/waypoint.js';
import type { Testbed } from '../../src/cli/standalone/testbed.js';
import { DemoMesh, listening } from './demo-mesh.js';

export const weftProgram = join(distRoot, 'src', 'cli', 'weft.js');

const policy = `apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: only-web, namespace: shop }
spec: { selector: { matchLabels: { app: api } }, action: ALLOW, rules: [{ from: [{ identities: ['*/sa/web'] }] }] }
`;

/** The status of one request on a connection of its own; `000`: none. */
export async function statusOf(
  client: string,
  url: string,
  headers: readonly string[] = [],
): Promise<string> {
  const args = ['-sS', '-m', '10', '--noproxy', '*', '-o', '/dev/null', '-w', '%{http_code}'];
  const more = headers.flatMap((one) => ['-H', one]);
  return (await run(`weft-${client}`, 'curl', [...args, ...more, url], 20_000)).stdout;
}

function startEcho(testbed: Testbed, ports: Readonly<Record<string, string>>): void {
  const echo = join(distRoot, 'src', 'cli', 'demo', 'echo.js');
  for (const [pod, port] of Object.entries(ports))
    testbed.start(`${pod}-server`, `weft-${pod}`, process.execPath, [echo, pod, port]);
}

/** Starts a testbed with servers in `api`, `cache` and both pods of `echo`. */
export async function startObserved(
  mesh: DemoMesh,
  waypoint: { readonly workers: number; readonly flags?: string[] } = { workers: 1 },
): Promise<Testbed> {
  await mesh.prepare();
  mesh.gateway();
  mesh.write('policy.yaml', policy);
  const testbed = mesh.create();
  startEcho(testbed, { api: '8080', cache: '6379', 'echo-v1': '8080', 'echo-v2': '8080' });
  await testbed.up();
  await startWaypoint(testbed, { namespace: 'shop', name: 'waypoint', node: 'node-b', ...waypoint });
  await listening('weft-api', 8080);
  await listening('weft-cache', 6379);
  return testbed;
}

export class ObservedMesh {
  readonly mesh: DemoMesh;

  /** With it Prometheus reads the metrics of all programs. */
  readonly token = 'a-token-of-prometheus';

  constructor(name: string) {
    this.mesh = new DemoMesh(name);
  }

  get tokenFile(): string {
    return join(this.mesh.manifests, 'token');
  }

  async up(): Promise<Testbed> {
    await this.mesh.prepare();
    this.mesh.gateway();
    this.mesh.write('policy.yaml', policy);
    this.mesh.write('token', this.token);
    const flags = ['--metrics-token', this.tokenFile];
    const testbed = this.mesh.create({ agentFlags: flags });
    startEcho(testbed, { api: '8080', 'echo-v1': '8080' });
    await testbed.up();
    await startWaypoint(testbed, { namespace: 'shop', name: 'waypoint', node: 'node-b', workers: 1, flags });
    await listening('weft-api', 8080);
    await listening('weft-echo-v1', 8080);
    await until('the policy is in force', 30_000, async () => (await this.get('intruder', apiUrl)) === '000');
    await until(
      'the waypoint serves',
      30_000,
      async () => (await this.get('web', `${echoUrl}/ready`)) === '200',
    );
    return testbed;
  }

  get(client: string, url: string): Promise<string> {
    return statusOf(client, url);
  }

  /** Runs `weft` on this testbed. */
  weft(...args: string[]): Promise<Finished> {
    return new Promise((resolve) => {
      const child: ChildProcess = execFile(
        process.execPath,
        [weftProgram, ...args, '--state', this.mesh.state],
        { env: { ...process.env, KUBECONFIG: '' } },
        (_error, stdout, stderr) => resolve({ code: child.exitCode ?? -1, stdout, stderr }),
      );
    });
  }

  remove(): Promise<void> {
    return this.mesh.remove();
  }
}

/** Without a waypoint: connections only. */
export const apiUrl = 'http://10.96.0.10/';
/** Behind the waypoint. */
export const echoUrl = 'http://10.96.0.21';
