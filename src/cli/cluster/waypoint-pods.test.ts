import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fuzz } from '../../../test/support/fuzz.js';
import { waypointReportOf } from './waypoint-pods.js';

const notAfter = '2026-01-02T03:04:05.000Z';
const said = (more: object = {}): string =>
  JSON.stringify({
    version: '1.0',
    ready: true,
    control: { state: 'connected' },
    undecodable: [],
    certificate: { serial: '1', notAfter },
    ...more,
  });

test('a waypoint says its version, when its certificate expires, and whether it has the configuration', () => {
  assert.deepEqual(waypointReportOf(said()), { version: '1.0', isInSync: true, notAfter });
  assert.equal(waypointReportOf(said({ control: { state: 'waiting' } })).isInSync, false);
  assert.equal(waypointReportOf(said({ undecodable: [{ type: 'Route' }] })).isInSync, false);
  assert.deepEqual(waypointReportOf('{}'), {});
});

test('whatever a pod says, what is not of the form is left out, and texts are bounded', () => {
  assert.deepEqual(
    waypointReportOf(said({ version: 7, control: 'x', certificate: { notAfter: 'soon' } })),
    {},
  );
  for (const text of ['', 'null', '[]', '<html>']) assert.throws(() => waypointReportOf(text), /status/);
  fuzz([Buffer.from(said())], (bytes) => {
    try {
      const { version = '', notAfter: end = notAfter } = waypointReportOf(
        Buffer.from(bytes).toString('utf8'),
      );
      assert.ok(version.length <= 256 && Number.isFinite(Date.parse(end)));
    } catch (error) {
      assert.match(String(error), /its admin port does not say its status/);
    }
  });
});
