import assert from 'node:assert/strict';
import { test } from 'node:test';
import { usedFields } from '../fields.js';
import { fieldRemarks, remarksText } from '../remarks.js';
import { virtualServiceFields } from './virtual-service-fields.js';
import { concernsVirtualService } from './virtual-service-remarks.js';

const remark = (rule: object): string | undefined => {
  const spec = { hosts: ['a'], http: [rule] };
  return remarksText(
    fieldRemarks(usedFields(spec, virtualServiceFields).filter(concernsVirtualService(spec))),
  );
};

test('only differences that concern the object are said', () => {
  const route = [{ destination: { host: 'a' } }];
  const headers = (value: string): object => ({ route, headers: { request: { set: { 'x-a': value } } } });
  assert.equal(remark(headers('100%% sure')), undefined);
  assert.match(remark(headers('%REQ(x)%')) ?? '', /^http\[\]\.headers\.request\.set\{\}: variables of Envoy/);
  assert.equal(
    remark({ route, retries: { attempts: 2, retryOn: '5xx,retriable-status-codes,503' } }),
    undefined,
  );
  assert.match(remark({ route, retries: { retryOn: 'retriable-status-codes' } }) ?? '', /retryOn: /);
  assert.equal(remark({ route, retries: { retryIgnorePreviousHosts: true } }), undefined);
  assert.equal(remark({ delegate: { name: 'b' } }), undefined);
  assert.equal(remark({ directResponse: { status: 200, body: { string: 'x' } } }), undefined);
  for (const status of [204, 205, 304])
    assert.match(
      remark({ directResponse: { status, body: { string: 'x' } } }) ?? '',
      /^http\[\]\.directResponse\.body: a response with status 204, 205 or 304/,
    );
});

test('what is for ingress gateways alone is said to be without effect, and nothing else about it', () => {
  const cors = { corsPolicy: { allowOrigins: [{ exact: 'x' }], allowMethods: ['GET'] } };
  assert.equal(remark({ match: [{ gateways: ['mesh', 'ingress'] }], route: [] }), undefined);
  assert.match(
    remark({ match: [{ gateways: ['ingress'], name: 'm' }], ...cors }) ?? '',
    /^http\[\]\.match\[\]\.gateways: only `mesh` counts: rules for ingress gateways alone do nothing$/,
  );
  // Of several matches one is for the mesh.
  assert.match(
    remark({ match: [{ gateways: ['ingress'] }, { method: { exact: 'GET' } }], ...cors }) ?? '',
    /gateways: .*; http\[\]\.corsPolicy: preflights [^;]*$/,
  );
});
