/** Rates of `weft stat`, from the control plane's memory of edges: right however long, and by how many replicas, the mesh was observed. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { edge } from '../support/edges.js';
import { EdgeStore } from '../../control/edges/edge-store.js';
import { edgesKeptMs, edgeSlotMs, type EdgeQuery } from '../../src/model/edge.js';
import { statisticsOf } from '../../src/cli/stat/statistics-of.js';
import { observe, type Observation } from '../../src/cli/edges/observation.js';

/** A control plane that has started at a time within a slot, and gets a report of one request a second, every 10 s. */
function bench(startedMs = 1_000 * edgeSlotMs + 12_000) {
  const clock = { nowMs: startedMs };
  const stores = [
    new EdgeStore(
      () => undefined,
      () => clock.nowMs,
    ),
  ];
  const ask = (query: EdgeQuery) => {
    const answers = stores.map((store) => store.query(query));
    return Promise.resolve({
      edges: answers.flatMap(({ edges }) => edges),
      sinceMs: Math.max(...answers.map(({ sinceMs }) => sinceMs)),
      missing: [],
    });
  };
  return {
    clock,
    startReplica: () =>
      stores.push(
        new EdgeStore(
          () => undefined,
          () => clock.nowMs,
        ),
      ),
    run(seconds: number, requests = 10): void {
      for (let i = 0; i < seconds / 10; i++) {
        clock.nowMs += 10_000;
        stores[0]?.add(
          edge({ reporter: 'waypoint', path: 'waypoint', method: 'GET' }, { connections: 0, requests }),
          'w',
          'shop',
          0,
        );
      }
    },
    observe: (windowMs: number): Promise<Observation> =>
      observe(ask, { sinceMs: clock.nowMs - windowMs }, clock.nowMs),
  };
}

const inbound = (found: Observation) =>
  statisticsOf(found, 'workloads', {}).find(({ direction }) => direction === 'inbound');
/** One request a second: what was observed may have the requests of one report more or less, and begin a few seconds later. */
function isOnePerSecond(found: Observation): void {
  const rate = inbound(found)?.requestsPerSecond;
  const seconds = (found.nowMs - (found.rated?.fromMs ?? 0)) / 1_000;
  assert.ok(rate !== undefined && Math.abs(rate - 1) <= 15 / seconds, `${rate} in ${seconds} s`);
}

test('the rate is that of the traffic, whatever the window and however long the mesh was observed', async () => {
  for (const windowMs of [60_000, 300_000, edgesKeptMs]) {
    const { run, observe: look } = bench();
    let known = 0;
    for (let seconds = 10; seconds <= 1_300; seconds += 10) {
      run(10);
      const found = await look(windowMs);
      if (!found.rated) continue;
      known++;
      isOnePerSecond(found);
    }
    assert.ok(known > 115, String(known));
  }
});

test('a control plane that has just started shows counts and no rates, and says since when it observes', async () => {
  const { run, observe: look } = bench();
  run(20);
  const found = await look(600_000);
  assert.equal(found.rated, undefined);
  assert.deepEqual([inbound(found)?.requests, inbound(found)?.requestsPerSecond], [20, undefined]);
  assert.match(found.gaps.join(), /^observed since .*: programs report every 10 s$/);
});

test('what programs kept while no control plane ran is in no rate', async () => {
  const { run, observe: look } = bench();
  run(10, 5_000);
  run(90);
  const found = await look(600_000);
  assert.equal(inbound(found)?.requests, 5_090);
  isOnePerSecond(found);
});

test('a replica that has just started does not make the counts of the other one those of a shorter time', async () => {
  const { run, observe: look, startReplica } = bench();
  run(800);
  startReplica();
  run(10);
  assert.equal((await look(600_000)).rated, undefined);
  run(110);
  isOnePerSecond(await look(600_000));
});
