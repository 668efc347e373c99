/** Connections between nodes outlive the agents of both nodes, because the carrier holds their sockets. */
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { closeSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { until } from '../../../base/wait.js';
import { replaceAgent } from '../../standalone/replace-agent.js';
import { agentProcess } from '../../standalone/testbed.js';
import {
  apiIp,
  denyIntruder,
  enrolled,
  here,
  Live,
  pong,
  turnedAway,
  type Stage,
  type Step,
} from '../stage.js';

const MiB = 1 << 20;
const fileMiB = 64;
/** Slow enough that the downloads run while both agents are replaced on a slow machine: 256 s. nginx sends the second one at the same rate. */
const bytesPerSecond = MiB / 4;
const nodes = ['node-a', 'node-b'];
/** A policy change cuts a connection within this time (docs/limits.md), and the testbed's control plane reads its files every 300 ms. */
const cutMsMax = 3_000;

interface DownloadEvent {
  readonly event: 'progress' | 'done' | 'error';
  readonly bytes: number;
  readonly sha256?: string;
  readonly code?: string;
}

class Download {
  #last: DownloadEvent = { event: 'progress', bytes: 0 };
  readonly #child: ChildProcess;

  /** `rate`: of the reader. */
  constructor(netns: string, url: string, rate: number) {
    this.#child = spawn(
      'nsenter',
      [`--net=/run/netns/${netns}`, '--', process.execPath, join(here, 'download.js'), url, String(rate)],
      { stdio: ['pipe', 'pipe', 'ignore'] },
    );
    let rest = '';
    this.#child.stdout?.on('data', (bytes: Buffer) => {
      const lines = (rest + bytes.toString()).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) this.#last = JSON.parse(line) as DownloadEvent;
    });
  }

  /** Resolves with the bytes so far, once there are `more` than now. */
  async progress(more: number, when: string): Promise<number> {
    const before = this.#last.bytes;
    await until(`the download continues ${when}`, 20_000, () => {
      assert.equal(this.#last.event, 'progress', `${when}: ${JSON.stringify(this.#last)}`);
      return this.#last.bytes >= before + more;
    });
    return this.#last.bytes;
  }

  /** Reads the rest at full speed. */
  async finish(): Promise<DownloadEvent> {
    this.#child.stdin?.write('\n');
    await until('the download ends', 60_000, () => this.#last.event !== 'progress');
    return this.#last;
  }

  cut(): Promise<DownloadEvent> {
    return until('the download is cut', 20_000, () => this.#last.event !== 'progress' && this.#last);
  }

  end(): void {
    this.#child.kill();
  }
}

/** Writes random bytes to a file that nginx serves. Returns their hash. */
function makeFile(path: string): string {
  const hash = createHash('sha256');
  const file = openSync(path, 'w');
  for (let i = 0; i < fileMiB; i++) {
    const bytes = randomBytes(MiB);
    hash.update(bytes);
    writeSync(file, bytes);
  }
  closeSync(file);
  return hash.digest('hex');
}

/** Two downloads run while `replace` ends the agents of both nodes. The first one finishes; the policy of the new agents cuts the second. */
async function outlive(
  stage: Stage,
  replace: (first: Download) => Promise<Record<string, unknown>>,
): Promise<Record<string, unknown>> {
  if (stage.testbed.relay !== 'carrier')
    return { relay: stage.testbed.relay, notRun: 'it needs the carrier: weft demo --relay carrier' };
  const sha256 = makeFile(join(stage.state, 'nginx', 'html', 'large'));
  const url = `http://${apiIp}:8080`;
  const downloads = [
    new Download('weft-web', `${url}/large`, bytesPerSecond),
    // The server is slow, not the reader: bytes that wait to be read would delay the reader's view of the reset.
    new Download('weft-web', `${url}/slow/large`, Infinity),
  ] as const;
  const [first, second] = downloads;
  try {
    for (const download of downloads) await download.progress(MiB / 4, 'before');
    const carriers = nodes.map((node) => stage.testbed.mark(`carrier-${node}`)?.pid);
    const evidence = await replace(first);
    const bytesWhenReplaced = await first.progress(MiB / 8, 'with the new agents');
    const finished = await first.finish();
    assert.equal(finished.event, 'done', JSON.stringify(finished));
    assert.equal(finished.bytes, fileMiB * MiB);
    assert.equal(finished.sha256, sha256);
    await second.progress(MiB / 8, 'until a policy forbids it');
    const wroteMs = Date.now();
    stage.write(
      'policy.yaml',
      denyIntruder.replace('no-intruder', 'no-web').replace('shop/intruder', 'shop/web'),
    );
    const cut = await second.cut();
    const cutAfterMs = Date.now() - wroteMs;
    stage.remove('policy.yaml');
    assert.equal(cut.event, 'error', JSON.stringify(cut));
    assert.ok(cutAfterMs < cutMsMax, `cut after ${cutAfterMs} ms`);
    assert.deepEqual(
      nodes.map((node) => stage.testbed.mark(`carrier-${node}`)?.pid),
      carriers,
    );
    await until(
      'web is allowed again',
      20_000,
      async () => (await stage.ping('weft-web', apiIp, 6379)) === pong,
    );
    return {
      relay: 'carrier',
      ...evidence,
      bytes: finished.bytes,
      bytesWhenReplaced,
      sha256: finished.sha256,
      policyAfterwards: cut.code,
      cutAfterMs,
    };
  } finally {
    for (const download of downloads) download.end();
  }
}

const summaryOf = (what: string) => (e: Record<string, unknown>) =>
  e['notRun'] === undefined
    ? `${what} after part of a download of ${Number(e['bytes']) / MiB} MiB: its hash is right; the new agents cut another one ${String(e['cutAfterMs'])} ms after a policy forbade it (${String(e['policyAfterwards'])})`
    : String(e['notRun']);

export const outliveAgentSteps: readonly Step[] = [
  {
    name: 'cross-node-survives-agent-kill',
    title:
      'kill -9 of the agents of both nodes in the middle of a download: it continues, and the new agents enforce policy on it',
    run: (stage) =>
      outlive(stage, async (first) => {
        const server = new Live('weft-api', ['listen', '9100']);
        stage.lives.push(server);
        await server.wait('listening');
        for (const node of nodes) await stage.testbed.stop(agentProcess(node), 'SIGKILL');
        const whileDead = await first.progress(MiB / 4, 'without any agent');
        const undecided = stage.connect('weft-web', apiIp, 9100);
        const refused = await undecided.wait('error');
        assert.ok(turnedAway.includes(refused.code ?? ''), `nobody decided this connection: ${refused.code}`);
        for (const node of nodes) stage.testbed.startAgent(node);
        await stage.testbed.waitReady(enrolled);
        server.end();
        return { bytesWithoutAgents: whileDead, undecidedWithoutAgents: refused.code };
      }),
    summary: summaryOf('kill -9'),
  },
  {
    name: 'cross-node-survives-agent-upgrade',
    title:
      'The agents of both nodes are replaced in the middle of a download: it continues, and the new agents enforce policy on it',
    run: (stage) =>
      outlive(stage, async () => {
        for (const node of nodes) await replaceAgent(stage.testbed, node);
        return {};
      }),
    summary: summaryOf('replaced'),
  },
];
