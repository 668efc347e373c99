import assert from 'node:assert/strict';
import { test } from 'node:test';
import { relayCell, relayProblem, relayText } from './relay-text.js';

const carrier = {
  name: 'carrier',
  build: '0.1.0',
  pid: 7,
  startedMs: 1,
  flows: 1,
  leaseMs: 9_600,
  isDraining: false,
};

test('the relay in use is one line, with what is wrong with it', () => {
  assert.equal(
    relayText({ relay: 'typescript', carriers: [], why: 'set by --relay' }),
    'typescript (set by --relay)',
  );
  assert.equal(
    relayText({ relay: 'typescript', carriers: [{ ...carrier, isDraining: true }], why: '' }),
    'typescript; a former carrier, process 7, keeps 1 connection',
  );
  assert.equal(
    relayText({ relay: 'carrier', carriers: [carrier], why: '' }),
    'carrier (build 0.1.0, process 7, 1 connection, lease 10 s)',
  );
  assert.equal(
    relayText({
      relay: 'carrier',
      carriers: [
        { ...carrier, leaseMs: 0, flows: 2 },
        { ...carrier, pid: 6, flows: 3, isDraining: true },
      ],
      why: '',
    }),
    'carrier (build 0.1.0, process 7, 2 connections, no lease); a former one, process 6, keeps 3 connections',
  );
  assert.equal(
    relayText({ relay: 'carrier', carriers: [], why: 'no socket' }),
    'carrier: none in use; no socket',
  );
});

test('without a carrier nothing is relayed, and the reason is a problem', () => {
  assert.equal(relayProblem({ relay: 'typescript', carriers: [], why: 'x' }), undefined);
  assert.equal(relayProblem({ relay: 'carrier', carriers: [carrier], why: '' }), undefined);
  assert.equal(
    relayProblem({ relay: 'carrier', carriers: [{ ...carrier, isDraining: true }], why: 'gone' }),
    'gone',
  );
  assert.equal(relayProblem({ relay: 'carrier', carriers: [], why: '' }), 'no carrier is in use');
});

test('a table of nodes has the build of the carrier in use, and what its predecessors still keep', () => {
  assert.equal(relayCell({ relay: 'typescript', carriers: [], why: 'set by --relay' }), 'typescript');
  assert.equal(relayCell({ relay: 'carrier', carriers: [carrier], why: '' }), 'carrier 0.1.0');
  assert.equal(relayCell({ relay: 'carrier', carriers: [], why: 'no socket' }), 'carrier: none');
  const former = { ...carrier, isDraining: true };
  assert.equal(
    relayCell({ relay: 'carrier', carriers: [carrier, former], why: '' }),
    'carrier 0.1.0, 1 former with 1 connection',
  );
  assert.equal(
    relayCell({ relay: 'carrier', carriers: [former, { ...former, flows: 0 }], why: 'gone' }),
    'carrier: none, 2 former with 1 connection',
  );
  assert.equal(
    relayCell({ relay: 'typescript', carriers: [former], why: '' }),
    'typescript, 1 former carrier with 1 connection',
  );
  assert.equal(
    relayCell({ relay: 'typescript', carriers: [former, former], why: '' }),
    'typescript, 2 former carriers with 2 connections',
  );
});
