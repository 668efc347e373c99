/** Two pods of one node: the agent decides the first connection, then the kernel connects the pods and balances Services. */
import assert from 'node:assert/strict';
import { sleep, until } from '../../../base/wait.js';
import type { ConnectionRecord } from '../../../telemetry/connection-record.js';
import { agentProcess } from '../../standalone/testbed.js';
import { denyIntruder, cacheIp, cacheVip, enrolled, id, pong, type Step } from '../stage.js';

/** The record of a connection, by its client's address. */
const isOf =
  ({ local = '' }: { readonly local?: string }) =>
  ({ source }: ConnectionRecord): boolean =>
    source.address === local.replace('|', ':');

export const sameNodeSteps: readonly Step[] = [
  {
    name: 'same-node',
    title: 'web calls cache on its own node for the first time: the agent decides and relays, without TLS',
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
    summary: (e) =>
      `path ${String(e['path'])}, ${String(e['sourceIdentity'])} -> ${String(e['destinationIdentity'])}`,
  },
  {
    name: 'same-node-spliced',
    title:
      'The next connection is a kernel flow: it bypasses the agent and TCP, under the same identity and policy',
    run: async (stage) => {
      // The Service may have selected the other endpoint before. The first connection of this pair requests its verdict.
      await until('the kernel has the verdict', 20_000, async () => {
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
      // A record of a connection before this one may come late.
      const record = await stage.record('node-a', 'the connection', a, isOf(connected));
      const after = await stage.counters('node-a');
      assert.equal(record.path, 'kernel');
      const takenByAgent = (after['in-outbound'] ?? 0) - (before['in-outbound'] ?? 0);
      assert.equal(takenByAgent, 0, 'no connection went to the agent');
      assert.equal(record.bytesSent, written);
      // The response to ECHO is as long as the request.
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
    summary: (e) =>
      `${String(e['bytesCountedByPrograms'])} bytes, ${String(e['bytesPastTcp'])} of them past TCP; ${String(e['connectionsTakenByAgent'])} connections went to the agent`,
  },
  {
    name: 'kernel-service-balancing',
    title: 'The kernel balances the Service cache in connect(); no address is translated in packets',
    run: async (stage) => {
      const call = async (): Promise<string> => (await stage.ping('weft-web', cacheVip, 6379)).trim();
      // Each endpoint needs a verdict. The agent writes it at the first connection to the endpoint.
      await until('both endpoints are known to the kernel', 30_000, async () => {
        const a = stage.records('node-a').length;
        for (let i = 0; i < 6; i++) assert.equal(await call(), pong);
        await sleep(150);
        const lines = stage
          .records('node-a')
          .slice(a)
          .filter(({ dialled }) => dialled === `${cacheVip}:6379`);
        // Six calls may all have reached the same endpoint, so this alone does not prove both verdicts.
        const endpoints = new Set(lines.map(({ destination }) => destination.pod));
        return endpoints.size === 2 && lines.every(({ path }) => path === 'kernel');
      });
      const a = stage.records('node-a').length;
      const calls = 24;
      const mineAre: ((record: ConnectionRecord) => boolean)[] = [];
      let clientSeesPeer = '';
      for (let i = 0; i < calls; i++) {
        const live = stage.connect('weft-web', cacheVip, 6379);
        const connected = await live.wait('connected');
        clientSeesPeer = connected.peer ?? '';
        mineAre.push(isOf(connected));
        assert.equal((await live.ask('PING\r\n')).trim(), pong);
        live.end();
      }
      const mine = await until('all of them are logged', 20_000, () => {
        const found = stage
          .records('node-a')
          .slice(a)
          .filter((record) => mineAre.some((isMine) => isMine(record)));
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
    summary: (e) =>
      `${String(e['calls'])} calls: ${Object.entries(e['byPod'] as Record<string, number>)
        .map(([pod, n]) => `${n} to ${pod}`)
        .join(', ')}; the client sees ${String(e['clientSeesPeer'])}`,
  },
  {
    name: 'same-node-survives-agent-kill',
    title: 'kill -9 of the agent, then a restart: kernel flows are not interrupted',
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
      // The carrier's listeners outlive the agent: it resets what nobody decides.
      const refusal = stage.testbed.relay === 'carrier' ? 'ECONNRESET' : 'ECONNREFUSED';
      assert.equal(undecided, refusal, 'what was not decided is refused');
      // The new agent manages the connection: a policy change cuts it.
      stage.write(
        'policy.yaml',
        denyIntruder.replace('no-intruder', 'no-web').replace('shop/intruder', 'shop/web'),
      );
      const ended = await until('the policy cuts it', 20_000, () => live.find('error') ?? live.find('end'));
      stage.remove('policy.yaml');
      await until(
        'web is allowed again',
        20_000,
        async () => (await stage.ping('weft-web', cacheIp, 6379)) === pong,
      );
      return {
        answers,
        newWhileDead,
        undecidedWhileDead: undecided,
        policyAfterRestart: ended.code ?? ended.event,
      };
    },
    summary: (e) =>
      `an open flow worked before, during and after; a new one without the agent: ${String(e['newWhileDead'])}; the new agent then enforced a policy on the open flow (${String(e['policyAfterRestart'])})`,
  },
];
