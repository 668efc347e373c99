import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import type { AddressInfo } from 'node:net';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { ask, clientArguments, serve, serverArguments } from './echo.js';

const none = { http: [], tls: [], grpc: [], tcp: [] };
const wanted = { method: 'GET', headers: [], count: 1 } as const;

test('over HTTP the response has the request: its headers unchanged, and its host separately', async () => {
  const { http, stop } = await serve({ ...none, http: [0] });
  try {
    const { text, errors } = await ask({
      ...wanted,
      url: `http://127.0.0.1:${http[0]}/a?b=c`,
      method: 'PUT',
      headers: [
        ['Host', 'other'],
        ['X-Two', 'one'],
        ['X-Two', 'two'],
      ],
    });
    assert.deepEqual(errors, []);
    const lines = text.split('\n');
    for (const line of [
      '[0] StatusCode=200',
      '[0] ResponseHeader=content-type:text/plain',
      `[0 body] ServicePort=${http[0]}`,
      '[0 body] Host=other',
      '[0 body] URL=/a?b=c',
      '[0 body] Method=PUT',
      '[0 body] Proto=HTTP/1.1',
      '[0 body] IP=127.0.0.1',
      '[0 body] RequestHeader=X-Two:one',
      '[0 body] RequestHeader=X-Two:two',
      `[0 body] Hostname=${hostname()}`,
    ])
      assert.ok(lines.includes(line), `${line} is not in\n${text}`);
    assert.doesNotMatch(text, /RequestHeader=Host/);
  } finally {
    stop();
  }
});

for (const kind of ['http', 'grpc'] as const)
  test(`over ${kind} the client sends the requested number of requests, and only an empty line ends each response`, async () => {
    const server = await serve({ ...none, [kind]: [0] });
    try {
      const { text } = await ask({ ...wanted, url: `${kind}://127.0.0.1:${server[kind][0]}`, count: 50 });
      const answers = text.split('\n\n').filter((answer) => answer !== '');
      assert.equal(answers.length, 50);
      for (const answer of answers) {
        assert.match(answer, /^(\[\d+\]|\[\d+ body\]) \S+=.*(\n(\[\d+\]|\[\d+ body\]) \S+=.*)*$/);
        assert.equal(answer.match(/StatusCode=200$/gm)?.length, 1);
        assert.equal(answer.match(/ Hostname=/g)?.length, 1);
      }
    } finally {
      server.stop();
    }
  });

test('over gRPC, metadata are reported as headers, each value on its own line', async () => {
  const { grpc, stop } = await serve({ ...none, grpc: [0] });
  try {
    const { text } = await ask({
      ...wanted,
      url: `grpc://127.0.0.1:${grpc[0]}`,
      headers: [
        ['x-one', '1'],
        ['x-one', '2'],
      ],
    });
    assert.match(text, /^\[0 body\] StatusCode=200$/m);
    assert.match(text, /^\[0 body\] RequestHeader=x-one:1$/m);
    assert.match(text, /^\[0 body\] RequestHeader=x-one:2$/m);
    assert.match(text, /^\[0 body\] IP=127\.0\.0\.1$/m);
  } finally {
    stop();
  }
});

test('a redirect is reported as a response and not followed', async () => {
  const server = createServer((_, response) => response.writeHead(302, { location: '/there' }).end());
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    const { text } = await ask({
      ...wanted,
      url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    });
    assert.match(text, /^\[0\] StatusCode=302$/m);
    assert.match(text, /^\[0\] ResponseHeader=location:\/there$/m);
  } finally {
    server.close();
    server.closeAllConnections();
  }
});

test('a failed request is reported as an error and not as a response', async () => {
  const { http, stop } = await serve({ ...none, http: [0] });
  stop();
  for (const scheme of ['http', 'grpc']) {
    const { text, errors } = await ask({ ...wanted, url: `${scheme}://127.0.0.1:${http[0]}`, count: 2 });
    assert.equal(text, '');
    assert.equal(errors.length, 2);
  }
});

test('the TCP server echoes bytes after its lines', async () => {
  const { tcp, stop } = await serve({ ...none, tcp: [0] });
  const socket = connect(tcp[0] ?? 0, '127.0.0.1');
  try {
    let heard = '';
    socket.setEncoding('utf8').on('data', (piece: string) => {
      heard += piece;
      if (heard.endsWith('hello\n')) socket.end();
    });
    socket.write('hello\n');
    await new Promise((resolve) => socket.once('close', resolve));
    assert.match(heard, /^Proto=TCP$/m);
    assert.match(heard, /^Hostname=.*\nhello\n$/m);
  } finally {
    socket.destroy();
    stop();
  }
});

test("the suite's command lines are parsed", () => {
  const files = mkdtempSync(join(tmpdir(), 'weft-echo-'));
  try {
    const [crt, key] = [join(files, 'cert.crt'), join(files, 'cert.key')];
    const made = spawnSync('openssl', [
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-subj',
      '/CN=echo',
      '-keyout',
      key,
      '-out',
      crt,
    ]);
    assert.equal(made.status, 0, String(made.stderr));
    assert.deepEqual(
      serverArguments([
        '--tcp=9090',
        '--port=8080',
        '--grpc=7070',
        '--port=8443',
        '--tls=8443',
        `--crt=${crt}`,
        `--key=${key}`,
      ]),
      {
        http: [8080],
        tls: [8443],
        grpc: [7070],
        tcp: [9090],
        pair: { cert: readFileSync(crt), key: readFileSync(key) },
      },
    );
  } finally {
    rmSync(files, { recursive: true });
  }
  assert.deepEqual(serverArguments([]), { http: [8080], tls: [], grpc: [], tcp: [] });
  assert.throws(() => serverArguments(['--tls=8443']), /--crt/);
  assert.deepEqual(clientArguments(['http://echo/v1', '--method=GET', '-H', 'Host:a:1', '--count=500']), {
    url: 'http://echo/v1',
    method: 'GET',
    headers: [['Host', 'a:1']],
    count: 500,
  });
  assert.equal(clientArguments(['grpc://echo:7070']).count, 1);
  assert.throws(() => clientArguments([]), /URL/);
  assert.throws(() => clientArguments(['http://a', '-H', 'x']), /NAME:VALUE/);
});
