import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HpackDecoder } from './decoder.js';
import { HpackEncoder } from './encoder.js';
import type { OutputBuffer } from './hpack.js';

const limits = { headerListBytesMax: 65_536, headerFieldsMax: 100 };

class Output implements OutputBuffer {
  bytes = Buffer.alloc(4);
  length = 0;
  reserve(bytesMin: number): void {
    if (this.length + bytesMin <= this.bytes.length) return;
    this.bytes = Buffer.concat([this.bytes.subarray(0, this.length), Buffer.alloc(bytesMin * 2)]);
  }
}
function encoded(encoder: HpackEncoder, fields: readonly string[]): Buffer {
  const output = new Output();
  encoder.encode([...fields], output);
  return output.bytes.subarray(0, output.length);
}
const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');
function decoded(decoder: HpackDecoder, block: Buffer, max = limits): string[] | string {
  const fields: string[] = [];
  const result = decoder.decode(block, fields, max);
  return result === 'ok' ? fields : `${result}: ${decoder.why}`;
}

const example = 'www.example.com';
const date1 = 'Mon, 21 Oct 2013 20:13:21 GMT';
const date2 = 'Mon, 21 Oct 2013 20:13:22 GMT';
const requests = [
  [':method', 'GET', ':scheme', 'http', ':path', '/', ':authority', example],
  [':method', 'GET', ':scheme', 'http', ':path', '/', ':authority', example, 'cache-control', 'no-cache'],
  [
    ':method',
    'GET',
    ':scheme',
    'https',
    ':path',
    '/index.html',
    ':authority',
    example,
    'custom-key',
    'custom-value',
  ],
];
const responses = [
  [':status', '302', 'cache-control', 'private', 'date', date1, 'location', 'https://www.example.com'],
  [':status', '307', 'cache-control', 'private', 'date', date1, 'location', 'https://www.example.com'],
  [
    ...[':status', '200', 'cache-control', 'private', 'date', date2, 'location', 'https://www.example.com'],
    ...['content-encoding', 'gzip', 'set-cookie', 'foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1'],
  ],
];
const vectors: [string, string[][], string[]][] = [
  ['C.2.1', [['custom-key', 'custom-header']], ['400a637573746f6d2d6b65790d637573746f6d2d686561646572']],
  ['C.2.2', [[':path', '/sample/path']], ['040c2f73616d706c652f70617468']],
  ['C.2.3', [['password', 'secret']], ['100870617373776f726406736563726574']],
  ['C.2.4', [[':method', 'GET']], ['82']],
  [
    'C.3',
    requests,
    [
      '828684410f7777772e6578616d706c652e636f6d',
      '828684be58086e6f2d6361636865',
      '828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565',
    ],
  ],
  [
    'C.4',
    requests,
    [
      '828684418cf1e3c2e5f23a6ba0ab90f4ff',
      '828684be5886a8eb10649cbf',
      '828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf',
    ],
  ],
  [
    'C.5',
    responses,
    [
      '3fe101 4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e1768747470733a2f2f7777772e6578616d706c652e636f6d',
      '4803333037c1c0bf',
      '88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31',
    ],
  ],
  [
    'C.6',
    responses,
    [
      '3fe101 488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3',
      '4883640effc1c0bf',
      '88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007',
    ],
  ],
];
for (const [name, fields, blocks] of vectors) {
  test(`decodes the examples of RFC 7541, ${name}`, () => {
    const decoder = new HpackDecoder(4096);
    for (const [i, block] of blocks.entries()) assert.deepEqual(decoded(decoder, hex(block)), fields[i]);
  });
}

test('what is encoded is decoded', () => {
  const encoder = new HpackEncoder();
  const decoder = new HpackDecoder(4096);
  for (const fields of [...requests, ...responses, ...requests, ...requests]) {
    assert.deepEqual(decoded(decoder, encoded(encoder, fields)), fields);
  }
  // Everything is indexed.
  assert.equal(encoded(encoder, requests[2] as string[]).length, 5);
});
