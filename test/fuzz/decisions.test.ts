/** Responses of decision services, whatever bytes they have: no decision, or one that can be written into requests and responses. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type {
  CallResponse,
  DecisionProtocol,
} from '../../src/waypoint/external-authorization/asked-request.js';
import { decisionLimits } from '../../src/waypoint/external-authorization/decision-headers.js';
import { grpcProtocol } from '../../src/waypoint/external-authorization/grpc-protocol.js';
import { httpProtocol } from '../../src/waypoint/external-authorization/http-protocol.js';
import { changeFields, changeQuery } from '../../src/waypoint/external-authorization/request-change.js';
import { isFieldValue, isToken } from '../../src/waypoint/filters/config-values.js';
import { grpcBody } from '../../src/waypoint/http/grpc.js';
import { framingFields } from '../../src/waypoint/http/restricted-fields.js';
import { askFilter, checkResponse, deniedWith, header, okWith } from '../support/decision-services.js';
import { fuzz } from '../support/fuzz.js';

const filterOf = (upstreamHeaders: string[]) => {
  const made = askFilter({ upstreamHeaders });
  assert.equal(made.$case, 'externalAuthorization');
  return made.value;
};

/** Reads a response. Checks the decision, if it is one. Returns its kind. */
function check(protocol: DecisionProtocol, response: CallResponse): string {
  let decision;
  try {
    decision = protocol.read(response);
  } catch (error) {
    assert.ok(error instanceof Error);
    return 'none';
  }
  const headers =
    decision.kind === 'denied'
      ? decision.headers.flatMap((name, i) =>
          i % 2 === 0 ? [{ name, value: decision.headers[i + 1] ?? '' }] : [],
        )
      : [...decision.set, ...decision.responseHeaders];
  assert.ok(headers.length <= decisionLimits.headersMax);
  for (const { name, value } of headers) {
    assert.ok(isToken(name) && name === name.toLowerCase() && !framingFields.has(name), JSON.stringify(name));
    assert.ok(isFieldValue(value), JSON.stringify(value));
  }
  if (decision.kind === 'denied') assert.ok(decision.status >= 300 && decision.status <= 599);
  else {
    const head = { method: 'GET', path: '/a?b=c', authority: 'a', scheme: 'http', headers: ['x-a', 'b'] };
    changeFields(head.headers, decision.set);
    try {
      changeQuery(head, decision, true);
    } catch (error) {
      assert.ok(error instanceof Error);
    }
    assert.match(head.path, /^\/[\x21-\x7e]*$/);
  }
  return decision.kind;
}

test('messages of the API: what is not refused can be written', () => {
  const protocol = grpcProtocol(filterOf([]), 'authz', []);
  const seeds = [
    checkResponse(okWith({})),
    checkResponse(
      okWith({
        headers: [
          header('x-a', 'b'),
          header('x-c', 'd', { append: true }),
          header('x-e', 'f', { appendAction: 3 }),
        ],
        headersToRemove: ['x-g'],
        responseHeadersToAdd: [header('set-cookie', 'h')],
        queryParametersToSet: [{ key: 'i', value: 'j' }],
        queryParametersToRemove: ['b'],
      }),
    ),
    checkResponse(
      deniedWith({ status: { code: 401 }, headers: [header('www-authenticate', 'x')], body: 'no' }),
    ),
  ];
  const kinds = new Set<string>();
  fuzz(seeds, (bytes) => {
    const response = { status: 200, headers: [], body: grpcBody(bytes), trailers: ['grpc-status', '0'] };
    kinds.add(check(protocol, response));
    check(protocol, { ...response, body: Buffer.from(bytes) });
  });
  assert.deepEqual([...kinds].sort(), ['allowed', 'denied', 'none']);
});

test('responses by HTTP: what is not refused can be written', () => {
  const protocol = httpProtocol(filterOf(['*']), '/check');
  const kinds = new Set<string>();
  fuzz([Buffer.from('x-a\nb\nlocation\nc\nx-envoy-auth-headers-to-remove\nd, e')], (bytes) => {
    const headers = Buffer.from(bytes).toString('latin1').split('\n');
    // Names are in lower case when a response was read.
    const fields = headers.map((one, i) => (i % 2 === 0 ? one.toLowerCase() : one));
    const status = 150 + (bytes.length % 500);
    kinds.add(check(protocol, { status, headers: fields, body: Buffer.from(bytes), trailers: undefined }));
    kinds.add(check(protocol, { status: 200, headers: fields, body: Buffer.alloc(0), trailers: undefined }));
  });
  assert.deepEqual([...kinds].sort(), ['allowed', 'denied', 'none']);
});
