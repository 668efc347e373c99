import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HpackDecoder } from './decoder.js';
import { HpackEncoder } from './encoder.js';
import type { OutputBuffer } from './hpack.js';
import { huffmanDecode } from './huffman.js';
import { randomOf } from '../../../test/support/random.js';

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
/** Decodes blocks that are given as octets in hex; the last result is returned. */
function last(...blocks: string[]): string[] | string {
  const decoder = new HpackDecoder(4096);
  return blocks.map((block) => decoded(decoder, hex(block))).at(-1) ?? [];
}
const literal = (first: string, name: string, value: string): string =>
  first +
  [name, value]
    .map((text) => text.length.toString(16).padStart(2, '0') + Buffer.from(text, 'latin1').toString('hex'))
    .join('');

test('invalid blocks are compression errors', () => {
  for (const [what, block] of [
    ['index 0', '80'],
    ['an index beyond the tables', 'be'],
    ['an index of a name beyond the tables', '7f0000'],
    ['an integer that does not end', 'ff'],
    ['an integer that does not end 2', 'ff80'],
    ['an integer of too many octets', 'ff808080808000'],
    ['an integer that is too large', 'ffffffffff7f'],
    ['no name', '40'],
    ['no value', '4001 61'],
    ['no value behind an index', '44'],
    ['a string that is too short', '4005 6161'],
    ['a string that is too short 2', '44 05 6161'],
    ['a string whose length does not end', '44 7f'],
    ['a string of 2^31 octets', '44 7f8080808008'],
    ['a table size above the announced one', '3fe21f'],
    ['a table size update behind a field', '8220'],
    // Huffman: padding of zeros, of a whole octet, EOS.
    ['padding of zeros', '44 81 18'],
    ['padding of 8 bits', '44 82 1fff'],
    ['padding alone', '44 81 ff'],
    ['EOS', '44 84 ffffffff'],
    ['EOS within', '44 85 1ffffffffc'],
  ] as const) {
    assert.match(String(last(block)), /^compressionError: /, what);
  }
  // All of these are prefixes of a valid block.
  const block = hex(`3fe11f 82 ${literal('40', 'a', 'bcd')} 448cf1e3c2e5f23a6ba0ab90f4ff`);
  for (let end = 0; end <= block.length; end++) {
    const result = decoded(new HpackDecoder(4096), block.subarray(0, end));
    if ([0, 3, 4, 11, 25].includes(end)) assert.ok(Array.isArray(result), String(end));
    else assert.match(String(result), /^compressionError/, String(end));
  }
});

test('padding below 8 bits is accepted, and integers may have octets of no value', () => {
  assert.deepEqual(last('44 81 1f'), [':path', 'a']);
  assert.deepEqual(last('44 80'), [':path', '']);
  assert.deepEqual(last('44 ff00'.replace('ff', '7f') + '61'.repeat(127)), [':path', 'a'.repeat(127)]);
  assert.deepEqual(last('44 7f808000' + '61'.repeat(127)), [':path', 'a'.repeat(127)]);
});

test('every octet is Huffman decoded', () => {
  // nghttp2 encodes values; only the table of codes is checked here, by symbols that HTTP does not allow in values as well.
  const codes = ['1ff8', '7fffd8', 'fffffe2', '3ffffffc'];
  const bits = [13, 23, 28, 30];
  const symbols = [0, 1, 2, 10];
  for (const [i, code] of codes.entries()) {
    const length = bits[i] as number;
    const pad = (8 - (length % 8)) % 8;
    const value = (BigInt(`0x${code}`) << BigInt(pad)) | ((1n << BigInt(pad)) - 1n);
    const bytes = Buffer.from(value.toString(16).padStart(((length + pad) / 8) * 2, '0'), 'hex');
    const to = Buffer.alloc(16);
    assert.equal(huffmanDecode(bytes, 0, bytes.length, to), 1, code);
    assert.equal(to[0], symbols[i], code);
  }
});

test('names and values that no message may have are malformed, also when they come out of the table', () => {
  for (const [what, name, value] of [
    ['no name', '', 'x'],
    ['upper case', 'Abc', 'x'],
    ['a space in a name', 'a b', 'x'],
    ['a colon in a name', 'a:b', 'x'],
    ['an unknown pseudo-header', ':x', 'x'],
    ['a name above ASCII', 'a\xe9', 'x'],
    ['CR', 'a', 'x\ry'],
    ['LF', 'a', 'x\ny'],
    ['NUL', 'a', 'x\0y'],
    ['DEL', 'a', 'x\x7fy'],
    ['leading space', 'a', ' x'],
    ['trailing tab', 'a', 'x\t'],
    ['a long value with LF', 'a', `${'x'.repeat(100)}\n`],
    ['a space in a path', ':path', '/a b'],
    ['a slash in an authority', ':authority', 'a/b'],
    ['a host above ASCII', 'host', 'a\xe9'],
    ['a method that is no token', ':method', 'GET/'],
    ['a scheme with a colon', ':scheme', 'http:'],
    ['a status that is no number', ':status', '20x'],
    ['connection', 'connection', 'close'],
    ['transfer-encoding', 'transfer-encoding', 'chunked'],
    ['te', 'te', 'gzip'],
  ] as const) {
    const block = literal('40', name, value);
    assert.match(String(last(block)), /^malformed: /, what);
    assert.match(String(last(block, 'be')), /^malformed: /, what);
    // The name of an entry is used again, with a value that is valid for it.
    const again = last(block, '7e017a');
    if (/^(connection|transfer|.*:x|te$)/.test(name) || /name|upper/.test(what)) {
      assert.match(String(again), /^malformed: /, what);
    } else if (!['te', ':status'].includes(name)) assert.deepEqual(again, [name, 'z'], what);
  }
  for (const [name, value] of [
    ['te', 'trailers'],
    ['a', 'x y\tz'],
    ['a', '\xe9\x80\xff'],
    ["!#$%&'*+-.^_`|~09az", ''],
    [':protocol', 'websocket'],
  ] as const) {
    assert.deepEqual(last(literal('00', name, value)), [name, value]);
  }
  // The table is right behind a malformed field.
  assert.deepEqual(last(literal('40', 'a', 'b') + literal('40', 'X', 'c'), 'bf'), ['a', 'b']);
});

test('limits end the list, and the table goes on', () => {
  const decoder = new HpackDecoder(4096);
  const big = 'v'.repeat(3900);
  const output = new Output();
  new HpackEncoder().encode([], output);
  const block = Buffer.concat([hex('40 01 61 7f bd1d'), Buffer.from(big)]);
  assert.deepEqual(decoded(decoder, block), ['a', big]);
  const before = process.memoryUsage().heapUsed;
  const bomb = Buffer.concat([
    hex(literal('00', 'x', 'y')),
    Buffer.alloc(100_000, 0xbe),
    hex(literal('40', 'b', 'c')),
  ]);
  const sink = ['kept', ''];
  assert.equal(decoder.decode(bomb, sink, limits), 'tooLarge');
  assert.deepEqual(sink, ['kept', '']);
  assert.equal(decoder.why, 'header list above 65536 bytes');
  assert.ok(process.memoryUsage().heapUsed - before < 8e6);
  assert.deepEqual(decoded(decoder, hex('bebf')), ['b', 'c', 'a', big]);
  assert.equal(decoded(decoder, Buffer.alloc(101, 0x82)), 'tooLarge: more than 100 header fields');
  assert.equal(
    decoded(decoder, Buffer.alloc(100, 0x82), { headerListBytesMax: 41 * 100 + 99, headerFieldsMax: 100 }),
    'tooLarge: header list above 4199 bytes',
  );
  assert.equal(
    (
      decoded(decoder, Buffer.alloc(100, 0x82), {
        headerListBytesMax: 42 * 100,
        headerFieldsMax: 100,
      }) as string[]
    ).length,
    200,
  );
});

test('entries are evicted by their size, and an entry larger than the table empties it', () => {
  const decoder = new HpackDecoder(4096);
  // Room for two entries of 34 bytes.
  assert.deepEqual(decoded(decoder, hex('3f26')), []);
  for (const char of 'abc') decoded(decoder, hex(literal('40', char, char)));
  assert.match(String(decoded(new HpackDecoder(4096), hex('bf'))), /^compressionError/);
  assert.deepEqual(decoded(decoder, hex('be')), ['c', 'c']);
  assert.deepEqual(decoded(decoder, hex('bf')), ['b', 'b']);
  assert.deepEqual(decoded(decoder, hex(literal('40', 'big', 'x'.repeat(40)))), ['big', 'x'.repeat(40)]);
  assert.match(String(decoded(decoder, hex('be'))), /^compressionError: no table entry at 62/);
});

test('a table size update of the peer evicts, and the encoder states its own', () => {
  const encoder = new HpackEncoder();
  const decoder = new HpackDecoder(4096);
  const fields = ['user-agent', 'x/1', 'content-type', 'text/plain'];
  assert.deepEqual(decoded(decoder, encoded(encoder, fields)), fields);
  assert.equal(encoded(encoder, fields).length, 2);
  encoder.setTableBytesMax(0);
  encoder.setTableBytesMax(100);
  const block = encoded(encoder, fields);
  // 0, then 100.
  assert.deepEqual([...block.subarray(0, 3)], [0x20, 0x3f, 69]);
  assert.deepEqual(decoded(decoder, block), fields);
  encoder.setTableBytesMax(1e9);
  assert.deepEqual([...encoded(encoder, []).subarray(0, 3)], [0x3f, 0xe1, 0x1f]);
  encoder.setTableBytesMax(4096);
  assert.equal(encoded(encoder, []).length, 0);
  encoder.setTableBytesMax(0);
  for (let i = 0; i < 3; i++) encoded(encoder, fields);
  assert.ok(encoded(encoder, fields).length >= 19);
});

test('secrets are never indexed, and what was received as never indexed is sent so', () => {
  const encoder = new HpackEncoder();
  const isNever = (name: string, value: string): boolean => {
    encoded(encoder, [name, value]);
    return ((encoded(encoder, [name, value])[0] as number) & 0xf0) === 0x10;
  };
  assert.ok(isNever('authorization', 'Bearer x'));
  assert.ok(isNever('cookie', 'a=b'));
  assert.ok(!isNever('cookie', 'session=0123456789abcdef'));
  assert.ok(!isNever('x-pin', '1234'));
  assert.deepEqual(last(literal('10', 'x-pin', '1234')), ['x-pin', '1234']);
  assert.ok(isNever('x-pin', '1234'));
  assert.ok(isNever('n'.repeat(65), 'x'));
});

test('a peer that marks common fields as never indexed does not lengthen the heads of others', () => {
  const encoder = new HpackEncoder();
  const fields = [
    ...[':method', 'POST', ':scheme', 'http', ':path', '/a.B/Get', ':authority', 'b.shop:80'],
    ...['content-type', 'application/grpc', 'te', 'trailers', 'user-agent', 'grpc-go/1'],
  ];
  for (let i = 0; i < 3; i++) encoded(encoder, fields);
  for (let i = 0; i < fields.length; i += 2)
    last(literal('10', fields[i] as string, fields[i] === ':path' ? '/secret' : (fields[i + 1] as string)));
  assert.equal(encoded(encoder, fields).length, 7);
  // The marked path itself is sent as it was received.
  for (let i = 0; i < 3; i++)
    assert.equal((encoded(encoder, [':path', '/secret'])[0] as number) & 0xf0, 0x10);
});

test('values that do not repeat leave the table to those that do', () => {
  const encoder = new HpackEncoder();
  const fields = (i: number): string[] => [
    ...[
      ':method',
      'POST',
      ':scheme',
      'http',
      ':path',
      '/a.B/C',
      ':authority',
      'b.shop:80',
      'content-type',
      'application/grpc',
    ],
    ...[
      'user-agent',
      'grpc-go/1',
      'te',
      'trailers',
      'grpc-timeout',
      `${i}u`,
      'x-request-id',
      `${i}-1234`,
      'x-other',
      `${i}`,
    ],
  ];
  let bytes = 0;
  for (let i = 0; i < 1000; i++) bytes = encoded(encoder, fields(10_000 + i)).length;
  // 7 indexes; 3 literals with a name of the table.
  assert.ok(bytes <= 7 + 9 + 13 + 8, `${bytes} bytes`);
});

test('random lists of fields and sizes pass through both tables unchanged', () => {
  const random = randomOf(Number(process.env['FUZZ_SEED'] ?? 7));
  const names = [
    'a',
    'cookie',
    'x-long-name-of-a-field',
    ':path',
    'date',
    'authorization',
    'content-type',
    'n'.repeat(70),
  ];
  const text = (length: number): string =>
    'v'.repeat(length - (length > 0 ? 1 : 0)) + (length > 0 ? 'abc'[random(3)] : '');
  for (let round = 0; round < 50; round++) {
    const encoder = new HpackEncoder();
    const decoder = new HpackDecoder(4096);
    for (let block = 0; block < 100; block++) {
      for (let i = random(8) - 5; i > 0; i--) encoder.setTableBytesMax(random(3) * random(3000));
      const fields: string[] = [];
      for (let i = random(20); i > 0; i--) {
        const name = random(20) === 0 ? `x-${random(500)}` : (names[random(names.length)] as string);
        fields.push(name, text([0, 1, 5, 30, 130, 1500][random(6)] as number));
      }
      assert.deepEqual(decoded(decoder, encoded(encoder, fields)), fields);
    }
  }
});

test('random octets never throw, and the memory of the decoder is bounded', () => {
  const random = randomOf(Number(process.env['FUZZ_SEED'] ?? 8));
  const before = process.memoryUsage().heapUsed;
  for (let round = 0; round < 2000; round++) {
    const decoder = new HpackDecoder(4096);
    for (let block = 0; block < 5; block++) {
      const bytes = Buffer.alloc(random(60));
      for (let i = 0; i < bytes.length; i++)
        bytes[i] = random(4) === 0 ? random(256) : (hex('82be4061bf20cf01')[random(8)] as number);
      if (decoder.decode(bytes, [], limits) === 'compressionError') break;
    }
  }
  assert.ok(process.memoryUsage().heapUsed - before < 30e6);
});
