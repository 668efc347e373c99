/** The client address that the destination sees, and the clients that a policy refuses. */
import assert from 'node:assert/strict';
import { until } from '../../../base/wait.js';
import { denyIntruder, apiVip, cacheVip, id, Live, pong, turnedAway, type Step } from '../stage.js';

export const policySteps: readonly Step[] = [
  {
    name: 'addresses-preserved',
    title: 'Addresses are kept: the client sees the address that it dialed, the server sees the client',
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
    summary: (e) => `client: ${String(e['clientSeesPeer'])}, server: ${String(e['serverSeesClient'])}`,
  },
  {
    name: 'deny-by-identity',
    title: 'A policy denies the identity of intruder, and no other',
    run: async (stage) => {
      const before = await stage.ping('weft-intruder', apiVip, 6379);
      assert.equal(before, pong, 'intruder is allowed before');
      const b = stage.records('node-b').length;
      stage.write('policy.yaml', denyIntruder);
      const intruderSaw = await until('intruder is refused', 20_000, async () => {
        const seen = await stage.ping('weft-intruder', apiVip, 6379);
        return turnedAway.includes(seen) && seen;
      });
      const record = await stage.record(
        'node-b',
        'the denial',
        b,
        // A connection that was being opened when the policy came has a line without the policy's name in a field of its own.
        (r) => r.path === 'refused' && r.source.identity === id('intruder') && r.policy !== undefined,
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
    summary: (e) => `${String(e['sourceIdentity'])} refused: ${String(e['why'])}; web is still allowed`,
  },
  {
    name: 'policy-change-cuts-only-forbidden',
    title: 'The same policy applied under live traffic resets the connections that it forbids, and no others',
    run: async (stage) => {
      stage.remove('policy.yaml');
      await until(
        'intruder is allowed again',
        20_000,
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
    summary: (e) =>
      `intruder's connections saw ${String(e['forbiddenSaw'])} ${String(e['cutAfterMs'])} ms after the change; web's stayed open`,
  },
];
