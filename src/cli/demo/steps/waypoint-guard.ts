/** A waypoint cannot be bypassed, its Service is closed while it is down, and a new replica takes over without failed requests. */
import assert from 'node:assert/strict';
import { sleep, until } from '../../../base/wait.js';
import { startWaypoint, stopWaypoint, waypointProcess } from '../../standalone/waypoint.js';
import { id, load, type Step } from '../stage.js';
import {
  ask,
  certificateOf,
  place,
  pods,
  refusedStatus,
  requests,
  second,
  tunnel,
  vip,
  type Answer,
} from './waypoint-client.js';

export const waypointGuardSteps: readonly Step[] = [
  {
    name: 'waypoint-no-bypass',
    title:
      'No bypass of the waypoint: by pod address, another Service, a hand-made tunnel, from outside, over IPv6',
    run: async (stage) => {
      const ways: Record<string, string> = {};
      const refuse = (way: string, answer: Answer): void => {
        ways[way] = refusedStatus(answer);
        assert.ok(answer.status === 0 || answer.status === 403, `${way}: ${answer.status} ${answer.body}`);
      };
      // By the address of a pod, on the same node and on the other one, IPv4 and IPv6: the waypoint's policy applies.
      for (const pod of pods) {
        refuse(`intruder to ${pod}`, await ask('weft-intruder', `http://${pod}:8080/public/a`));
        refuse(`web's POST to ${pod}`, await ask('weft-web', `http://${pod}:8080/public/a`, '-d', 'x'));
      }
      const byAddress = await ask('weft-web', `http://${pods[0]}:8080/public/a`);
      assert.equal(byAddress.status, 200, 'what policy allows is allowed by address too');
      // By another Service without a waypoint, and by a headless Service.
      stage.write(
        'side.yaml',
        `kind: Service
metadata: { name: echo-side, namespace: shop }
spec: { selector: { app: echo }, clusterIPs: [10.96.0.29], ports: [{ port: 80, targetPort: 8080 }] }
---
kind: Service
metadata: { name: echo-headless, namespace: shop }
spec: { selector: { app: echo }, clusterIP: None, ports: [{ port: 8080 }] }
`,
      );
      await until('the other Service is known', 30_000, async () => {
        const answer = await ask('weft-web', 'http://10.96.0.29/public/a');
        return answer.status === 200;
      });
      refuse('by another Service', await ask('weft-intruder', 'http://10.96.0.29/public/a'));
      refuse('by another Service, POST', await ask('weft-web', 'http://10.96.0.29/public/a', '-d', 'x'));
      // From a client outside of the mesh: the nodes themselves.
      for (const node of ['weft-node-a', 'weft-node-b'])
        for (const pod of pods) refuse(`${node} to ${pod}`, await ask(node, `http://${pod}:8080/public/a`));
      // With a certificate of the mesh, in a tunnel that the client opens itself.
      const svid = certificateOf(stage, 'web');
      const own = async (
        way: string,
        netns: string,
        ...rest: [string, string, string, ...string[]]
      ): Promise<void> => {
        const answer = await tunnel(netns, svid, ...rest);
        assert.equal(answer.opened, false, `${way}: ${answer.answer}`);
        ways[way] = answer.why ?? '';
      };
      const echo = id('echo');
      for (const pod of pods.map((text) => text.replace(/[[\]]/g, ''))) {
        const authority = pod.includes(':') ? `[${pod}]:8080` : `${pod}:8080`;
        await own(`an own tunnel to ${pod}`, 'weft-node-a', echo, pod, authority);
        // A claimed source identity does not make a peer a waypoint.
        await own(`the same, with a claim, ${pod}`, 'weft-node-a', echo, pod, authority, id('waypoint'));
      }
      await own(
        'an own tunnel from a pod of the mesh',
        'weft-intruder',
        echo,
        '10.244.2.60',
        '10.244.2.60:8080',
      );
      // The waypoint relays only to the Services that it serves.
      const waypointIp = '10.244.2.200';
      await own(
        'the waypoint as a way to others',
        'weft-node-a',
        id('waypoint'),
        waypointIp,
        '10.244.2.10:6379',
      );
      stage.remove('side.yaml');
      return { ways: Object.keys(ways).length, ...ways };
    },
    summary: (e) => `${String(e['ways'])} attempts, each refused`,
  },
  {
    name: 'waypoint-fail-closed',
    title: 'kill -9 of the waypoint: its Service is refused, with a reason, until the waypoint is back',
    run: async (stage) => {
      stage.remove('access.yaml');
      await until(
        'the policy is gone',
        30_000,
        async () => (await ask('weft-web', `http://${vip}/`)).status === 200,
      );
      const from = stage.records('node-a').length;
      await stopWaypoint(stage.testbed, place, 'SIGKILL');
      const dead: Record<string, string> = {};
      for (const url of [`http://${vip}/`, ...pods.map((pod) => `http://${pod}:8080/`)]) {
        const answer = await ask('weft-web', url);
        assert.equal(answer.status, 0, `${url}: ${answer.body}`);
        dead[url] = refusedStatus(answer);
      }
      const record = await stage.record('node-a', 'why', from, ({ path }) => path === 'refused');
      const others = await stage.ping('weft-web', '10.96.0.12', 6379);
      assert.equal(others, '+PONG', 'what stands behind no waypoint goes on');
      await startWaypoint(stage.testbed, place);
      await until(
        'echo answers again',
        30_000,
        async () => (await ask('weft-web', `http://${vip}/`)).status === 200,
      );
      return { dead, code: record.code, why: record.why, others };
    },
    summary: (e) => `refused at every address: ${String(e['code'])}, "${String(e['why'])}"`,
  },
];

export const waypointUpdateStep: Step = {
  name: 'waypoint-rolling-update',
  title: 'Another replica takes over under load: no request fails',
  run: async (stage) => {
    const logged = new Map([place, second].map((replica) => [replica, requests(stage, replica).length]));
    const running = load(`http://${vip}/`);
    await sleep(1_000);
    await startWaypoint(stage.testbed, second);
    // Waits until the node of every client knows the new replica. A rolling update waits in the same way.
    await until('the new one serves', 30_000, async () => {
      await ask('weft-web', `http://${vip}/`);
      return requests(stage, second).length > 0;
    });
    await stopWaypoint(stage.testbed, place);
    await sleep(1_000);
    const { answered, failures, by } = await running.stop();
    const failed = [place, second]
      .flatMap((replica) => requests(stage, replica).slice(logged.get(replica)))
      .filter(({ status }) => status !== 200)
      .map(
        ({ status, flags, code, why }) => `${String(status)} ${String(flags)} ${String(code)} ${String(why)}`,
      );
    const found = `${JSON.stringify(failures)}; logged: ${[...new Set(failed)].slice(0, 3).join('; ')}`;
    assert.equal(Object.keys(failures).length, 0, `requests failed: ${found}`);
    assert.ok(answered > 100, `${answered} answered`);
    const served = requests(stage, second).length;
    assert.ok(served > 0, 'the new one has served');
    assert.equal(stage.testbed.mark(waypointProcess(place)), undefined);
    for (const file of ['gateway', 'split', 'retry', 'grpc']) stage.remove(`${file}.yaml`);
    await stopWaypoint(stage.testbed, second);
    return { answered, failures, by, servedByTheNewOne: served };
  },
  summary: (e) =>
    `${String(e['answered'])} answered, none failed; ${String(e['servedByTheNewOne'])} by the new one`,
};
