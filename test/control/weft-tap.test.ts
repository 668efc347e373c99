/** `weft tap` of a control plane with files: what it says to a reader whose tap it does not open. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { runControl } from '../../control/control-plane.js';
import { until } from '../../src/base/wait.js';
import { stateTap } from '../../src/cli/tap/state-tap.js';
import { manifests } from '../threats/support/two-nodes.js';

interface Answer {
  readonly status: number | undefined;
  readonly text: string;
}

test('a tap beyond the limit is refused with 429 and what to do, a filter that cannot be used with 400; when one has ended, another begins', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'weft-tap-'));
  const state = join(dir, 'state');
  writeFileSync(join(dir, 'a.yaml'), manifests);
  const control = await runControl({
    from: [dir],
    state,
    listen: '127.0.0.1:0',
    trustDomain: 'cluster.local',
  });
  const open: http.IncomingMessage[] = [];
  t.after(async () => {
    for (const one of open) one.destroy();
    await control.close();
    rmSync(dir, { recursive: true });
  });
  const get = (path: string): Promise<http.IncomingMessage> =>
    new Promise((resolve, reject) => {
      const socketPath = join(state, 'admin.sock');
      http.get({ socketPath, path, agent: false }, resolve).on('error', reject);
    });
  const answerTo = async (response: http.IncomingMessage): Promise<Answer> => {
    let text = '';
    for await (const part of response.setEncoding('utf8')) text += String(part);
    return { status: response.statusCode, text };
  };
  let refused: Answer | undefined;
  while (!refused && open.length < 100) {
    const response = await get('/taps');
    if (response.statusCode === 200) open.push(response);
    else refused = await answerTo(response);
  }
  assert.ok(open.length > 0);
  assert.equal(refused?.status, 429);
  assert.match(refused.text, /^WEFT_ADMIN: too many taps are open.*: end another weft tap/);
  const query = { filter: {}, sampleOf: 1 };
  await assert.rejects(async () => {
    for await (const _line of stateTap(state, query, new AbortController().signal));
  }, /^WeftError: the control plane does not say what happens: too many taps are open/);

  const wrong = await answerTo(await get('/taps?status=999x'));
  assert.equal(wrong.status, 400);
  assert.match(wrong.text, /^WEFT_ADMIN: /);
  assert.equal((await answerTo(await get('/explanations?source=shop/web'))).status, 400);

  open.pop()?.destroy();
  await until('another tap begins', 30_000, async () => {
    const response = await get('/taps');
    response.destroy();
    return response.statusCode === 200;
  });
});
