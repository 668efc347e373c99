/** `weft tap` shows what happens, as it happens. */
import assert from 'node:assert/strict';
import { until } from '../../../base/wait.js';
import type { TapEvent } from '../../../model/mesh-snapshot.js';
import type { TapFilter } from '../../../model/tap.js';
import { tapEvents } from '../../tap/tap-events.js';
import { apiVip, cacheIp, denyIntruder, id, pong, turnedAway, type Stage, type Step } from '../stage.js';
import { ask, vip } from './waypoint-client.js';

/** The first event of a tap, while `act` is repeated. */
async function seen({ state }: Stage, filter: TapFilter, act: () => Promise<unknown>): Promise<TapEvent> {
  const end = new AbortController();
  let found: TapEvent | undefined;
  const reading = (async () => {
    for await (const line of tapEvents({ state, kubernetes: false }, { filter, sampleOf: 1 }, end.signal))
      if ('event' in line) found ??= line.event;
  })();
  try {
    return await until(`a tap shows ${JSON.stringify(filter)}`, 60_000, async () => {
      await act();
      return found;
    });
  } finally {
    end.abort();
    await reading;
  }
}

export const tapStep: Step = {
  name: 'tap',
  title:
    'weft tap shows a request at a waypoint, a connection on the kernel path, and a refused one with its policy',
  run: async (stage) => {
    const request = await seen(stage, { kinds: ['request'], requestPaths: ['/public/tapped'] }, () =>
      ask('weft-web', `http://${vip}/public/tapped?token=hidden`),
    );
    assert.equal(request.source.identity, id('web'));
    assert.doesNotMatch(JSON.stringify(request), /hidden/);
    const kernel = await seen(stage, { ways: ['kernel'], workloads: ['shop/cache'] }, async () =>
      assert.equal(await stage.ping('weft-web', cacheIp, 6379), pong),
    );
    assert.equal(kernel.source.identity, id('web'));
    stage.write('tap-policy.yaml', denyIntruder);
    let refused: TapEvent;
    try {
      await until('intruder is refused', 20_000, async () =>
        turnedAway.includes(await stage.ping('weft-intruder', apiVip, 6379)),
      );
      refused = await seen(stage, { outcomes: ['refused'], policies: ['shop/no-intruder'] }, () =>
        stage.ping('weft-intruder', apiVip, 6379),
      );
    } finally {
      stage.remove('tap-policy.yaml');
    }
    assert.equal(refused.source.identity, id('intruder'));
    await until(
      'intruder is allowed again',
      20_000,
      async () => pong === (await stage.ping('weft-intruder', apiVip, 6379)),
    );
    return {
      request: `${request.request?.method} ${request.request?.path} ${request.request?.status}`,
      requestAt: request.reporter,
      kernelPath: kernel.path,
      refusedBy: refused.policy,
      refusedWhy: refused.why,
    };
  },
  summary: (e) =>
    `${String(e['request'])} at ${String(e['requestAt'])}; path ${String(e['kernelPath'])}; refused by ${String(e['refusedBy'])}`,
};
