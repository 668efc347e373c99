/** Rotates certificates, and restarts or stops programs of the mesh. */
import assert from 'node:assert/strict';
import { sleep, until } from '../../../base/wait.js';
import { programs, sh } from '../../run.js';
import { agentProcess, carrierProcess } from '../../standalone/testbed.js';
import { denyIntruder, apiIp, apiVip, cacheIp, enrolled, id, pong, turnedAway, type Step } from '../stage.js';

export const operationSteps: readonly Step[] = [
  {
    name: 'certificate-rotation',
    title: 'The root is replaced in three phases: certificates change, connections stay open',
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
        // The phases are safe only if both nodes have their new certificates before the next phase.
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
    summary: (e) =>
      `web had ${(e['serials'] as string[]).length} certificates under two roots; one connection stayed open throughout`,
  },
  {
    name: 'agent-restart',
    title:
      'kill -9 of what relays on a node (the agent and its carrier, if it has one): connections are reset, new ones are refused, none bypasses the mesh',
    run: async (stage) => {
      const live = stage.connect('weft-web', apiVip, 6379);
      await live.wait('connected');
      assert.equal((await live.ask('PING\r\n')).trim(), pong);
      await stage.testbed.stop(agentProcess('node-a'), 'SIGKILL');
      await stage.testbed.stop(carrierProcess('node-a'), 'SIGKILL');
      const reset = await live.wait('error');
      const outbound = await stage.ping('weft-web', apiIp, 6379);
      assert.equal(outbound, 'ECONNREFUSED', 'refused at once');
      // Refused both through a tunnel from the other node and in plaintext from a client outside of the mesh.
      const inboundTunnel = await stage.ping('weft-api', cacheIp, 6379);
      const inboundPlain = await stage.ping('weft-node-b', cacheIp, 6379);
      for (const seen of [inboundTunnel, inboundPlain]) {
        assert.ok(turnedAway.includes(seen), `nobody gets into its pods: ${seen}`);
      }
      stage.testbed.startAgent('node-a');
      await stage.testbed.waitReady(enrolled);
      const after = await until('all works again', 20_000, async () => {
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
    summary: (e) =>
      `open connection: ${String(e['liveConnectionSaw'])}; new one without the agent: ${String(e['newConnectionWhileDead'])}; after the restart: ${String(e['afterRestart'])}`,
  },
  {
    name: 'control-plane-away',
    title: 'The control plane is down: connections work; a change made meanwhile is applied once it is back',
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
      const caughtUp = await until('the change has arrived', 30_000, async () => {
        const seen = await stage.ping('weft-intruder', apiVip, 6379);
        return turnedAway.includes(seen) && seen;
      });
      const caughtUpAfterMs = Date.now() - returned;
      stage.remove('policy.yaml');
      const allowed = await until('and so has the next', 20_000, async () => {
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
    summary: (e) =>
      `new connections worked; a policy written meanwhile was in force ${String(e['caughtUpAfterMs'])} ms after the control plane was back`,
  },
];
