import assert from 'node:assert/strict';
import { test } from 'node:test';
import { explainArguments } from './explain-query.js';
import type { Unread } from '../../state/snapshot.js';
import { unreadTexts } from './sources.js';

const place = { state: '/run/x', rootNamespace: 'weft-system' };
const argumentsOf = (query: string): readonly string[] | string =>
  explainArguments(new URLSearchParams(query), place);

test('a question becomes the arguments of weft explain', () => {
  assert.deepEqual(argumentsOf('source=shop/web&destination=shop/api&port=80&method=GET&path=/a'), [
    'explain',
    '--json',
    '--root-namespace=weft-system',
    '--state=/run/x',
    '--method=GET',
    '--path=/a',
    '--',
    'shop/web',
    'shop/api:80',
  ]);
});

test('values are never options, and other options cannot be given', () => {
  const args = argumentsOf(
    'source=--what-if&destination=/etc/shadow&path=--log&file=/etc/shadow&log=/etc/shadow',
  );
  assert.ok(Array.isArray(args));
  assert.deepEqual(args.slice(args.indexOf('--')), ['--', '--what-if', '/etc/shadow']);
  assert.deepEqual(
    args.filter((one) => one.startsWith('--') && one !== '--' && one !== '--what-if'),
    ['--json', '--root-namespace=weft-system', '--state=/run/x', '--path=--log'],
  );
});

test('questions that are none are refused', () => {
  assert.equal(argumentsOf('source=a'), 'say source and destination');
  assert.equal(argumentsOf('source=a&destination=b&port=x'), 'port is not a number');
  assert.equal(
    argumentsOf(`source=a&destination=${'b'.repeat(3_000)}`),
    'destination has more than 2048 characters',
  );
});

const unreadKind = (name: string, within: { readonly within?: string } = {}): Unread => ({
  text: `the cluster's objects of the kind ${name}: forbidden`,
  kind: { name, ...within, why: 'forbidden' },
});

test('kinds that the account may not read are one sentence', () => {
  const kinds = ['Pod', 'Service', 'A', 'B', 'C', 'D', 'E', 'F'];
  assert.deepEqual(unreadTexts([...kinds.map((name) => unreadKind(name)), { text: 'x' }]), [
    'objects of Pod, Service, A, B, C, D and 2 more kinds cannot be read with this account, so that workloads, policies and problems may not be complete: forbidden',
    'objects: x',
  ]);
  assert.deepEqual(unreadTexts([]), []);
  assert.deepEqual(
    unreadTexts([unreadKind('Pod', { within: 'shop' }), unreadKind('Node')]).map(
      (text) => text.split(',')[0],
    ),
    [
      'of Pod only the objects of namespace shop can be read with this account',
      'objects of Node cannot be read with this account',
    ],
  );
});
