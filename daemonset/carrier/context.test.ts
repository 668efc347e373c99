import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseIp } from '../../src/model/address.js';
import { dice } from '../../test/support/random-mesh.js';
import { id, uid } from '../../test/support/mesh.js';
import { contextBytesMax, decodeContext, encodeContext, type RuleContext } from './context.js';

const party = {
  address: '10.0.0.2:80',
  identity: id('b'),
  namespace: 'shop',
  workload: 'b',
  canonicalName: 'b',
  canonicalRevision: 'latest',
  pod: 'b',
};
const context: RuleContext = {
  pod: uid('b'),
  about: {
    kind: 'plain',
    remote: { ip: parseIp('10.0.0.1'), port: 0 },
    local: { ip: parseIp('10.0.0.2'), port: 80 },
  },
  check: {
    uid: uid('b'),
    attributes: {
      identity: undefined,
      sourceIp: parseIp('10.0.0.1'),
      destinationIp: parseIp('10.0.0.2'),
      destinationPort: 80,
    },
    peer: undefined,
  },
  direction: 'inbound',
  source: { ...party, address: '' },
  clientIp: '',
  targets: [
    {
      opening: {
        path: 'inbound-plain',
        why: 'plaintext-permitted',
        destination: party,
        policy: 'shop/p',
        rule: 0,
      },
      endpoint: '10.0.0.2:80',
      hasOthers: false,
      workload: uid('b'),
    },
  ],
};
const bytes = encodeContext(context);
// eslint-disable-next-line @typescript-eslint/no-explicit-any
type Read = Record<string, any>;
const edited = (edit: (read: Read) => void): Buffer => {
  const read = JSON.parse(bytes.toString()) as Read;
  edit(read);
  return Buffer.from(JSON.stringify(read));
};

test('a context is read as it was written', () => {
  assert.deepEqual(decodeContext(bytes, 1), {
    ...context,
    check: { ...context.check, attributes: { ...context.check?.attributes } },
  });
});

test('what is not exactly of this form is not read', () => {
  const wrong: [string, Buffer, number?][] = [
    ['another version', edited((read) => (read.version = 2))],
    ['an unknown field', edited((read) => (read.more = 1))],
    ['an unknown field of the attributes', edited((read) => (read.check.attributes.method = 'GET'))],
    ['no authorization of a connection to a pod of this node', edited((read) => delete read.check)],
    ['an address', edited((read) => (read.check.attributes.sourceIp = '10.0.0'))],
    ['a port', edited((read) => (read.check.attributes.destinationPort = 1e6))],
    ['an identity', edited((read) => (read.check.attributes.identity = 'me'))],
    ['a path', edited((read) => (read.targets[0].opening.path = 'refused'))],
    ['an endpoint too few', bytes, 2],
    ['a party without a name', edited((read) => delete read.source.pod)],
    ['a list', Buffer.from('[]')],
    ['nothing', Buffer.alloc(0)],
    ['null', Buffer.from('null')],
    ['too much', Buffer.concat([bytes, Buffer.alloc(contextBytesMax, ' ')])],
  ];
  for (const [what, text, targets = 1] of wrong) assert.equal(decodeContext(text, targets), undefined, what);
});

test('bytes that were changed never throw', () => {
  const roll = dice(20);
  for (let i = 0; i < 3_000; i++) {
    const changed = Buffer.from(bytes);
    for (let n = 0; n <= roll(4); n++) changed[roll(changed.length)] = roll(256);
    decodeContext(changed.subarray(0, roll(4) === 0 ? roll(changed.length) : changed.length), 1);
  }
});
