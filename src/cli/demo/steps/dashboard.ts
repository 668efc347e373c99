/** `weft dashboard`: the page of the mesh shows what the demo did. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { until } from '../../../base/wait.js';
import { sessionHeaders } from '../../../dashboard/session.js';
import type { EdgeState, MeshSnapshot } from '../../../model/mesh-snapshot.js';
import { distRoot } from '../../run.js';
import { browserPath, loadPage } from '../browser.js';
import { apiVip, pong, type Stage, type Step } from '../stage.js';

const weft = join(distRoot, 'src', 'cli', 'weft.js');
/** Programs report every 10 s. */
const reportedMs = 60_000;

/** Runs the command while `action` asks its server. */
async function whileServed<T>({ state }: Stage, action: (url: string) => Promise<T>): Promise<T> {
  const child = spawn(process.execPath, [weft, 'dashboard', '--no-open', '--state', state], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (bytes: Buffer) => (output += bytes.toString()));
  const ended = new Promise((resolve) => child.once('close', resolve));
  try {
    const url = await until(`weft dashboard prints its URL (so far: ${output})`, 60_000, () => {
      assert.equal(child.exitCode, null, output);
      return /http:\S+#token=\S+/.exec(output)?.[0];
    });
    return await action(url);
  } finally {
    child.kill('SIGTERM');
    await ended;
  }
}

/** Asks as the page does. */
async function snapshotOf(url: string): Promise<MeshSnapshot> {
  const { origin, hash } = new URL(url);
  const token = new URLSearchParams(hash.slice(1)).get('token') ?? '';
  const response = await fetch(`${origin}/api/snapshot?since=5m`, { headers: sessionHeaders(token) });
  assert.equal(response.status, 200, await response.clone().text());
  return (await response.json()) as MeshSnapshot;
}

const isWanted = ({ source, destination, path }: EdgeState): boolean =>
  source === 'shop/web' && destination === 'shop/api' && path === 'hbone';

/** The snapshot, once everything was read and the edge that is wanted is reported. */
async function completeSnapshot(url: string): Promise<MeshSnapshot> {
  let incomplete: readonly string[] = [];
  try {
    return await until('the snapshot has the connections of web to api', reportedMs, async () => {
      const snapshot = await snapshotOf(url);
      ({ incomplete } = snapshot);
      return incomplete.length === 0 && snapshot.edges.some(isWanted) && snapshot;
    });
  } catch (error) {
    throw new Error(`${String(error)}; not read: ${incomplete.join('; ') || 'nothing'}`, { cause: error });
  }
}

/** Ids of edges, as the page's table has them. */
const shownIds = (dom: string): ReadonlySet<string> =>
  new Set(
    [...dom.matchAll(/data-edge-id="([^"]*)"/g)].map(([, id = '']) =>
      id.replaceAll('&quot;', '"').replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&amp;', '&'),
    ),
  );

export const dashboardStep: Step = {
  name: 'dashboard',
  title: 'weft dashboard: a page shows who called whom in this demo, read from live data',
  run: async (stage) => {
    assert.equal(await stage.ping('weft-web', apiVip, 6379), pong);
    return whileServed(stage, async (url) => {
      const { edges, programs } = await completeSnapshot(url);
      assert.deepEqual(
        programs.filter(({ health }) => health !== 'ready'),
        [],
      );
      const found = { edges: edges.length, programs: programs.length };
      const browser = browserPath();
      if (browser === undefined) return { ...found, browser: 'none' };
      const { dom, console: messages } = await loadPage(browser, url.replace('#', '#/graph?'));
      assert.deepEqual(messages, [], 'nothing in the console of the browser');
      const shown = shownIds(dom);
      const missing = edges.filter(isWanted).filter(({ id }) => !shown.has(id));
      assert.deepEqual(missing, [], 'the page shows what the snapshot has');
      return { ...found, browser, shown: shown.size };
    });
  },
  summary: (e) =>
    `${String(e['edges'])} edges between workloads, ${String(e['programs'])} programs are ready; ` +
    (e['browser'] === 'none'
      ? 'there is no Chromium here, so the page was not opened in a browser'
      : `Chromium shows ${String(e['shown'])} edges, and its console is empty`),
};
