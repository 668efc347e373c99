/** The demo's steps. Each measures what it claims, in this run; its evidence is what it found. */
import assert from 'node:assert/strict';
import { sleep, until } from '../../base/wait.js';
import { programs, sh } from '../run.js';
import { agentProcess } from '../standalone/testbed.js';
import { apiIp, apiVip, apiVip6, cacheIp, cacheVip, id, Live, marker, type Step } from './stage.js';
import { waypointSteps } from './waypoint-steps.js';

const namespace = (labels: string): string =>
  `apiVersion: v1\nkind: Namespace\nmetadata: { name: shop, labels: { ${labels} }, annotations: { weft.dev/splice: 'on' } }\n`;
const enrolled = { 'node-a': 5, 'node-b': 2 };

const denyIntruder = `apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: no-intruder, namespace: shop }
spec:
  action: DENY
  rules:
    - from: [{ serviceAccounts: [shop/intruder] }]
`;

const pong = '+PONG';
/** What an application sees of a connection that the mesh refuses. */
const turnedAway = ['ECONNREFUSED', 'ECONNRESET'];

export const steps: readonly Step[] = [
  {
    name: 'plain-before-enrolment',
    title: 'Two nodes, no mesh yet: web calls api, and anyone on the wire can read it',
    run: async (stage) => {
      let body = '';
      const wire = await stage.wire(async () => {
        body = (
          await until('nginx answers', 5_000, async () => {
            const answer = await stage.curl('weft-web', `http://${apiIp}:8080/`);
            return answer.code === 0 ? answer : undefined;
          })
        ).stdout.trim();
      });
      assert.equal(body, marker);
      const payloadOnWire = wire.includes(marker);
      assert.ok(payloadOnWire, 'the payload is on the wire');
      stage.live = stage.connect('weft-web', apiIp, 6379);
      await stage.live.wait('connected');
      const answer = await stage.live.ask('PING\r\n');
      return { body, payloadOnWire, capturedBytes: wire.length, liveConnection: answer.trim() };
    },
    tell: () => 'the answer came, and a capture between the nodes holds it in clear',
  },
  {
    name: 'enroll-keeps-live-connection',
    title: 'Label the namespace weft.dev/mesh=enabled: no restart, and a connection that was open stays open',
    run: async (stage) => {
      const started = Date.now();
      stage.write('namespace.yaml', namespace('weft.dev/mesh: enabled'));
      await stage.testbed.waitReady(enrolled);
      const tookMs = Date.now() - started;
      const answer = (await stage.live?.ask('PING\r\n'))?.trim();
      assert.equal(answer, pong);
      stage.live?.end();
      const pods = stage.testbed.topology.nodes.flatMap(({ name }) =>
        stage.testbed.readyState(name).pods.map(({ uid }) => uid),
      );
      return { podsEnrolled: pods.length, pods, tookMs, liveConnectionAnswers: answer };
    },
    tell: (e) =>
      `${String(e['podsEnrolled'])} pods in the mesh after ${String(e['tookMs'])} ms; redis still answers ${String(e['liveConnectionAnswers'])} on the old connection`,
  },
  {
    name: 'cross-node-mtls',
    title:
      'web calls the service api on the other node: mutual TLS by workload identity, and the wire shows nothing',
    run: async (stage) => {
      const [a, b] = [stage.records('node-a').length, stage.records('node-b').length];
      let body = '';
      const wire = await stage.wire(async () => {
        const answer = await stage.curl('weft-web', `http://${apiVip}/`);
        body = answer.stdout.trim();
      });
      assert.equal(body, marker);
      assert.ok(wire.length > 1000, 'the capture holds packets');
      const payloadOnWire = wire.includes(marker);
      assert.equal(payloadOnWire, false, 'no payload on the wire');
      const out = await stage.record('node-a', 'the tunnel', a, ({ path }) => path === 'hbone');
      const inn = await stage.record('node-b', 'the tunnel', b, ({ path }) => path === 'inbound-hbone');
      assert.equal(inn.source.identity, id('web'));
      assert.equal(out.destination.identity, id('api'));
      return {
        sourceIdentity: inn.source.identity,
        destinationIdentity: out.destination.identity,
        payloadOnWire,
        capturedBytes: wire.length,
        path: out.path,
        why: out.why,
      };
    },
    tell: (e) =>
      `${String(e['sourceIdentity'])} -> ${String(e['destinationIdentity'])}; ${String(e['capturedBytes'])} bytes captured, no payload among them`,
  },
  {
    name: 'same-node',
    title:
      'web calls cache on its own node for the first time: the agent decides and joins them, without TLS',
    run: async (stage) => {
      const a = stage.records('node-a').length;
      const live = stage.connect('weft-web', cacheVip, 6379);
      await live.wait('connected');
      const answer = (await live.ask('PING\r\n')).trim();
      live.end();
      const record = await stage.record('node-a', 'the connection', a, ({ path }) => path === 'local');
      assert.equal(record.destination.identity, id('cache'));
      return {
        answer,
        path: record.path,
        why: record.why,
        sourceIdentity: record.source.identity,
        destinationIdentity: record.destination.identity,
      };
    },
    tell: (e) =>
      `path ${String(e['path'])}, ${String(e['sourceIdentity'])} -> ${String(e['destinationIdentity'])}`,
  },
  {
    name: 'same-node-spliced',
    title: 'From then on the kernel carries it alone, past the agent and past TCP, identity and policy kept',
    run: async (stage) => {
      // The service may have led to the other endpoint a moment ago: this pair's verdict is asked for by its first connection.
      await until('the kernel has the verdict', 5_000, async () => {
        const allowed = (await stage.counters('node-a'))['kernel-allowed'] ?? 0;
        assert.equal(await stage.ping('weft-web', cacheIp, 6379), pong);
        return ((await stage.counters('node-a'))['kernel-allowed'] ?? 0) > allowed;
      });
      await sleep(200);
      const a = stage.records('node-a').length;
      const before = await stage.counters('node-a');
      const live = stage.connect('weft-web', cacheIp, 6379);
      const connected = await live.wait('connected');
      const rounds = 100;
      let written = 0;
      for (let i = 0; i < rounds; i++) {
        const request = `ECHO ${String(i).padStart(64, '0')}\r\n`;
        written += request.length;
        assert.match(await live.ask(request), /^\$64/);
      }
      live.end();
      const record = await stage.record('node-a', 'the connection', a, ({ path }) => path === 'kernel');
      const after = await stage.counters('node-a');
      const takenByAgent = (after['in-outbound'] ?? 0) - (before['in-outbound'] ?? 0);
      assert.equal(takenByAgent, 0, 'no connection went to the agent');
      assert.equal(record.bytesSent, written);
      // The answer to ECHO is as long as the request.
      assert.equal(record.bytesReceived, written);
      assert.equal(record.bytesSpliced, record.bytesSent + record.bytesReceived);
      assert.equal(record.source.identity, id('web'));
      assert.equal(record.destination.identity, id('cache'));
      return {
        path: record.path,
        why: record.why,
        bytesCountedByPrograms: record.bytesSent + record.bytesReceived,
        bytesPastTcp: record.bytesSpliced,
        connectionsTakenByAgent: takenByAgent,
        clientSeesPeer: connected.peer,
        sourceIdentity: record.source.identity,
        destinationIdentity: record.destination.identity,
      };
    },
    tell: (e) =>
      `${String(e['bytesCountedByPrograms'])} bytes, ${String(e['bytesPastTcp'])} of them past TCP; the agent took ${String(e['connectionsTakenByAgent'])} connections`,
  },
  {
    name: 'kernel-service-balancing',
    title:
      'connect() itself picks among the endpoints of the service cache; no address is translated on the way',
    run: async (stage) => {
      const call = async (): Promise<string> => (await stage.ping('weft-web', cacheVip, 6379)).trim();
      // One verdict per endpoint; the agent gives each at the first connection that asks for it.
      await until('both endpoints are known to the kernel', 10_000, async () => {
        const a = stage.records('node-a').length;
        for (let i = 0; i < 6; i++) assert.equal(await call(), pong);
        await sleep(150);
        const lines = stage
          .records('node-a')
          .slice(a)
          .filter(({ dialled }) => dialled === `${cacheVip}:6379`);
        // Six calls may all have met one of the two: that says nothing of the other.
        const endpoints = new Set(lines.map(({ destination }) => destination.pod));
        return endpoints.size === 2 && lines.every(({ path }) => path === 'kernel');
      });
      const a = stage.records('node-a').length;
      const calls = 24;
      let clientSeesPeer = '';
      for (let i = 0; i < calls; i++) {
        const live = stage.connect('weft-web', cacheVip, 6379);
        clientSeesPeer = (await live.wait('connected')).peer ?? '';
        assert.equal((await live.ask('PING\r\n')).trim(), pong);
        live.end();
      }
      const mine = await until('all of them are logged', 5_000, () => {
        const found = stage
          .records('node-a')
          .slice(a)
          .filter(({ dialled, source }) => dialled === `${cacheVip}:6379` && source.pod === 'web');
        return found.length >= calls && found;
      });
      const byPod: Record<string, number> = {};
      for (const { path, destination } of mine) {
        assert.equal(path, 'kernel');
        byPod[destination.pod] = (byPod[destination.pod] ?? 0) + 1;
      }
      assert.deepEqual(Object.keys(byPod).sort(), ['cache', 'cache-2']);
      assert.equal(clientSeesPeer, `${cacheVip}|6379`);
      return { calls, byPod, clientSeesPeer, path: 'kernel' };
    },
    tell: (e) =>
      `${String(e['calls'])} calls: ${Object.entries(e['byPod'] as Record<string, number>)
        .map(([pod, n]) => `${n} to ${pod}`)
        .join(', ')}; the client sees ${String(e['clientSeesPeer'])}`,
  },
  {
    name: 'same-node-survives-agent-kill',
    title: 'kill -9 of the agent and its restart: connections that the kernel carries notice nothing',
    run: async (stage) => {
      const live = stage.connect('weft-web', cacheIp, 6379);
      await live.wait('connected');
      const answers: Record<string, string> = { before: (await live.ask('PING\r\n')).trim() };
      await stage.testbed.stop(agentProcess('node-a'), 'SIGKILL');
      answers['whileDead'] = (await live.ask('PING\r\n')).trim();
      const newWhileDead = await stage.ping('weft-web', cacheIp, 6379);
      const undecided = await stage.ping('weft-intruder', cacheIp, 6379);
      stage.testbed.startAgent('node-a');
      await stage.testbed.waitReady(enrolled);
      answers['afterRestart'] = (await live.ask('PING\r\n')).trim();
      for (const answer of Object.values(answers)) assert.equal(answer, pong);
      assert.equal(newWhileDead, pong, 'what was decided opens while the lease lasts');
      assert.equal(undecided, 'ECONNREFUSED', 'what was not decided is refused');
      // The new agent owns it: a policy cuts it.
      stage.write(
        'policy.yaml',
        denyIntruder.replace('no-intruder', 'no-web').replace('shop/intruder', 'shop/web'),
      );
      const ended = await until('the policy cuts it', 5_000, () => live.find('error') ?? live.find('end'));
      stage.remove('policy.yaml');
      await until(
        'web is allowed again',
        5_000,
        async () => (await stage.ping('weft-web', cacheIp, 6379)) === pong,
      );
      return {
        answers,
        newWhileDead,
        undecidedWhileDead: undecided,
        policyAfterRestart: ended.code ?? ended.event,
      };
    },
    tell: (e) =>
      `it answered before, while dead and after; new while dead: ${String(e['newWhileDead'])}; a policy of the new agent then cut it (${String(e['policyAfterRestart'])})`,
  },
  {
    name: 'addresses-preserved',
    title: 'Neither side can tell: the client sees the address it dialled, the server sees the client',
    run: async (stage) => {
      const server = new Live('weft-api', ['listen', '9000']);
      stage.lives.push(server);
      await server.wait('listening');
      const client = stage.connect('weft-web', apiVip, 9000);
      const connected = await client.wait('connected');
      await client.ask('hello');
      const accepted = await server.wait('accepted');
      assert.equal(connected.peer, `${apiVip}|9000`);
      assert.equal(connected.local?.split('|')[0], '10.244.1.10');
      assert.equal(accepted.peer?.replace('::ffff:', ''), connected.local);
      client.end();
      server.end();
      return {
        clientSeesPeer: connected.peer,
        clientSeesItself: connected.local,
        serverSeesClient: accepted.peer,
        serverSeesItself: accepted.local,
      };
    },
    tell: (e) => `client: ${String(e['clientSeesPeer'])}, server: ${String(e['serverSeesClient'])}`,
  },
  {
    name: 'deny-by-identity',
    title: 'A policy denies the identity of intruder, wherever it calls from',
    run: async (stage) => {
      const before = await stage.ping('weft-intruder', apiVip, 6379);
      assert.equal(before, pong, 'intruder is allowed before');
      const b = stage.records('node-b').length;
      stage.write('policy.yaml', denyIntruder);
      const intruderSaw = await until('intruder is refused', 5_000, async () => {
        const seen = await stage.ping('weft-intruder', apiVip, 6379);
        return turnedAway.includes(seen) && seen;
      });
      const record = await stage.record(
        'node-b',
        'the denial',
        b,
        (r) => r.path === 'refused' && r.source.identity === id('intruder'),
      );
      assert.equal(record.policy, 'shop/no-intruder');
      const webSaw = await stage.ping('weft-web', apiVip, 6379);
      assert.equal(webSaw, pong, 'web is allowed');
      return {
        intruderSawBefore: before,
        intruderSaw,
        webSaw,
        policy: record.policy,
        rule: record.rule,
        sourceIdentity: record.source.identity,
        destinationIdentity: record.destination.identity,
        why: record.why,
      };
    },
    tell: (e) => `${String(e['sourceIdentity'])} refused: ${String(e['why'])}; web is still served`,
  },
  {
    name: 'policy-change-cuts-only-forbidden',
    title: 'The same policy applied under live traffic cuts what it forbids, and nothing else',
    run: async (stage) => {
      stage.remove('policy.yaml');
      await until(
        'intruder is allowed again',
        5_000,
        async () => (await stage.ping('weft-intruder', apiVip, 6379)) === pong,
      );
      const lives = {
        web: stage.connect('weft-web', apiVip, 6379),
        intruder: stage.connect('weft-intruder', apiVip, 6379),
        intruderSameNode: stage.connect('weft-intruder', cacheVip, 6379),
      };
      for (const live of Object.values(lives)) {
        await live.wait('connected');
        assert.equal((await live.ask('PING\r\n')).trim(), pong);
      }
      const started = Date.now();
      stage.write('policy.yaml', denyIntruder);
      const cut = await lives.intruder.wait('error');
      const cutSameNode = await lives.intruderSameNode.wait('error');
      const cutAfterMs = Date.now() - started;
      const allowedAnswers = (await lives.web.ask('PING\r\n')).trim();
      assert.equal(allowedAnswers, pong);
      assert.equal(lives.web.closed, false);
      lives.web.end();
      stage.remove('policy.yaml');
      return {
        forbiddenSaw: cut.code,
        forbiddenSameNodeSaw: cutSameNode.code,
        cutAfterMs,
        allowedAnswers,
      };
    },
    tell: (e) =>
      `intruder's connections saw ${String(e['forbiddenSaw'])} ${String(e['cutAfterMs'])} ms after the change; web's went on`,
  },
  {
    name: 'certificate-rotation',
    title: 'The root is replaced in three phases; certificates change, connections do not notice',
    run: async (stage) => {
      const live = stage.connect('weft-web', apiVip, 6379);
      await live.wait('connected');
      const web = `node-a ${id('web')}`;
      let before = await stage.serials();
      const serials = [before.get(web) ?? ''];
      const phases: Record<string, unknown>[] = [];
      for (const phase of ['begin', 'switch', 'finish']) {
        const args = ['rotate-root', '--state', stage.testbed.controlState(), '--phase', phase];
        sh(process.execPath, [programs.control, ...args]);
        // Both nodes have theirs before the next phase: that is what the phases are for.
        before = await until(`new certificates on both nodes after ${phase}`, 8_000, async () => {
          const now = await stage.serials();
          return [...now].every(([key, serial]) => serial !== '' && serial !== before.get(key)) && now;
        });
        serials.push(before.get(web) ?? '');
        const liveAnswers = (await live.ask('PING\r\n')).trim();
        assert.equal(liveAnswers, pong, phase);
        const fresh = await stage.ping('weft-web', apiVip, 6379);
        assert.equal(fresh, pong, `a new connection after ${phase}`);
        phases.push({ phase, certificatesReplaced: before.size, liveAnswers, newConnectionAnswers: fresh });
      }
      assert.equal(new Set(serials).size, 4);
      live.end();
      return { serials, phases };
    },
    tell: (e) =>
      `web had ${(e['serials'] as string[]).length} certificates under two roots; one connection lived through all of them`,
  },
  {
    name: 'agent-restart',
    title:
      'kill -9 of an agent: its proxied connections reset, new ones are refused, nothing slips by in clear',
    run: async (stage) => {
      const live = stage.connect('weft-web', apiVip, 6379);
      await live.wait('connected');
      assert.equal((await live.ask('PING\r\n')).trim(), pong);
      await stage.testbed.stop(agentProcess('node-a'), 'SIGKILL');
      const reset = await live.wait('error');
      const outbound = await stage.ping('weft-web', apiIp, 6379);
      assert.equal(outbound, 'ECONNREFUSED', 'refused at once');
      // Neither through a tunnel from the other node nor in clear from what is in no mesh.
      const inboundTunnel = await stage.ping('weft-api', cacheIp, 6379);
      const inboundPlain = await stage.ping('weft-node-b', cacheIp, 6379);
      for (const seen of [inboundTunnel, inboundPlain]) {
        assert.ok(turnedAway.includes(seen), `nobody gets into its pods: ${seen}`);
      }
      stage.testbed.startAgent('node-a');
      await stage.testbed.waitReady(enrolled);
      const after = await until('all works again', 5_000, async () => {
        const seen = await stage.ping('weft-web', apiVip, 6379);
        return seen === pong && seen;
      });
      return {
        liveConnectionSaw: reset.code,
        newConnectionWhileDead: outbound,
        inboundTunnelWhileDead: inboundTunnel,
        inboundPlainWhileDead: inboundPlain,
        afterRestart: after,
      };
    },
    tell: (e) =>
      `live: ${String(e['liveConnectionSaw'])}; new while dead: ${String(e['newConnectionWhileDead'])}; after the restart all works`,
  },
  {
    name: 'control-plane-away',
    title: 'The control plane is gone: everything goes on; what changed meanwhile is caught up',
    run: async (stage) => {
      await stage.testbed.stop('control', 'SIGKILL');
      const during = await stage.ping('weft-web', apiVip, 6379);
      assert.equal(during, pong);
      stage.write('policy.yaml', denyIntruder);
      await sleep(500);
      const unaware = await stage.ping('weft-intruder', apiVip, 6379);
      assert.equal(unaware, pong, 'the last state is kept');
      await stage.testbed.startControl();
      const returned = Date.now();
      const caughtUp = await until('the change has arrived', 15_000, async () => {
        const seen = await stage.ping('weft-intruder', apiVip, 6379);
        return turnedAway.includes(seen) && seen;
      });
      const caughtUpAfterMs = Date.now() - returned;
      stage.remove('policy.yaml');
      const allowed = await until('and so has the next', 5_000, async () => {
        const seen = await stage.ping('weft-intruder', apiVip, 6379);
        return seen === pong && seen;
      });
      return {
        newConnectionWhileAway: during,
        intruderWhileAway: unaware,
        intruderAfterReturn: caughtUp,
        caughtUpAfterMs,
        intruderAfterRemoval: allowed,
      };
    },
    tell: (e) =>
      `new connections worked without it; a policy written meanwhile held ${String(e['caughtUpAfterMs'])} ms after its return`,
  },
  {
    name: 'ipv6',
    title: 'The same by IPv6',
    run: async (stage) => {
      const [a, b] = [stage.records('node-a').length, stage.records('node-b').length];
      let body = '';
      const wire = await stage.wire(async () => {
        body = (await stage.curl('weft-web', `http://[${apiVip6}]/`)).stdout.trim();
      });
      assert.equal(body, marker);
      assert.ok(wire.length > 1000, 'the capture holds packets');
      const payloadOnWire = wire.includes(marker);
      assert.equal(payloadOnWire, false, 'no payload on the wire');
      const out = await stage.record(
        'node-a',
        'the tunnel',
        a,
        (r) => r.path === 'hbone' && r.destination.address.startsWith('[fd00:'),
      );
      const inn = await stage.record(
        'node-b',
        'the tunnel',
        b,
        (r) => r.path === 'inbound-hbone' && r.destination.address.startsWith('[fd00:'),
      );
      assert.match(out.destination.address, /^\[fd00:244:2::10\]/);
      return {
        path: out.path,
        destination: out.destination.address,
        sourceIdentity: inn.source.identity,
        payloadOnWire,
      };
    },
    tell: (e) => `path ${String(e['path'])} to ${String(e['destination'])}`,
  },
  ...waypointSteps,
  {
    name: 'unenrol',
    title: 'Take the label away: traffic is as it was, and an open connection is not cut',
    run: async (stage) => {
      const live = stage.connect('weft-web', apiVip, 6379);
      await live.wait('connected');
      assert.equal((await live.ask('PING\r\n')).trim(), pong);
      stage.write('namespace.yaml', namespace('weft.dev/mesh: disabled'));
      await stage.testbed.waitReady({ 'node-a': 0, 'node-b': 0 });
      const liveAnswers = (await live.ask('PING\r\n')).trim();
      assert.equal(liveAnswers, pong);
      let body = '';
      const wire = await stage.wire(async () => {
        body = (await stage.curl('weft-web', `http://${apiIp}:8080/`)).stdout.trim();
      });
      assert.equal(body, marker);
      const payloadOnWire = wire.includes(marker);
      assert.ok(payloadOnWire, 'in clear again');
      live.end();
      return { liveConnectionAnswers: liveAnswers, payloadOnWire };
    },
    tell: () => 'in clear again, and the tunnelled connection still answers',
  },
];
