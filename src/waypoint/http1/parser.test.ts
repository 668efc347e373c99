import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Headers } from '../http/headers.js';
import { Http1Parser, HttpSyntaxError, type MessageHead } from './parser.js';

const limits = { headBytesMax: 2048, headersMax: 20, chunkExtensionBytesMax: 64 };

interface Read {
  heads: MessageHead[];
  bodies: string[];
  trailers: (Headers | undefined)[];
  ended: number;
  status: number | undefined;
  finished: boolean;
}

/** Parses all messages in the pieces, as a connection reads them. */
function read(
  pieces: readonly Buffer[],
  kind: 'request' | 'response' = 'request',
  noBody: (head: MessageHead) => boolean = () => false,
): Read {
  const seen: Read = { heads: [], bodies: [], trailers: [], ended: 0, status: undefined, finished: false };
  const parser = new Http1Parser(
    kind,
    {
      onHead: (head) => {
        seen.heads.push(head);
        seen.bodies.push('');
        return noBody(head);
      },
      onData: (bytes) => (seen.bodies[seen.bodies.length - 1] += bytes.toString('latin1')),
      onEnd: (trailers) => {
        seen.trailers.push(trailers);
        seen.ended++;
      },
    },
    limits,
  );
  try {
    for (const piece of pieces) {
      let at = 0;
      while (at < piece.length) {
        if (parser.done) parser.next();
        at = parser.execute(piece, at);
      }
    }
  } catch (error) {
    if (!(error instanceof HttpSyntaxError)) throw error;
    seen.status = error.status;
  }
  seen.finished = seen.status === undefined && parser.finish();
  return seen;
}
const latin1 = (text: string): Buffer => Buffer.from(text, 'latin1');
const request = (text: string): Read => read([latin1(text)]);
const response = (text: string, noBody?: (head: MessageHead) => boolean): Read =>
  read([latin1(text)], 'response', noBody);

const get = (...lines: string[]): string => ['GET / HTTP/1.1', 'Host: a', ...lines, '', ''].join('\r\n');
const post = (...lines: string[]): string => ['POST / HTTP/1.1', 'Host: a', ...lines, '', ''].join('\r\n');
const chunked = (body: string): string => post('Transfer-Encoding: chunked') + body;

test('a request whose end is ambiguous, or which two parsers could read differently, is refused', () => {
  const refused: Record<string, [string, number]> = {
    'both lengths': [post('Content-Length: 3', 'Transfer-Encoding: chunked'), 400],
    'both lengths, the other way round': [post('Transfer-Encoding: chunked', 'Content-Length: 3'), 400],
    'content-length twice, the same': [post('Content-Length: 3', 'Content-Length: 3'), 400],
    'content-length twice, different': [post('Content-Length: 3', 'Content-Length: 4'), 400],
    'content-length as a list': [post('Content-Length: 3, 3'), 400],
    'signed content-length': [post('Content-Length: +3'), 400],
    'negative content-length': [post('Content-Length: -3'), 400],
    'hexadecimal content-length': [post('Content-Length: 0x3'), 400],
    'content-length with a fraction': [post('Content-Length: 3.0'), 400],
    'empty content-length': [post('Content-Length:'), 400],
    'content-length with a space within': [post('Content-Length: 1 3'), 400],
    'overflowing content-length': [post('Content-Length: 18446744073709551617'), 400],
    identity: [post('Transfer-Encoding: identity'), 501],
    'chunked twice in one': [post('Transfer-Encoding: chunked, chunked'), 501],
    'chunked twice': [post('Transfer-Encoding: chunked', 'Transfer-Encoding: chunked'), 400],
    'chunked, then identity': [post('Transfer-Encoding: chunked', 'Transfer-Encoding: identity'), 400],
    xchunked: [post('Transfer-Encoding: xchunked'), 501],
    'chunked in quotes': [post('Transfer-Encoding: "chunked"'), 501],
    'chunked with a parameter': [post('Transfer-Encoding: chunked;a=b'), 501],
    'gzip before chunked': [post('Transfer-Encoding: gzip, chunked'), 501],
    'empty transfer-encoding': [post('Transfer-Encoding:'), 501],
    'vertical tab before chunked': [post('Transfer-Encoding: \x0bchunked'), 400],
    'chunked in HTTP/1.0': ['POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n', 400],
    'space before the colon': [post('Content-Length : 3'), 400],
    'tab before the colon': [post('Transfer-Encoding\t: chunked'), 400],
    'folded header': [get('X: a', ' b'), 400],
    'folded header with a colon': [get('X: a', ' Content-Length: 3'), 400],
    'folded by a tab': [get('X: a', '\tb: c'), 400],
    'space before the first header': ['GET / HTTP/1.1\r\n Host: a\r\n\r\n', 400],
    'header without colon': [get('nonsense'), 400],
    'header without name': [get(': x'), 400],
    'name that is not a token': [get('a(b: x'), 400],
    'name beyond ASCII': [get('a\xe4: x'), 400],
    'NUL in a value': [get('X: a\0b'), 400],
    'NUL in a name': [get('X\0: b'), 400],
    'escape in a value': [get('X: a\x1bb'), 400],
    'delete in a value': [get('X: a\x7fb'), 400],
    'bare CR in a value': [get('X: a\rb'), 400],
    'bare CR at the end of the head': ['GET / HTTP/1.1\r\nHost: a\r\r\n\r\n', 400],
    'bare LF in a value': [get('X: a\nb: c'), 400],
    'bare LF after the request line': ['GET / HTTP/1.1\nHost: a\r\n\r\n', 400],
    'bare LF after a header': ['GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n', 400],
    'bare LF throughout': ['GET / HTTP/1.1\nHost: a\n\n', 400],
    'LF CR LF at the end': ['GET / HTTP/1.1\r\nHost: a\n\r\n', 400],
    'bare LF before the request': ['\nGET / HTTP/1.1\r\nHost: a\r\n\r\n', 400],
    'host twice': [get('Host: b'), 400],
    'host twice, the same': [get('host: a'), 400],
    'no host': ['GET / HTTP/1.1\r\n\r\n', 400],
    'two empty lines before the request': [`\r\n\r\n${get()}`, 400],
    'CR alone before the request': ['\rGET / HTTP/1.1\r\nHost: a\r\n\r\n', 400],
    'space before the request': [` ${get()}`, 400],
    'no version': ['GET /\r\nHost: a\r\n\r\n', 400],
    'HTTP/2.0': ['GET / HTTP/2.0\r\nHost: a\r\n\r\n', 505],
    'HTTP/1.2': ['GET / HTTP/1.2\r\nHost: a\r\n\r\n', 505],
    'lower case version': ['GET / http/1.1\r\nHost: a\r\n\r\n', 400],
    'two-digit version': ['GET / HTTP/1.10\r\nHost: a\r\n\r\n', 400],
    'space after the version': ['GET / HTTP/1.1 \r\nHost: a\r\n\r\n', 400],
    'two spaces': ['GET  / HTTP/1.1\r\nHost: a\r\n\r\n', 400],
    'tab for a space': ['GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n', 400],
    'space in the target': ['GET /a b HTTP/1.1\r\nHost: a\r\n\r\n', 400],
    'no target': ['GET HTTP/1.1\r\nHost: a\r\n\r\n', 400],
    'fragment in the target': ['GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n', 400],
    'raw bytes in the target': ['GET /\xe4 HTTP/1.1\r\nHost: a\r\n\r\n', 400],
    'method that is not a token': ['GE(T / HTTP/1.1\r\nHost: a\r\n\r\n', 400],
    'no method': [' / HTTP/1.1\r\nHost: a\r\n\r\n', 400],
    'headers beyond the limit in number': [get(...Array.from({ length: 20 }, (_, i) => `x${i}: 1`)), 431],
    'headers beyond the limit in size': [get(`X: ${'a'.repeat(2048)}`), 431],
    'headers beyond the limit that do not end': [`GET / HTTP/1.1\r\nX: ${'a'.repeat(2048)}`, 431],
    'chunk size with a prefix': [chunked('0x3\r\nabc\r\n0\r\n\r\n'), 400],
    'signed chunk size': [chunked('+3\r\nabc\r\n0\r\n\r\n'), 400],
    'negative chunk size': [chunked('-3\r\nabc\r\n0\r\n\r\n'), 400],
    'no chunk size': [chunked('\r\nabc\r\n0\r\n\r\n'), 400],
    'chunk size with an underscore': [chunked('1_0\r\nabc\r\n0\r\n\r\n'), 400],
    'space before the chunk size': [chunked(' 3\r\nabc\r\n0\r\n\r\n'), 400],
    'space after the chunk size': [chunked('3 \r\nabc\r\n0\r\n\r\n'), 400],
    'overflowing chunk size': [chunked('ffffffffffffffff3\r\nabc\r\n0\r\n\r\n'), 400],
    'chunk size ends in LF': [chunked('3\nabc\r\n0\r\n\r\n'), 400],
    'chunk size ends in CR': [chunked('3\rabc\r\n0\r\n\r\n'), 400],
    'chunk ends in LF': [chunked('3\r\nabc\n0\r\n\r\n'), 400],
    'chunk ends in CR': [chunked('3\r\nabc\r0\r\n\r\n'), 400],
    'chunk is longer than its size': [chunked('3\r\nabcd\r\n0\r\n\r\n'), 400],
    'LF in a chunk extension': [chunked('3;a\nb\r\nabc\r\n0\r\n\r\n'), 400],
    'CR in a chunk extension': [chunked('3;a\rb\r\nabc\r\n0\r\n\r\n'), 400],
    'NUL in a chunk extension': [chunked('3;a\0b\r\nabc\r\n0\r\n\r\n'), 400],
    'long chunk extension': [chunked(`3;${'a'.repeat(90)}\r\nabc\r\n0\r\n\r\n`), 400],
    'long chunk extension that does not end': [chunked(`3;${'a'.repeat(90)}`), 400],
    'many chunk extensions': [chunked('1;abcdefgh\r\na\r\n'.repeat(9)), 400],
    'LF after the last chunk': [chunked('0\r\n\n'), 400],
    'trailer ends in LF': [chunked('0\r\nX: y\n\r\n'), 400],
    'LF within the trailers': [chunked('0\r\nX: y\nZ: a\r\n\r\n'), 400],
    'content-length as trailer': [chunked('0\r\nContent-Length: 3\r\n\r\n'), 400],
    'transfer-encoding as trailer': [chunked('0\r\nTransfer-Encoding: chunked\r\n\r\n'), 400],
    'host as trailer': [chunked('0\r\nHost: b\r\n\r\n'), 400],
    'authorization as trailer': [chunked('0\r\nAuthorization: b\r\n\r\n'), 400],
    'space before a trailer colon': [chunked('0\r\nX : b\r\n\r\n'), 400],
    'NUL in a trailer': [chunked('0\r\nX: \0\r\n\r\n'), 400],
    'folded trailer': [chunked('0\r\nX: a\r\n b\r\n\r\n'), 400],
    'trailers beyond the limit': [chunked(`0\r\nX: ${'a'.repeat(2100)}\r\n\r\n`), 431],
    'trailers beyond the limit that do not end': [chunked(`0\r\nX: ${'a'.repeat(2100)}`), 431],
    'trailers beyond the limit in number': [
      chunked(`0\r\n${Array.from({ length: 21 }, (_, i) => `x${i}: 1\r\n`).join('')}\r\n`),
      431,
    ],
  };
  for (const [name, [text, status]] of Object.entries(refused)) {
    const whole = request(text);
    assert.equal(whole.status, status, name);
    const bytes = latin1(text);
    const single = read(Array.from(bytes, (_, i) => bytes.subarray(i, i + 1)));
    assert.equal(single.status, status, `${name}, byte by byte`);
    // Bytes behind a malformed request are not parsed as a request.
    assert.ok(whole.heads.length <= 1 && whole.ended === 0 && single.ended === 0, name);
  }
});

const good: Record<string, [string, string[]]> = {
  'no body': [get(), ['']],
  'an empty line ahead': [`\r\n${get()}`, ['']],
  'a body by length': [`${post('Content-Length: 3')}abc`, ['abc']],
  'content-length 0': [post('Content-Length: 0'), ['']],
  'leading zeros': [`${post('Content-Length: 003')}abc`, ['abc']],
  chunks: [chunked('3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n'), ['abcde']],
  'chunk sizes in either case, with zeros': [
    chunked(`00A\r\n${'a'.repeat(10)}\r\nb\r\n${'b'.repeat(11)}\r\n000\r\n\r\n`),
    ['a'.repeat(10) + 'b'.repeat(11)],
  ],
  'chunk extensions': [chunked('3;a=b;c="d e"\r\nabc\r\n0;z\r\n\r\n'), ['abc']],
  trailers: [chunked('1\r\na\r\n0\r\nX-Sum: 1\r\nX-Sum: 2\r\n\r\n'), ['a']],
  'CR and LF within a body': [`${post('Content-Length: 4')}\r\n\r\n`, ['\r\n\r\n']],
  'CR and LF within a chunk': [chunked('4\r\n\r\n\r\n\r\n0\r\n\r\n'), ['\r\n\r\n']],
  'a pipeline': [
    `${get()}${post('Content-Length: 2')}ab\r\n${chunked('1\r\nc\r\n0\r\n\r\n')}${get()}`,
    ['', 'ab', 'c', ''],
  ],
  'obs-text and tabs in a value': [get('X:\t a\tb\xe4 \t'), ['']],
  'an empty value': [get('X:'), ['']],
};

test('a well-formed request is parsed, with the same result when split at any byte', () => {
  for (const [name, [text, bodies]] of Object.entries(good)) {
    const bytes = latin1(text);
    const whole = request(text);
    assert.equal(whole.status, undefined, name);
    assert.deepEqual(whole.bodies, bodies, name);
    assert.equal(whole.ended, bodies.length, name);
    assert.equal(whole.finished, true, name);
    for (let i = 1; i < bytes.length; i++)
      assert.deepEqual(read([bytes.subarray(0, i), bytes.subarray(i)]), whole, `${name}, split at ${i}`);
    assert.deepEqual(read(Array.from(bytes, (_, i) => bytes.subarray(i, i + 1))), whole, name);
  }
});

test('an end of the connection within a request does not complete the request', () => {
  for (const [name, [text]] of Object.entries(good)) {
    const bytes = latin1(text);
    const { ended } = request(text);
    for (let i = 1; i < bytes.length; i++) {
      const part = read([bytes.subarray(0, i)]);
      if (part.finished) assert.equal(part.heads.length, part.ended, `${name} to ${i}`);
      assert.ok(part.ended < ended, `${name} to ${i}`);
    }
  }
});

test('values are trimmed, names are in lower case, trailers are reported', () => {
  const { heads, trailers } = request(
    `POST /a?b HTTP/1.1\r\nHOST:a\r\nX-Y: \t b c \t\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\nSum:  1 \r\n\r\n`,
  );
  assert.deepEqual(heads[0]?.headers, ['host', 'a', 'x-y', 'b c', 'transfer-encoding', 'Chunked']);
  assert.deepEqual([heads[0]?.method, heads[0]?.target], ['POST', '/a?b']);
  assert.deepEqual(trailers, [['sum', '1']]);
});

test('a connection persists by its version, unless the connection header overrides it', () => {
  const keeps = (version: string, ...lines: string[]): boolean | undefined =>
    request([`GET / HTTP/${version}`, 'Host: a', ...lines, '', ''].join('\r\n')).heads[0]?.keepAlive;
  assert.equal(keeps('1.1'), true);
  assert.equal(keeps('1.0'), false);
  assert.equal(keeps('1.1', 'Connection: close'), false);
  assert.equal(keeps('1.1', 'Connection: Close'), false);
  assert.equal(keeps('1.0', 'Connection: keep-alive'), true);
  assert.equal(keeps('1.1', 'Connection: x, close'), false);
  assert.equal(keeps('1.1', 'Connection: keep-alive, close'), false);
  assert.equal(keeps('1.1', 'Connection: x', 'Connection: close'), false);
  assert.equal(keeps('1.1', 'Connection: xclose'), true);
});

test('an upgrade is accepted only if the connection header names it, no body follows, and it does not lead to HTTP', () => {
  const upgrade = (...lines: string[]): string | undefined => request(get(...lines)).heads[0]?.upgrade;
  assert.equal(upgrade('Connection: Upgrade', 'Upgrade: websocket'), 'websocket');
  assert.equal(upgrade('Connection: keep-alive, upgrade', 'Upgrade: websocket'), 'websocket');
  assert.equal(upgrade('Upgrade: websocket'), undefined);
  assert.equal(upgrade('Connection: close', 'Upgrade: websocket'), undefined);
  for (const again of ['h2c', 'H2C', 'websocket, h2c', 'h2', 'HTTP/2.0', 'TLS/1.0', 'h2c,websocket'])
    assert.equal(upgrade('Connection: Upgrade, HTTP2-Settings', `Upgrade: ${again}`), undefined, again);
  const withBody = request(`${post('Connection: Upgrade', 'Upgrade: websocket', 'Content-Length: 1')}a`)
    .heads[0];
  assert.equal(withBody?.upgrade, undefined);
  assert.equal(
    request('GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n').heads[0]?.upgrade,
    undefined,
  );
});

const answer = (status: string, ...lines: string[]): string =>
  [`HTTP/1.1 ${status}`, ...lines, '', ''].join('\r\n');

test('responses end by their framing', () => {
  const cases: Record<string, [string, string[], number]> = {
    'by length': [`${answer('200 OK', 'Content-Length: 3')}abc`, ['abc'], 1],
    'by chunks': [`${answer('200 OK', 'Transfer-Encoding: chunked')}3\r\nabc\r\n0\r\n\r\n`, ['abc'], 1],
    'by the end of the connection': [`${answer('200 OK')}abc`, ['abc'], 1],
    'no reason': ['HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n', [''], 1],
    '204': [answer('204 No Content'), [''], 1],
    '204 with a length is still over': [answer('204 No Content', 'Content-Length: 5'), [''], 1],
    '304 with a length': [answer('304 Not Modified', 'Content-Length: 5'), [''], 1],
    'interim and final': [
      `${answer('100 Continue')}${answer('103 Early Hints', 'Link: </x>')}${answer('200 OK', 'Content-Length: 1')}a`,
      ['', '', 'a'],
      3,
    ],
  };
  for (const [name, [text, bodies, ended]] of Object.entries(cases)) {
    const whole = response(text);
    assert.equal(whole.status, undefined, name);
    assert.deepEqual(whole.bodies, bodies, name);
    assert.equal(whole.finished, true, name);
    assert.equal(whole.ended, ended, name);
    const bytes = latin1(text);
    for (let i = 1; i < bytes.length; i++) {
      assert.deepEqual(
        read([bytes.subarray(0, i), bytes.subarray(i)], 'response'),
        whole,
        `${name}, at ${i}`,
      );
    }
    assert.deepEqual(
      read(
        Array.from(bytes, (_, i) => bytes.subarray(i, i + 1)),
        'response',
      ),
      whole,
      name,
    );
  }
  const head = response(answer('200 OK', 'Content-Length: 5'), () => true);
  assert.deepEqual([head.ended, head.finished], [1, true]);
});

test('ambiguous responses are refused', () => {
  const refused: Record<string, string> = {
    'both lengths': answer('200 OK', 'Content-Length: 3', 'Transfer-Encoding: chunked'),
    'two lengths': answer('200 OK', 'Content-Length: 3', 'Content-Length: 3'),
    'no number': answer('200 OK', 'Content-Length: x'),
    gzip: answer('200 OK', 'Transfer-Encoding: gzip'),
    'chunked in HTTP/1.0': 'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n',
    'chunked 204': answer('204 No Content', 'Transfer-Encoding: chunked'),
    'chunked 100': answer('100 Continue', 'Transfer-Encoding: chunked'),
    'status 099': answer('099 X'),
    'status 600': answer('600 X'),
    'status 20': answer('20 X'),
    'status 2000': answer('2000 X'),
    'HTTP/2': 'HTTP/2 200 OK\r\n\r\n',
    ICY: 'ICY 200 OK\r\n\r\n',
    'LF in the reason': 'HTTP/1.1 200 OK\nX: y\r\n\r\n',
    'CR in the reason': 'HTTP/1.1 200 OK\rX: y\r\n\r\n',
    'LF in a value': answer('200 OK', 'X: a\nSet-Cookie: b'),
    'CR in a value': answer('200 OK', 'X: a\rSet-Cookie: b'),
    fold: answer('200 OK', 'X: a', ' b'),
    'an empty line ahead': `\r\n${answer('200 OK')}`,
    'too large': answer('200 OK', `X: ${'a'.repeat(2100)}`),
  };
  for (const [name, text] of Object.entries(refused)) {
    const bytes = latin1(text);
    assert.ok(response(text).status !== undefined, name);
    assert.ok(
      read(
        Array.from(bytes, (_, i) => bytes.subarray(i, i + 1)),
        'response',
      ).status !== undefined,
      `${name}, byte by byte`,
    );
  }
  const short = response(`${answer('200 OK', 'Content-Length: 3')}ab`);
  assert.deepEqual([short.ended, short.finished], [0, false]);
  const open = response(`${answer('200 OK', 'Transfer-Encoding: chunked')}3\r\nabc\r\n`);
  assert.deepEqual([open.ended, open.finished], [0, false]);
});
