/** A waypoint reads HTTP between the tunnels: routes, retries, gRPC and policies on requests. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { until } from '../../../base/wait.js';
import { run } from '../../run.js';
import { startWaypoint } from '../../standalone/waypoint.js';
import { here, id, type Step } from '../stage.js';
import { ask, place, podOf, request, vip, vip6, waypointExample } from './waypoint-client.js';

export const waypointRouteSteps: readonly Step[] = [
  {
    name: 'waypoint-split',
    title: 'A waypoint for the Service echo: 90 % of requests go to v1, 10 % to v2',
    run: async (stage) => {
      const before = await ask('weft-web', `http://${vip}/`);
      assert.equal(before.status, 0, 'a Service that names a waypoint is closed until that is there');
      const missing = await stage.record('node-a', 'why', 0, ({ code }) => code === 'WEFT_WAYPOINT_MISSING');
      stage.write('gateway.yaml', waypointExample('gateway'));
      stage.write('split.yaml', waypointExample('split'));
      const started = Date.now();
      await startWaypoint(stage.testbed, place);
      const first = await until('echo answers', 30_000, async () => {
        const answer = await ask('weft-web', `http://${vip}/`);
        return answer.status === 200 && answer;
      });
      const tookMs = Date.now() - started;
      const { body } = await ask('weft-web', `http://${vip}/[1-500]`, '-m', '90');
      const counts = { 'echo-v1': 0, 'echo-v2': 0 };
      for (const [, pod] of body.matchAll(/"pod":"(echo-v[12])"/g)) counts[pod as keyof typeof counts]++;
      assert.equal(counts['echo-v1'] + counts['echo-v2'], 500);
      assert.ok(Math.abs(counts['echo-v1'] - 450) <= 25, `${counts['echo-v1']} of 500 went to v1`);
      const seen = JSON.parse(first.body) as { peer: string; headers: Record<string, string> };
      assert.equal(seen.headers['x-forwarded-for'], '10.244.1.10');
      return {
        beforeItWasThere: missing.code,
        answersAfterMs: tookMs,
        ...counts,
        applicationSawPeer: seen.peer,
        applicationSawClient: seen.headers['x-forwarded-client-cert'],
      };
    },
    summary: (e) =>
      `of 500 requests, ${String(e['echo-v1'])} to v1 and ${String(e['echo-v2'])} to v2; before the waypoint was ready: ${String(e['beforeItWasThere'])}`,
  },
  {
    name: 'waypoint-header-route',
    title: 'A route by header: requests with x-canary: yes go to v2',
    run: async (stage) => {
      const canaries = new Set<string>();
      for (let i = 0; i < 20; i++)
        canaries.add(podOf(await ask('weft-web', `http://${vip}/`, '-H', 'x-canary: yes')));
      assert.deepEqual([...canaries], ['echo-v2']);
      const http2 = podOf(
        await ask('weft-web', `http://${vip}/`, '--http2-prior-knowledge', '-H', 'X-Canary: yes'),
      );
      assert.equal(http2, 'echo-v2');
      const v6 = podOf(await ask('weft-web', `http://[${vip6}]/`, '-H', 'x-canary: yes'));
      assert.equal(v6, 'echo-v2');
      const line = await request(stage, 'it', ({ route }) => route === 'shop/echo/canary');
      return {
        canaries: 20,
        servedBy: [...canaries],
        http2,
        v6,
        route: line['route'],
        source: line['source'],
      };
    },
    summary: (e) => `20 of 20, also over HTTP/2 and IPv6; the access log names rule ${String(e['route'])}`,
  },
  {
    name: 'waypoint-retry-and-timeout',
    title: 'Retries and timeouts of a route: a failed request is retried, a slow one ends with 504',
    run: async (stage) => {
      stage.write('retry.yaml', waypointExample('retry'));
      const key = `k${Date.now()}`;
      const answer = await until('the rule is in force', 30_000, async () => {
        const one = await ask('weft-web', `http://${vip}/flaky/${key}-${Date.now()}/2`);
        return one.status === 200 && one;
      });
      const line = await request(stage, 'it', ({ route }) => route === 'shop/echo-retry/flaky');
      assert.equal(line['attempts'], 3);
      // One failure more than the number of retries allowed.
      const tooMany = await ask('weft-web', `http://${vip}/flaky/${key}-more/4`);
      assert.equal(tooMany.status, 503);
      const post = await ask('weft-web', `http://${vip}/flaky/${key}-post/1`, '-d', 'x');
      assert.equal(post.status, 200, 'a status that the rule names is tried again, whatever the method');
      const started = Date.now();
      const slow = await ask('weft-web', `http://${vip}/slow/3000`);
      const gaveUpAfterMs = Date.now() - started;
      assert.equal(slow.status, 504);
      const timeout = await request(stage, 'the timeout', ({ flags }) => flags === 'UT');
      return {
        status: answer.status,
        attempts: line['attempts'],
        afterAllAttempts: tooMany.status,
        post: post.status,
        slow: slow.status,
        gaveUpAfterMs,
        flag: timeout['flags'],
      };
    },
    summary: (e) =>
      `two 503 and then 200: the client got ${String(e['status'])}; a response due after 3 s: ${String(e['slow'])} after ${String(e['gaveUpAfterMs'])} ms`,
  },
  {
    name: 'waypoint-grpc',
    title: 'A route by gRPC method: Say goes to v2, a bidirectional stream to v1',
    run: async (stage) => {
      stage.write('grpc.yaml', waypointExample('grpc'));
      return until('calls go where the route says', 30_000, async () => {
        const { stdout } = await run(
          'weft-web',
          process.execPath,
          [join(here, 'grpc.js'), `${vip}:7070`],
          30_000,
        );
        const { unary, stream } = JSON.parse(stdout || '{}') as {
          unary?: { answer?: string; code: number; by: string };
          stream?: { answers: string[]; code: number; by: string; seen: string };
        };
        if (unary?.by !== 'echo-v2' || stream?.by !== 'echo-v1') return undefined;
        assert.deepEqual(unary, { answer: 'hello', code: 0, by: 'echo-v2' });
        assert.deepEqual(stream, {
          answers: ['message 0', 'message 1', 'message 2'],
          code: 0,
          by: 'echo-v1',
          seen: '',
        });
        const line = await request(stage, 'the call', ({ path }) => path === '/demo.Echo/Say');
        return { unary, stream, route: line['route'], grpcStatus: line['grpcStatus'] };
      });
    },
    summary: () => 'responses, trailers and statuses arrived; stream messages arrived one by one',
  },
  {
    name: 'waypoint-authorization',
    title:
      'A policy on requests: web may only GET below /public, intruder nothing; the access log has the reason',
    run: async (stage) => {
      stage.write('access.yaml', waypointExample('access'));
      await until('the policy is in force', 30_000, async () => {
        const { status } = await ask('weft-web', `http://${vip}/admin`);
        return status === 403;
      });
      const allowed = await ask('weft-web', `http://${vip}/public/a`);
      assert.equal(allowed.status, 200);
      const tries: Record<string, readonly string[]> = {
        post: [`http://${vip}/public/a`, '-d', 'x'],
        otherPath: [`http://${vip}/admin`],
        dots: [`http://${vip}/public/../admin`],
        encodedDots: [`http://${vip}/public/%2e%2e/admin`],
        encodedSlash: [`http://${vip}/public/..%2fadmin`],
        encodedTwice: [`http://${vip}/public/%252e%252e%252fadmin`],
        backslash: [`http://${vip}/public/%5c..%5cadmin`],
        otherCase: [`http://${vip}/PUBLIC/a`],
      };
      const refused: Record<string, number> = {};
      for (const [name, [url = '', ...more]] of Object.entries(tries)) {
        const answer = await ask('weft-web', url, ...more);
        refused[name] = answer.status;
        assert.ok([400, 403].includes(answer.status), `${name}: ${answer.status} ${answer.body}`);
        assert.equal(answer.body, '', 'the client is told nothing else');
      }
      const intruder = await ask('weft-intruder', `http://${vip}/public/a`);
      assert.equal(intruder.status, 403);
      const line = await request(stage, 'the refusal', ({ source }) => source === id('intruder'));
      assert.equal(line['code'], 'WEFT_DENIED');
      assert.match(String(line['why']), /shop\/echo-public/);
      return {
        allowed: allowed.status,
        refused,
        intruder: intruder.status,
        policy: line['policy'],
        source: line['source'],
        destination: line['destination'],
        why: line['why'],
      };
    },
    summary: (e) =>
      `intruder: ${String(e['intruder'])}, "${String(e['why'])}"; ${Object.keys(e['refused'] as object).length} other requests of web refused (other methods, disguised paths)`,
  },
];
