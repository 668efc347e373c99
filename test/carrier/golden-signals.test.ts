/**
 * Requests between nodes, without a waypoint, as both relays count them: for each side by its own namespace, by message framing, while agents
 * are replaced, and not after a namespace has opted out.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { projectRoot } from '../../native/index.js';
import { until } from '../../src/base/wait.js';
import { adminGet, adminPort } from '../../src/cli/admin.js';
import { askState } from '../../src/cli/control-admin.js';
import { edgesQuestion } from '../../src/cli/edges/edges-question.js';
import { run } from '../../src/cli/run.js';
import { agentProcess, type Testbed } from '../../src/cli/standalone/testbed.js';
import type { Edge } from '../../src/model/edge.js';
import type { NodePod } from '../../src/model/node-pod.js';
import { DemoMesh, listening } from '../support/demo-mesh.js';
import { connectionRecords, endedSince } from '../support/records.js';
import { checkRelay, relays, useRelay } from './support/relays.js';

const metricsPort = 15020;
const [api, quietServer] = ['10.244.2.10', '10.244.2.41'];
/** Namespace `quiet` has not opted in. Its pods call, and are called. */
const quietPods = `kind: Namespace
metadata: { name: quiet, labels: { weft.dev/mesh: enabled } }
---
kind: Pod
metadata: { name: quiet, namespace: quiet, labels: { app: quiet }, annotations: { weft.dev/netns: weft-quiet } }
spec: { nodeName: node-a, serviceAccountName: quiet }
status: { podIPs: [{ ip: 10.244.1.40 }] }
---
kind: Pod
metadata: { name: quiet-server, namespace: quiet, labels: { app: quiet-server }, annotations: { weft.dev/netns: weft-quiet-server } }
spec: { nodeName: node-b, serviceAccountName: quiet-server }
status: { podIPs: [{ ip: ${quietServer} }] }
`;
const http2Port = 8081;
/** HTTP/2 and gRPC: the last part of a call's path is its status, in trailers, or in the head if it is Refuse. /never has no response. */
const http2Server = `const server = require('node:http2').createServer();
server.on('stream', (stream, headers) => {
  stream.on('error', () => {});
  const path = headers[':path'];
  if (path === '/never') return;
  if (!headers['content-type']) {
    stream.additionalHeaders({ ':status': 103 });
    stream.respond({ ':status': path === '/failing' ? 503 : 200, 'x-long': 'v'.repeat(5000) });
    return stream.end('a body of HTTP/1.1 200 OK');
  }
  if (path.endsWith('/Refuse')) return stream.respond({ ':status': 200, 'grpc-status': '7' }, { endStream: true });
  stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': path.endsWith('/Fail') ? '14' : '0' }));
  stream.resume();
  stream.on('end', () => stream.end('message'));
});
server.listen(${http2Port});
`;
const http2Client = `const http2 = require('node:http2');
const session = http2.connect('http://${api}:${http2Port}');
let ended = 0;
const send = (method, path, body, more = {}) => new Promise((resolve, reject) => {
  const stream = session.request({ ':method': method, ':path': path, ...more }, { endStream: body === undefined });
  stream.on('error', reject);
  stream.on('close', resolve);
  stream.on('end', () => ended++);
  stream.resume();
  if (body !== undefined) stream.end(body);
});
const call = (name) => send('POST', '/shop.v1.Orders/' + name, 'message', { 'content-type': 'application/grpc', te: 'trailers' });
const many = (count, action) => Array.from({ length: count }, (_, i) => action(i));
(async () => {
  await Promise.all([
    ...many(40, (i) => send('GET', '/two/' + i + '?x=1')), ...many(3, () => send('GET', '/failing')),
    ...many(2, () => send('PUT', '/large', 'GET /hidden HTTP/1.1\\r\\n\\r\\n'.repeat(50000))),
    ...many(30, () => call('Get')), ...many(5, () => call('Fail')), ...many(4, () => call('Refuse')),
  ]);
  const gone = session.request({ ':path': '/never' });
  gone.on('error', () => {});
  await new Promise((resolve) => setTimeout(resolve, 200));
  gone.close(http2.constants.NGHTTP2_CANCEL);
  await new Promise((resolve) => gone.on('close', resolve));
  session.close(() => console.log(ended));
})();
`;
/** Reports come every 10 s, on a slow machine later. */
const reportedMs = 60_000;

/** Sends bytes on one connection, in pieces, and waits for as many responses. */
async function converse(
  from: string,
  ip: string,
  bytes: string,
  responses: number,
  piece = 1_000,
): Promise<void> {
  const code = `import socket, base64, struct, time
s = socket.create_connection(('${ip}', 8080), 10); s.settimeout(20); s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
b = base64.b64decode('${Buffer.from(bytes, 'latin1').toString('base64')}')
for i in range(0, len(b), ${piece}): s.sendall(b[i:i + ${piece}]); time.sleep(0.001)
got = b''
while got.count(b'HTTP/1.1 ') < ${responses}:
    d = s.recv(65536)
    if not d: break
    got += d
if ${responses} == 0: time.sleep(0.5); s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)); s.close()
print(got.count(b'HTTP/1.1 '))`;
  const { stdout, stderr } = await run(`weft-${from}`, 'python3', ['-c', code], 60_000);
  assert.equal(stdout.trim(), String(responses), stderr);
}
const request = (method: string, path: string, more = ''): string =>
  `${method} ${path} HTTP/1.1\r\nhost: x\r\n${more}\r\n`;

for (const relay of relays)
  describe(`requests without a waypoint, relayed by ${relay}`, () => {
    const mesh = new DemoMesh(`golden-signals-${relay}`);
    let testbed: Testbed;

    const optIn = (is: 'enabled' | 'disabled'): void =>
      mesh.namespace(`weft.dev/mesh: enabled, weft.dev/mode: strict, weft.dev/golden-signals: ${is}`);
    const edges = async (): Promise<readonly Edge[]> =>
      (await askState(mesh.state, edgesQuestion({ sinceMs: 0 }))).edges;
    /** Requests of a path template that the reporter has counted. */
    const counted = async (
      reporter: Edge['reporter'],
      pathTemplate: string,
      method = 'GET',
    ): Promise<Edge['counts'] | undefined> => {
      const found = (await edges()).filter(
        (one) => one.reporter === reporter && one.pathTemplate === pathTemplate && one.method === method,
      );
      assert.ok(found.length <= 1, JSON.stringify(found));
      return found[0]?.counts;
    };
    /** Resolves once the reporter has this many. */
    const counts = (reporter: Edge['reporter'], template: string, wanted: number, method = 'GET') =>
      until(`${reporter} reports ${wanted} of ${method} ${template}`, reportedMs, async () => {
        const seen = await counted(reporter, template, method);
        return seen?.requests === wanted && seen;
      });
    const metrics = (node: string): Promise<string> => adminGet(`weft-node-${node}`, metricsPort, '/metrics');
    const lines = async (node: string, ...parts: readonly string[]): Promise<string[]> =>
      (await metrics(node)).split('\n').filter((line) => parts.every((part) => line.includes(part)));
    const tunneled = (): Promise<void> =>
      until('requests pass', 30_000, async () => {
        const args = ['-sS', '-m', '5', '--noproxy', '*', '-o', '/dev/null', `http://${api}:8080/ready`];
        return (await run('weft-web', 'curl', args, 20_000)).code === 0;
      }).then(() => undefined);

    before(async () => {
      await mesh.prepare();
      optIn('enabled');
      mesh.write('quiet.yaml', quietPods);
      useRelay(relay);
      testbed = mesh.create();
      const echo = join(projectRoot, 'dist', 'src', 'cli', 'demo', 'echo.js');
      for (const pod of ['api', 'quiet-server'])
        testbed.start(`${pod}-server`, `weft-${pod}`, process.execPath, [echo, pod, '8080']);
      testbed.start('http2-server', 'weft-api', process.execPath, ['-e', http2Server]);
      await testbed.up();
      await checkRelay('weft-node-a', relay);
      for (const pod of ['api', 'quiet-server']) await listening(`weft-${pod}`, 8080);
      await listening('weft-api', http2Port);
      await tunneled();
    });
    after(() => mesh.remove());

    test('requests between nodes are counted at both ends, by method, path template, status and latency', async () => {
      await converse('web', api, request('GET', '/orders/17') + request('GET', '/orders/18?x=1'), 2);
      await converse('web', api, request('GET', '/status/503'), 1);
      await converse('web', api, request('DELETE', '/orders/19'), 1);
      await converse('web', api, request('GET', '/slow/400'), 1);
      for (const reporter of ['source', 'destination'] as const) {
        const orders = await counts(reporter, '/orders/*', 2);
        assert.deepEqual([orders.failures, orders.latencyCounts?.reduce((a, b) => a + b)], [0, 2]);
        assert.equal((await counts(reporter, '/status/*', 1)).failures, 1);
        await counts(reporter, '/orders/*', 1, 'DELETE');
        await counts(reporter, '/slow/*', 1);
      }
      const slow = (await edges()).find((one) => one.reporter === 'source' && one.pathTemplate === '/slow/*');
      assert.deepEqual(
        [slow?.source.workload, slow?.destination.workload, slow?.path, slow?.port],
        ['web', 'api', 'hbone', 8080],
      );
      for (const [node, reporter] of [
        ['a', 'source'],
        ['b', 'destination'],
      ] as const) {
        const labels = [`reporter="${reporter}"`, 'source_workload="web"', 'destination_workload="api"'];
        const failed = await lines(node, 'istio_requests_total', ...labels, 'response_code="503"');
        assert.match(failed.join(), /request_protocol="http".* 1$/);
        const sums = await lines(
          node,
          'istio_request_duration_milliseconds_sum',
          ...labels,
          'response_code="200"',
        );
        assert.ok(Number(sums[0]?.split(' ').at(-1)) >= 400, sums.join());
      }
    });

    test('message framing is followed: a body is no request, whatever it contains and however it is split', async () => {
      const hidden = request('GET', '/hidden');
      const chunk = `${hidden.length.toString(16)}\r\n${hidden}\r\n`;
      const bytes =
        request('POST', '/plain', `content-length: ${hidden.length}\r\n`) +
        hidden +
        request('PUT', '/chunks', 'transfer-encoding: chunked\r\n') +
        `${chunk}${chunk}0\r\n\r\n` +
        request('GET', '/last');
      for (const piece of [1, 7, 100_000]) await converse('web', api, bytes, 3, piece);
      await counts('source', '/last', 3);
      await counts('destination', '/last', 3);
      for (const reporter of ['source', 'destination'] as const) {
        await counts(reporter, '/plain', 3, 'POST');
        await counts(reporter, '/chunks', 3, 'PUT');
        assert.equal(await counted(reporter, '/hidden'), undefined);
      }
    });

    test('a request whose connection ends before the response has no status', async () => {
      await converse('web', api, request('GET', '/slow/20000/gone'), 0);
      for (const reporter of ['source', 'destination'] as const)
        assert.equal((await counts(reporter, '/slow/*/gone', 1)).failures, 1);
      assert.match(
        (await lines('a', 'istio_requests_total', 'response_code="0"', 'reporter="source"')).join(),
        /response_flags="DC".* 1$/,
      );
    });

    test('HTTP/2 and gRPC are counted by the carrier as they were sent, and by the TypeScript relay not at all', async () => {
      const { stdout, stderr } = await run('weft-web', process.execPath, ['-e', http2Client], 60_000);
      assert.equal(stdout.trim(), '84', stderr);
      await converse('web', api, request('GET', '/after-http2'), 1);
      for (const reporter of ['source', 'destination'] as const) {
        await counts(reporter, '/after-http2', 1);
        const sent = [
          ['GET', '/two/*', 40, 0],
          ['GET', '/failing', 3, 3],
          ['PUT', '/large', 2, 0],
          ['POST', '/shop.v1.Orders/Get', 30, 0],
          ['POST', '/shop.v1.Orders/Fail', 5, 5],
          ['POST', '/shop.v1.Orders/Refuse', 4, 0],
          ['GET', '/never', 1, 1],
        ] as const;
        for (const [method, template, requests, failures] of sent) {
          if (relay === 'typescript') assert.equal(await counted(reporter, template, method), undefined);
          else
            assert.equal((await counts(reporter, template, requests, method)).failures, failures, template);
        }
        assert.equal(await counted(reporter, '/hidden'), undefined);
        const calls = async (status: string): Promise<string> => {
          const labels = [
            `reporter="${reporter}"`,
            'request_protocol="grpc"',
            `grpc_response_status="${status}"`,
          ];
          const node = reporter === 'source' ? 'a' : 'b';
          return (await lines(node, 'istio_requests_total', ...labels))
            .map((line) => line.split(' ').at(-1))
            .join();
        };
        const wanted = relay === 'carrier' ? ['30', '5', '4'] : ['', '', ''];
        assert.deepEqual([await calls('0'), await calls('14'), await calls('7')], wanted);
      }
    });

    test('a namespace that has not opted in shows none, neither as client nor as server', async () => {
      await converse('quiet', quietServer, request('GET', '/quiet-both'), 1);
      await converse('quiet', api, request('GET', '/quiet-client'), 1);
      await converse('web', quietServer, request('GET', '/quiet-server'), 1);
      // Each side counts by its own namespace.
      await counts('destination', '/quiet-client', 1);
      await counts('source', '/quiet-server', 1);
      // These connections are known by now, and their requests would be.
      await until('the connections are reported', reportedMs, async () =>
        (await edges()).some(
          ({ source, destination, reporter }) =>
            reporter === 'destination' &&
            source.workload === 'quiet' &&
            destination.workload === 'quiet-server',
        ),
      );
      const templates = (await edges()).map((one) => `${one.reporter} ${one.pathTemplate}`);
      for (const forbidden of [
        'source /quiet-both',
        'destination /quiet-both',
        'source /quiet-client',
        'destination /quiet-server',
      ])
        assert.ok(!templates.includes(forbidden), forbidden);
      const of = ['istio_requests_total', 'source_workload="quiet"'];
      assert.deepEqual(await lines('a', ...of), []);
      assert.deepEqual(await lines('b', ...of, 'destination_workload="quiet-server"'), []);
    });

    test('a namespace that opts out is not counted from then on, on open connections either', async () => {
      const held = holdHttp('weft-web', api);
      assert.equal(await held.get('/held/before'), '200');
      for (const reporter of ['source', 'destination'] as const) await counts(reporter, '/held/before', 1);
      if (relay === 'carrier') {
        // The connection goes on, and the next agent counts it.
        await testbed.stop(agentProcess('node-a'), 'SIGKILL');
        testbed.startAgent('node-a');
        await testbed.waitReady();
        assert.equal(await held.get('/held/next'), '200');
        for (const reporter of ['source', 'destination'] as const) await counts(reporter, '/held/next', 1);
      }
      optIn('disabled');
      for (const node of ['a', 'b'])
        await until('the agent knows it', 30_000, async () => {
          const { pods } = JSON.parse(await adminGet(`weft-node-${node}`, adminPort, '/dump')) as {
            pods: readonly { readonly pod: NodePod }[];
          };
          return pods.every(({ pod }) => !pod.goldenSignals);
        });
      assert.equal(await held.get('/held/after'), '200');
      const { port } = held;
      const ending = Date.now();
      held.end();
      // The end of a connection is recorded after its requests.
      for (const node of ['node-a', 'node-b'])
        await until('the connection has ended', 30_000, () =>
          connectionRecords(testbed.runDir(node))
            .filter(endedSince(ending))
            .some(({ source }) => source.address === `10.244.1.10:${port()}`),
        );
      optIn('enabled');
      await until('requests are counted again', reportedMs, async () => {
        await converse('web', api, request('GET', '/again'), 1);
        const [source, destination] = [
          await counted('source', '/again'),
          await counted('destination', '/again'),
        ];
        return source !== undefined && destination !== undefined;
      });
      for (const reporter of ['source', 'destination'] as const)
        assert.equal(await counted(reporter, '/held/after'), undefined);
    });
  });

/** A connection on which a program in a pod sends a request when it is told to. */
function holdHttp(netns: string, ip: string) {
  const code = `import socket, sys
s = socket.create_connection(('${ip}', 8080), 10); s.settimeout(20); print(s.getsockname()[1], flush=True)
for line in sys.stdin:
    s.sendall(('GET %s HTTP/1.1\\r\\nhost: x\\r\\n\\r\\n' % line.strip()).encode())
    got = b''
    while not got.partition(b'\\r\\n\\r\\n')[2].endswith(b'\\n'): got += s.recv(65536)
    print(got.split()[1].decode(), flush=True)
`;
  const child = spawn('nsenter', [`--net=/run/netns/${netns}`, '--', 'python3', '-c', code], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let text = '';
  let asked = 0;
  child.stdout.on('data', (bytes: Buffer) => (text += bytes.toString()));
  const words = (): string[] => text.split('\n').filter(Boolean);
  return {
    port: (): string => words()[0] ?? '',
    get: async (path: string): Promise<string> => {
      const at = ++asked;
      child.stdin.write(`${path}\n`);
      return until(`the response to ${path}`, 30_000, () => words()[at]);
    },
    end: (): void => void child.kill(),
  };
}
