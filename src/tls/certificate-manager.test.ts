import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Clock } from '../base/clock.js';
import { parseSpiffeId, parseTrustDomain } from '../model/identity.js';
import { createRoot, issueSvid } from './issue.js';
import { parseCsr } from './csr.js';
import { CertificateManager, ownKeys } from './certificate-manager.js';
import type { Svid } from './svid.js';

const id = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/web');

class FakeClock implements Clock {
  time = Date.now();
  #due: { at: number; call: () => void }[] = [];
  now(): number {
    return this.time;
  }
  after(delayMs: number, call: () => void): () => void {
    this.#due.push({ at: this.time + delayMs, call });
    return () => (this.#due = this.#due.filter((one) => one.call !== call));
  }
  /** Moves only the wall clock. */
  jump(ms: number): void {
    this.time += ms;
    this.#due = this.#due.map(({ at, call }) => ({ at: at + ms, call }));
  }
  get nextInMs(): number {
    return Math.min(...this.#due.map(({ at }) => at)) - this.time;
  }
  async turn(ms: number): Promise<void> {
    this.time += ms;
    const due = this.#due.filter(({ at }) => at <= this.time);
    this.#due = this.#due.filter(({ at }) => at > this.time);
    for (const { call } of due) call();
    for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
  }
}

function testbed() {
  const clock = new FakeClock();
  const root = createRoot(parseTrustDomain('cluster.local'), 10 * 86_400, clock.now());
  const got: Svid[] = [];
  const errors: number[] = [];
  const state = { fail: false, asked: 0 };
  const manager = new CertificateManager({
    keys: ownKeys,
    issue: async (csrPem, asked, ttlS) => {
      state.asked++;
      if (state.fail) throw new Error('the CA refuses');
      const csr = parseCsr(csrPem);
      assert.ok(csr.ok);
      const leaf = issueSvid({
        caKeyPem: root.keyPem,
        caCertPem: root.certPem,
        csrPublicKeyPem: csr.value.publicKeyPem,
        id: asked,
        ttlS,
        nowMs: clock.now(),
      });
      return [leaf, root.certPem];
    },
    clock,
    random: () => 0.5,
    ttlS: 1000,
    onSvid: (svid) => got.push(svid),
    onError: (_id, _error, retryInMs) => errors.push(retryInMs),
  });
  return { clock, manager, got, errors, state };
}

test('a certificate is renewed after a forward clock jump, before its timer fires', async () => {
  const { clock, manager, got, state } = testbed();
  manager.want(new Set([id]));
  await clock.turn(0);
  clock.jump(450_000);
  manager.tick();
  await clock.turn(0);
  assert.equal(got.length, 1, 'not due yet');
  clock.jump(600_000);
  state.fail = true;
  for (let i = 0; i < 3; i++) manager.tick();
  await clock.turn(0);
  assert.equal(state.asked, 2, 'one attempt, which is tried again by its own timer');
  state.fail = false;
  await clock.turn(1_000);
  assert.equal(got.length, 2);
  assert.ok((got[1]?.notAfterMs ?? 0) > clock.now());
  manager.tick();
  await clock.turn(0);
  assert.equal(state.asked, 3);
});

test('a certificate is renewed at half of its life with a new key', async () => {
  const { clock, manager, got } = testbed();
  manager.want(new Set([id]));
  await clock.turn(0);
  assert.equal(got.length, 1);
  assert.ok(clock.nextInMs > 490_000 && clock.nextInMs <= 501_000, String(clock.nextInMs));
  await clock.turn(501_000);
  assert.equal(got.length, 2);
  assert.notEqual(got[0]?.keyPem, got[1]?.keyPem);
  assert.equal(manager.get(id)?.serial, got[1]?.serial);
});

test('the old certificate stays while the CA refuses renewal; retries back off up to the limit', async () => {
  const { clock, manager, got, errors, state } = testbed();
  manager.want(new Set([id]));
  await clock.turn(0);
  state.fail = true;
  await clock.turn(501_000);
  for (let i = 0; i < 12; i++) await clock.turn(clock.nextInMs);
  assert.equal(manager.get(id)?.serial, got[0]?.serial);
  assert.ok(errors.every((ms, i) => i === 0 || ms >= (errors[i - 1] ?? 0)));
  assert.ok(Math.max(...errors) <= 150_000 && (errors[0] ?? 0) <= 1_000);
  state.fail = false;
  await clock.turn(clock.nextInMs);
  assert.equal(got.length, 2);
});

test('an unwanted certificate is dropped with its key, and a late response for it is ignored', async () => {
  const { clock, manager, got } = testbed();
  manager.want(new Set([id]));
  manager.want(new Set());
  await clock.turn(0);
  assert.equal(got.length, 0);
  assert.equal(manager.get(id), undefined);
  assert.deepEqual(manager.state(), []);
});

test('state contains no key', async () => {
  const { clock, manager } = testbed();
  manager.want(new Set([id]));
  await clock.turn(0);
  assert.doesNotMatch(JSON.stringify(manager.state()), /PRIVATE/);
});
