import assert from 'node:assert/strict';
import { test } from 'node:test';
import { status } from '@grpc/grpc-js';
import { edge } from '../../test/support/edges.js';
import type { EdgeReport } from '../discovery/gen/weft.js';
import type { Edge } from '../model/edge.js';
import { EdgeReporter } from './edge-reporter.js';

function bench() {
  const state = {
    nowMs: 1_000_000,
    observed: [] as Edge[],
    sent: [] as EdgeReport[],
    fail: undefined as number | undefined,
    lost: 0,
    problems: [] as string[],
  };
  const reporter = new EdgeReporter({
    take: () => state.observed.splice(0),
    send: (report) => {
      state.sent.push(report);
      return state.fail === undefined
        ? Promise.resolve()
        : Promise.reject(Object.assign(new Error(`code ${state.fail}`), { code: state.fail }));
    },
    onLost: (reports) => (state.lost += reports),
    onProblem: (why) => state.problems.push(why),
    now: () => state.nowMs,
  });
  const tick = async (): Promise<number[]> => {
    state.sent.length = 0;
    state.nowMs += 10_000;
    await reporter.tick();
    return state.sent.map(({ number }) => number);
  };
  return { state, tick };
}

test('a report that failed is sent again with its number, and what was observed meanwhile follows', async () => {
  const { state, tick } = bench();
  assert.deepEqual(await tick(), [], 'nothing was observed');
  state.observed.push(edge({ port: 1 }));
  state.fail = status.UNAVAILABLE;
  assert.deepEqual(await tick(), [1]);
  const [first] = state.sent;
  state.observed.push(edge({ port: 2 }));
  assert.deepEqual(await tick(), [1]);
  assert.deepEqual(state.sent[0], first, 'the same report');
  state.fail = undefined;
  assert.deepEqual(await tick(), [1]);
  assert.deepEqual(await tick(), [2]);
  assert.equal(state.sent[0]?.edges[0]?.port, 2);
  assert.deepEqual([state.lost, state.problems], [0, ['code 14']]);
});

test('a report that the control plane refuses is lost; one that is too old is lost', async () => {
  const { state, tick } = bench();
  state.observed.push(edge());
  state.fail = status.INVALID_ARGUMENT;
  assert.deepEqual(await tick(), [1]);
  assert.equal(state.lost, 1);
  state.fail = status.UNAVAILABLE;
  state.observed.push(edge());
  assert.deepEqual(await tick(), [2]);
  state.nowMs += 901_000;
  assert.deepEqual(await tick(), []);
  assert.equal(state.lost, 2);
});

test('an older control plane is asked again only after ten minutes, and memory does not grow meanwhile', async () => {
  const { state, tick } = bench();
  state.fail = status.UNIMPLEMENTED;
  state.observed.push(edge());
  assert.deepEqual(await tick(), [1]);
  for (let round = 0; round < 50; round++) {
    state.observed.push(edge());
    assert.deepEqual(await tick(), []);
    assert.deepEqual(state.observed, []);
  }
  state.fail = undefined;
  state.nowMs += 600_000;
  state.observed.push(edge());
  assert.deepEqual(await tick(), [2]);
});

test('many edges are sent in several reports', async () => {
  const { state, tick } = bench();
  for (let port = 0; port < 2_500; port++) state.observed.push(edge({ port }));
  assert.deepEqual(await tick(), [1, 2, 3]);
  assert.deepEqual(
    state.sent.map(({ edges }) => edges.length),
    [1_024, 1_024, 452],
  );
});
