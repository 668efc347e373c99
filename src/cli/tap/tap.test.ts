import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fuzz } from '../../../test/support/fuzz.js';
import { tapConnection, tapParty, tapRequest } from '../../../test/support/taps.js';
import { queryOf, sampleOf } from './command.js';
import { eventText, lineText } from './rows.js';
import { tapLineOf } from './tap-lines.js';

test('a request is one line: when, what came out, who, where, and what', () => {
  assert.equal(
    eventText(tapRequest()),
    '22:13:20.000 ok      shop/web -> shop/api:8080  waypoint  200 GET /orders/7 3.5 ms  at=shop/wp  id=10.0.0.1:4711',
  );
});

test('a refused connection has its policy, code and reason', () => {
  const refused = tapConnection({
    outcome: 'refused',
    path: 'refused',
    policy: 'shop/only-web',
    code: 'WEFT_DENIED',
    why: 'denied',
    audited: ['shop/b'],
  });
  assert.match(
    eventText(refused),
    / REFUSED shop\/web -> shop\/api:8080 {2}refused {2}connection {2}policy=shop\/only-web {2}code=WEFT_DENIED {2}why="denied" {2}audited=shop\/b /,
  );
});

test('a peer without a name is shown by its identity, a Service stands for an unknown endpoint; nothing acts on a terminal', () => {
  const event = tapConnection({
    source: { ...tapParty('bank', 'teller'), workload: '', pod: '' },
    destination: { namespace: 'shop', workload: '', pod: '', service: 'api.shop\u001b[2J', port: 80 },
    reporter: '',
    id: '',
  });
  const text = eventText(event);
  assert.match(text, / ok {6}spiffe:\/\/cluster\.local\/ns\/bank\/sa\/teller -> api\.shop\?\[2J:80 {2}/);
  assert.doesNotMatch(text, /\u001b|at=|id=/);
});

test('what is lost and who is missing is said', () => {
  assert.match(lineText({ lost: 120 }), /^lost 120 lines/);
  assert.match(lineText({ missing: ['weft-control-b'] }), /^no answer from weft-control-b/);
  assert.equal(lineText({ programs: 3 }), 'tapping 3 programs; Ctrl-C ends');
});

test('samples are one of so many, or a share', () => {
  assert.deepEqual(['1/100', '0.01', '.5', '1', '1/1'].map(sampleOf), [100, 100, 2, 1, 1]);
  for (const text of ['0', '2/3', '1/0', '5', '-1', 'x', '1/9999999', '0.00000001'])
    assert.throws(() => sampleOf(text), /not a sample/, text);
});

test('a path that begins with / is that of requests, any other a way of connections', () => {
  const query = queryOf({ path: ['/orders/*', 'kernel'], namespace: 'shop', status: ['5xx'], sample: 2 });
  assert.deepEqual(query, {
    filter: { namespace: 'shop', requestPaths: ['/orders/*'], ways: ['kernel'], statuses: ['5xx'] },
    sampleOf: 2,
  });
  assert.throws(() => queryOf({ path: ['krenel'], sample: 1 }), { code: 'WEFT_TAP_INPUT' });
});

test('an error names the flag, not the field of the filter', () => {
  assert.throws(
    () => queryOf({ path: ['orders'], sample: 1 }),
    /--path: "orders" is not one of .*a path of requests begins with \//,
  );
  assert.throws(() => queryOf({ path: ['/a?b'], sample: 1 }), /--path: "\/a\?b" is no path of requests/);
  assert.throws(() => queryOf({ status: ['6xx'], sample: 1 }), /--status: "6xx" is no status/);
  assert.throws(() => queryOf({ workload: ['web'], sample: 1 }), /--workload: "web" is not NAMESPACE\/NAME/);
});

test('lines of a control plane are read; those that this version does not know are left out, and an end says why', () => {
  assert.deepEqual(tapLineOf(JSON.stringify({ event: tapRequest() })), { event: tapRequest() });
  assert.deepEqual(tapLineOf('{"lost":3}'), { lost: 3 });
  assert.equal(tapLineOf('{}'), undefined);
  assert.equal(tapLineOf('{"later":1}'), undefined);
  assert.throws(() => tapLineOf('{"end":"too late"}'), /too late/);
  const seed = Buffer.from(JSON.stringify({ event: tapRequest() }));
  fuzz([seed], (bytes) => {
    try {
      const line = tapLineOf(bytes.toString());
      if (line) lineText(line);
    } catch (error) {
      assert.equal((error as { readonly code?: string }).code, 'WEFT_ADMIN');
    }
  });
});
