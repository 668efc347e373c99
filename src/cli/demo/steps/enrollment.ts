/** Enrolls and unenrolls pods, and captures the traffic meanwhile. */
import assert from 'node:assert/strict';
import { until } from '../../../base/wait.js';
import { apiIp, apiVip, apiVip6, enrolled, id, marker, namespace, pong, type Step } from '../stage.js';

export const enrollmentSteps: readonly Step[] = [
  {
    name: 'plain-before-enrolment',
    title: 'Two nodes, no mesh yet: web calls api, and a capture on the wire shows the payload',
    run: async (stage) => {
      let body = '';
      const wire = await stage.wire(async () => {
        body = (
          await until('nginx answers', 20_000, async () => {
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
    summary: () => 'api responded; a capture between the nodes contains the payload in plaintext',
  },
  {
    name: 'enrol-keeps-live-connection',
    title: 'Label the namespace weft.dev/mesh=enabled: no pod restarts, and an open connection stays open',
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
    summary: (e) =>
      `${String(e['podsEnrolled'])} pods enrolled after ${String(e['tookMs'])} ms; redis still answers ${String(e['liveConnectionAnswers'])} on the old connection`,
  },
  {
    name: 'cross-node-mtls',
    title:
      'web calls the Service api on the other node: mutual TLS by workload identity, no payload in the capture',
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
    summary: (e) =>
      `${String(e['sourceIdentity'])} -> ${String(e['destinationIdentity'])}; ${String(e['capturedBytes'])} bytes captured, without the payload`,
  },
];

export const ipv6Step: Step = {
  name: 'ipv6',
  title: 'IPv6: web calls the Service api through the tunnel, no payload in the capture',
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
  summary: (e) => `path ${String(e['path'])} to ${String(e['destination'])}`,
};

export const unenrollStep: Step = {
  name: 'unenrol',
  title: 'Remove the label: traffic is plaintext again, and an open connection stays open',
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
    assert.ok(payloadOnWire, 'plaintext again');
    live.end();
    return { liveConnectionAnswers: liveAnswers, payloadOnWire };
  },
  summary: () => 'plaintext again; the connection opened through the tunnel still works',
};
