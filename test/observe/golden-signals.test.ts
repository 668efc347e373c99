/**
 * Requests of kernel flows, of namespaces that opted in: past TCP, with blocking sockets, and on TCP. The client's and the server's bytes are
 * written by the test, so that it decides where messages begin.
 */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { projectRoot } from '../../native/index.js';
import { until } from '../../src/base/wait.js';
import { adminGet } from '../../src/cli/admin.js';
import { pathTemplate } from '../../src/telemetry/path-template.js';
import {
  entriesOf,
  get,
  GoldenSignalsTestbed,
  isObserving,
  okBytes,
  quietServer,
  setMade,
  shop,
  waitingTemplates,
  type Count,
  type Message,
} from '../support/golden-signals.js';
import { cache, client } from '../support/kernel-testbed.js';

const mesh = new GoldenSignalsTestbed('/run/weft/test-golden-signals');
const { send, counted, settle, of } = mesh;
before(() => mesh.up());
after(() => mesh.down());

for (const [kind, options] of [
  ['past TCP', {}],
  ['on TCP, since the client blocks', { blocking: true }],
] as const) {
  const tag = kind === 'past TCP' ? 'spliced' : 'blocking';
  test(`requests are counted with method, status and latency: ${kind}`, async () => {
    const post = 'POST /TAG/items HTTP/1.1\r\nhost: x\r\ncontent-length: 30000\r\n\r\n'.replace('TAG', tag);
    await send(
      'web',
      cache,
      [
        [get(`/${tag}/orders/12345?token=secret`), okBytes],
        [get(`/${tag}/orders/777-abc`), okBytes],
        // A head and its body as two messages.
        [post],
        ['x'.repeat(30_000), okBytes],
        [get(`/${tag}/broken`, 'HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n'), 38],
        // 1xx is not the response.
        [
          get(`/${tag}/hints`, 'HTTP/1.1 103 Hints\r\n\r\n', 'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n'),
          60,
        ],
        // A long query, and a path that is long.
        [get(`/${tag}/search?q=${'z'.repeat(400)}`), okBytes],
        [get(`/${tag}/${'deep/'.repeat(30)}`), okBytes],
      ],
      options,
    );
    await settle();
    const found = (await counted('cache')).filter(
      ({ path, reporter }) => path.startsWith(`/${tag}/`) && reporter === 'source',
    );
    assert.deepEqual(
      Object.fromEntries(
        found.map(({ method, path, requests, failures }) => [`${method} ${path}`, [requests, failures]]),
      ),
      {
        [`GET /${tag}/orders/*`]: [2, 0],
        [`POST /${tag}/items`]: [1, 0],
        [`GET /${tag}/broken`]: [1, 1],
        [`GET /${tag}/hints`]: [1, 0],
        [`GET /${tag}/search`]: [1, 0],
        [`GET ${pathTemplate(`/${tag}/${'deep/'.repeat(30)}`)}`]: [1, 0],
      },
    );
    // The server's namespace opted in, too.
    assert.equal(await of(`/${tag}/orders/*`, 'destination'), 2);
  });

  test(`what is not recognized for sure is not counted: ${kind}`, async () => {
    const next: Message = [get(`/${tag}/never`), okBytes];
    const cases: readonly (readonly Message[])[] = [
      // Pipelined: two requests at once, whose second response is not told from the first one's rest.
      [[get(`/${tag}/piped`) + get(`/${tag}/never`), 2 * okBytes]],
      // A request that is sent while another one is under way ends the observation.
      [[get(`/${tag}/never`).slice(0, -4)], [get(`/${tag}/never`)], next],
      // A request line that is split.
      [['GET /ne'], [`ver HTTP/1.1\r\nhost: x\r\n\r\n`, okBytes], next],
      // No HTTP/1.1.
      [['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', okBytes], next],
      [[`BREW /${tag}/never HTTP/1.1\r\n\r\n`, okBytes], next],
      [[`GET /${tag}/never\r\n\r\n`, okBytes], next],
      [[`GET /${tag}/never FTP/1.1\r\n\r\n`, okBytes], next],
      [[`GET /${tag}/ne\x01ver HTTP/1.1\r\n\r\n`, okBytes], next],
      [[`CONNECT never:443 HTTP/1.1\r\n\r\n`, okBytes], next],
      // A request line that is longer than what is looked at.
      [[get(`/${tag}/never?${'q'.repeat(600)}`), okBytes], next],
      // A response that is none.
      [[get(`/${tag}/never`, 'SSH-2.0-x and more\r\n'), 20], next],
      // After an upgrade, bytes are not requests. The upgrade itself is.
      [[get(`/${tag}/upgrade`, 'HTTP/1.1 101 Switching\r\n\r\n'), 26], next],
    ];
    for (const messages of cases) await send('web', cache, messages, options);
    await settle();
    const found = await counted('cache');
    assert.deepEqual(
      found.filter(({ path }) => path.includes('never')),
      [],
    );
    assert.equal(await of(`/${tag}/piped`), 1);
    assert.equal(await of(`/${tag}/upgrade`), 1);
  });

  test(`a body that begins like a request is no request: ${kind}`, async () => {
    const body = get(`/${tag}/body`);
    const head = (path: string): string =>
      `POST /${tag}/${path} HTTP/1.1\r\nhost: x\r\ncontent-length: ${body.length}\r\n\r\n`;
    // Before the response: not told from a pipelined request, so the connection is not looked at any more.
    await send('web', cache, [[head('quoting')], [body, okBytes], [get(`/${tag}/after`), okBytes]], options);
    // In a response, and in the rest of one.
    const response = `HTTP/1.1 200 OK\r\ncontent-length: ${2 * body.length}\r\n\r\n`;
    await send(
      'web',
      cache,
      [
        [get(`/${tag}/page`, response, body, body), response.length + 2 * body.length],
        [get(`/${tag}/next`), okBytes],
      ],
      options,
    );
    await settle();
    assert.deepEqual(
      [
        await of(`/${tag}/body`),
        await of(`/${tag}/after`),
        await of(`/${tag}/page`),
        await of(`/${tag}/next`),
      ],
      [0, 0, 1, 1],
    );
  });

  test(`a connection that ends before the response is a request that failed: ${kind}`, async () => {
    await send('web', cache, [[get(`/${tag}/silent`, 'close'), 1]], options);
    await settle();
    const found = (await counted('cache')).find(
      ({ path, reporter }) => path === `/${tag}/silent` && reporter === 'source',
    );
    assert.deepEqual([found?.requests, found?.failures], [1, 1]);
  });
}

/** The paths of the table that all recognizers share, of which the kernel keeps the whole template. */
const vectors = (
  JSON.parse(readFileSync(join(projectRoot, 'src/telemetry/path-templates.json'), 'utf8')) as [
    string,
    string,
  ][]
).flatMap(([path, template]) =>
  /^\/[!-~]*$/.test(path) && path.length < 400 && template.length <= 62 && !/[^/]{33}/.test(template)
    ? [path]
    : [],
);

test('THREATS 3: paths leave the kernel as templates alone, by the same rule as at a waypoint', async () => {
  const secrets = [
    's3cr3t-t0k3n',
    'deadbeefcafe',
    'a%20name',
    'user@example',
    'q'.repeat(40),
    '20260101',
    '4711',
  ];
  const paths = [
    ...vectors,
    ...secrets.map((one) => `/t/${one}/x?password=${one}`),
    '/t/*',
    '/',
    '//',
    '/a/b/c/d/e/f/g/h/i/j',
    '/t/v1beta1/x.y_z-w:q',
    '/t/ab/',
  ];
  await send(
    'web',
    cache,
    paths.map((path): Message => [get(path), okBytes]),
  );
  // The map, before the agent takes it out, and what the agent says: neither has any of the secrets.
  const dumped: string[] = [];
  for (let i = 0; i < 20; i++) {
    await send(
      'web',
      cache,
      secrets.map((one): Message => [get(`/t/${one}`), okBytes]),
    );
    for (const name of ['weft_requests', 'weft_http']) dumped.push(JSON.stringify(entriesOf(name)));
  }
  assert.ok(
    dumped.some((text) => text.includes('"formatted"')),
    'the maps had rows',
  );
  const bytes = dumped.flatMap((text) =>
    [...text.matchAll(/"template":\[([^\]]*)\]/g)].map(([, list = '']) =>
      String.fromCharCode(...list.split(',').map(Number)),
    ),
  );
  assert.ok(
    bytes.some((text) => text.startsWith('/t/*')),
    'templates were seen in the kernel',
  );
  await settle();
  const metrics = await adminGet('weft-node-a', 15020, '/metrics');
  const edges = JSON.stringify(await counted('cache'));
  for (const secret of [...secrets, 'password'])
    for (const text of [metrics, edges, ...bytes]) assert.ok(!text.includes(secret), `${secret} in ${text}`);
  const templates = new Set((await counted('cache')).map(({ path }) => path));
  for (const path of paths) assert.ok(templates.has(pathTemplate(path)), `${path}: ${pathTemplate(path)}`);
});

test('THREATS 1, 3: a pod that did not opt in is never observed, and of its calls only the side that did reports them', async () => {
  await send('quiet', quietServer, [[get('/quiet-secret'), okBytes]]);
  await send('quiet', cache, [[get('/called-by-quiet'), okBytes]]);
  await send('web', quietServer, [[get('/called-by-web'), okBytes]]);
  await settle();
  await until(
    'the calls of the two that opted in',
    60_000,
    async () => (await of('/called-by-quiet', 'destination')) === 1,
  );
  const toQuiet = await counted('quiet-server');
  assert.deepEqual(
    toQuiet.map(({ path, reporter, from }) => [path, reporter, from]),
    [['/called-by-web', 'source', 'web']],
  );
  assert.equal(await of('/called-by-quiet', 'source'), 0);
  const metrics = await adminGet('weft-node-a', 15020, '/metrics');
  assert.doesNotMatch(
    metrics,
    /istio_requests_total\{reporter="destination".*destination_workload="quiet-server"/,
  );
  assert.doesNotMatch(metrics, /istio_requests_total\{reporter="source".*source_workload="quiet"/);
});

test('THREATS 3: a pod that makes up paths loses its own, and no request of others', async () => {
  const flood = 3_000;
  const flooding = client(
    'weft-web',
    `import asyncio
async def main():
    r, w = await asyncio.open_connection('${quietServer}', 8080)
    for i in range(${flood}):
        name = str(i).translate({48 + d: 'ghijklmnop'[d] for d in range(10)})
        w.write(b'GET /flood-' + name.encode() + b' HTTP/1.1\\r\\nhost: x\\r\\n\\r\\n')
        await r.readuntil(b'ok')
    w.close()
asyncio.run(main()); print('done')`,
    180_000,
  );
  const beside = 10;
  for (let i = 0; i < beside; i++) await send('quiet', cache, [[get('/beside-a-flood'), okBytes]]);
  assert.equal(await flooding, 'done');
  await settle();
  await until('all of them', 60_000, async () => (await of('/beside-a-flood', 'destination')) === beside);
  // The requests of the flood are counted, most of them under one path.
  let found: Count[] = [];
  const total = (): number => found.reduce((sum, { requests }) => sum + requests, 0);
  await until('the flood is counted', 60_000, async () => {
    found = (await counted('quiet-server')).filter(({ path }) => /flood|other/.test(path));
    return total() >= flood * 0.99;
  });
  assert.ok(total() <= flood, `${total()} of ${flood}`);
  assert.ok(found.length <= 102, `${found.length} edges`);
});

/** WEFT_REQUESTS_BY_PATH of bpf/lib/abi.h */
const requestsByPath = 12_288;

test('THREATS 3: while no agent takes requests out, a pod that makes up paths takes up a share of the map, and no request of others is lost', async () => {
  const signal = (name: string): string => join(mesh.manifests, `${name}.signal`);
  const [ready, go, besideReady, besideGo] = ['ready', 'go', 'beside-ready', 'beside-go'].map(signal) as [
    string,
    string,
    string,
    string,
  ];
  const [isCounted, full] = [signal('counted'), signal('full')];
  const connected = (ip: string, isReady: string, mayGo: string, send: string): string => `import asyncio, os
async def main():
    r, w = await asyncio.open_connection('${ip}', 8080)
    async def get(path):
        w.write(b'GET ' + path.encode() + b' HTTP/1.1\\r\\nhost: x\\r\\n\\r\\n')
        await r.readuntil(b'ok')
    open('${isReady}', 'w').close()
    while not os.path.exists('${mayGo}'): await asyncio.sleep(0.05)
${send}
    w.close()
asyncio.run(main()); print('done')`;
  const flooding = client(
    'weft-web',
    connected(
      quietServer,
      ready,
      go,
      `    for round in 'ghij':
        for i in range(220): await get('/paused-' + round + str(i).translate({48 + d: 'ghijklmnop'[d] for d in range(10)}))
        # A share of paths is for no time, however long that is.
        await asyncio.sleep(1.2)`,
    ),
    120_000,
  );
  const beside = client(
    'weft-quiet',
    connected(
      cache,
      besideReady,
      besideGo,
      `    for i in range(10): await get('/beside-a-pause')
    open('${isCounted}', 'w').close()
    while not os.path.exists('${full}'): await asyncio.sleep(0.05)
    await get('/no-room')`,
    ),
    120_000,
  );
  await until('both are connected', 30_000, () => existsSync(ready) && existsSync(besideReady));
  const pid = mesh.testbed.mark('agent-node-a')?.pid ?? 0;
  assert.ok(pid > 0);
  process.kill(pid, 'SIGSTOP');
  try {
    writeFileSync(go, '');
    assert.equal(await flooding, 'done');
    const made = waitingTemplates().length;
    assert.ok(made > 500, `${made} entries: the flood was observed`);
    assert.ok(made <= 700, `${made} entries`);
    writeFileSync(besideGo, '');
    await until('requests beside it', 30_000, () => existsSync(isCounted));
    assert.ok(waitingTemplates().includes('/beside-a-pause'));
    // Once many pods have made entries, there is room only for paths that are not told apart.
    const others = (): number => waitingTemplates().filter((template) => template === '').length;
    const before = others();
    setMade(requestsByPath);
    writeFileSync(full, '');
    assert.equal(await beside, 'done');
    assert.ok(!waitingTemplates().includes('/no-room'));
    assert.equal(others(), before + 1);
  } finally {
    process.kill(pid, 'SIGCONT');
  }
  await settle();
  await until('all of them', 60_000, async () => (await of('/beside-a-pause', 'destination')) === 10);
  // Once the agent has taken them out, the pod has its share again.
  await send('web', cache, [[get('/after-the-pause'), okBytes]]);
  await settle();
  assert.equal(await of('/after-the-pause'), 1);
});

test('THREATS 3: sockets that disconnect and connect to another pod leave nothing in the map of observed flows', async () => {
  const disconnected = 20;
  const held = await client(
    'weft-quiet',
    `import ctypes
libc = ctypes.CDLL(None, use_errno=True)
unspecified = ctypes.create_string_buffer(16)
repair, on, off_without_probe = 19, 1, -1
for _ in range(${disconnected}):
    s = socket.create_connection(('${cache}', 8080), 4)
    s.sendall(b'GET /disconnected HTTP/1.1\\r\\n\\r\\n'); s.recv(100)
    # In this mode the server is not told: its end stays open.
    s.setsockopt(socket.IPPROTO_TCP, repair, on)
    if libc.connect(s.fileno(), unspecified, 16): raise OSError(ctypes.get_errno(), 'disconnect')
    s.setsockopt(socket.IPPROTO_TCP, repair, off_without_probe)
    s.connect(('${quietServer}', 8080))
    s.close()
print('done')`,
  );
  assert.equal(held, 'done');
  await until('every flow has ended and is forgotten', 20_000, () => entriesOf('weft_http').length === 0);
});

test('without the splice, requests are counted on TCP; after the namespace opted out, none are, and no program looks at packets', async () => {
  mesh.write('namespace.yaml', shop('off'));
  const spliced = async (): Promise<number> =>
    (await mesh.dump<{ kernel: Record<string, number> }>()).kernel['spliced'] ?? 0;
  await until('flows are not spliced any more', 30_000, async () => {
    const at = await spliced();
    await mesh.warm('weft-web', cache, 8080);
    return (await spliced()) === at;
  });
  await send('web', cache, [
    [get('/plain-tcp'), okBytes],
    [get('/plain-tcp'), okBytes],
  ]);
  await settle();
  assert.equal(await of('/plain-tcp'), 2);
  mesh.write('namespace.yaml', shop('off', 'disabled'));
  await until('the program is detached', 30_000, () => !isObserving());
  await send('web', cache, [[get('/after-opting-out'), okBytes]]);
  mesh.write('namespace.yaml', shop('off'));
  await until('the program is attached', 30_000, isObserving);
  await settle();
  assert.equal(await of('/after-opting-out'), 0);
});
