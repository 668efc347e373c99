/**
 * One carrier that this agent is connected to: its rules and flows, the answers to its questions, and what follows from changes. Owner of all
 * that the agent knows of this carrier.
 */
import { errorText, WeftError } from '../../src/base/errors.js';
import type { SocketAddress } from '../../src/model/address.js';
import { parseSpiffeId, type SpiffeId } from '../../src/model/identity.js';
import type { CarrierStatus } from '../../src/model/relay.js';
import type { WorkloadUid } from '../../src/model/workload.js';
import type { MeshChange } from '../../src/state/change.js';
import type { Opening } from '../../src/telemetry/connection-record.js';
import type { ConnectionTemplate } from '../../src/telemetry/connection-template.js';
import type { MetricEvent } from '../../src/telemetry/metrics.js';
import type { ObservedRequests } from '../../src/telemetry/observed-requests.js';
import { listMsMax } from '../node-relay.js';
import { describeRefused } from '../proxy/inbound-decision.js';
import { observedSides, recordsOfSides } from '../proxy/observed-requests.js';
import type { LocalPod } from '../worker-ipc.js';
import { Acknowledgments } from './acknowledgments.js';
import type { CarrierConnection } from './connection.js';
import { decodeContext } from './context.js';
import { Flows } from './flows.js';
import type {
  CarrierHello,
  Closed,
  Flow,
  KeyMade,
  ObservedRequests as Observed,
  Pod,
  Question,
  Refused,
  Rule,
  RuleState,
  State,
} from './gen/carrier.js';
import { draftContent, HeldRules, matchKeyOf, openingOfFlow, type HeldRule } from './held-rules.js';
import { decodeAddress, malformed, type FromCarrierKind, type ToCarrierKind } from './protocol.js';
import { decodeObserved } from './observed.js';
import { replyTo, replyToFailure, type Reply } from './questions.js';
import { concernedBy, everything, recheckRules, type Concerned } from './recheck.js';
import type { DecisionView, Draft } from './rule.js';

/** Questions about pods that this agent has not enrolled yet wait this long. */
const unknownPodMsMax = 4_000;
const unknownPodQuestionsMax = 1_024;
/** A rule that the carrier asks about again this long after it got the rule: the carrier has evicted it. */
const evictedAfterMs = 1_000;
/** HTTP status of the response to CONNECT if this agent has no decision. */
const unavailable = 503;
const idsPerMessageMax = 4_096;
/** How long a pod's listeners stay open after it has left, for peers that open tunnels with an outdated view. */
const podGraceMs = 2_000;
/** A replaced carrier ends with its last connection, or after this. */
const replacedGraceMs = 24 * 3_600_000;

export interface SessionParts extends DecisionView {
  readonly podOf: (cookie: bigint) => LocalPod | undefined;
  requestVerdict(source: WorkloadUid, destination: WorkloadUid, port: number): void;
  rememberFailure(local: LocalPod, to: SocketAddress): void;
  limitReached(limit: string, times: number): void;
  record(event: MetricEvent): void;
  /** Requests passed on a connection. */
  observed(record: Opening, requests: ObservedRequests): void;
  template(opening: Opening): ConnectionTemplate;
  /** Calls back once the records so far are written. */
  afterRecords(call: () => void): void;
  onKeyMade(made: KeyMade): void;
  readonly log: Record<'info' | 'warn' | 'error', (fields: object, text: string) => void>;
}

/** `observes`: the carrier knows the field. */
const wireOf = (id: number, { pod, match, targets, bytes, observe }: Draft, observes: boolean): Rule => ({
  id,
  pod: Number(pod),
  match,
  targets,
  context: bytes,
  observe: observe && observes,
});

interface Waiting {
  readonly question: Question;
  readonly untilMs: number;
}

export class CarrierSession {
  readonly name: string;
  readonly hello: CarrierHello;
  readonly #parts: SessionParts;
  readonly #connection: Pick<CarrierConnection, 'send'>;
  readonly #rules: HeldRules;
  readonly #flows: Flows;
  readonly #acknowledgments: Acknowledgments;
  readonly #idPrefix: string;
  /** Of the carrier, by the clock of the wall. */
  readonly startedMs: number;
  /** Pods whose listeners are open in the carrier. */
  readonly pods = new Map<bigint, Pod>();
  /** Questions about pods that this agent has not enrolled yet, by flow. */
  readonly #waiting = new Map<number, Waiting>();
  readonly #calls = new Map<number, (cut: number) => void>();
  readonly #lists = new Map<number, { flows: Flow[]; done: (flows: readonly Flow[]) => void }>();
  #lastCall = 0;
  #isAuthorized = false;
  #leaseUntilMs = 0;
  isDraining: boolean;

  /** `former`: this process's former connection to the same carrier. */
  constructor(
    name: string,
    parts: SessionParts,
    connection: Pick<CarrierConnection, 'send'>,
    hello: CarrierHello,
    states: readonly State[],
    former?: CarrierSession,
  ) {
    this.name = name;
    this.hello = hello;
    this.isDraining = hello.isDraining;
    this.#parts = parts;
    this.#connection = connection;
    this.#rules = new HeldRules(hello.lastRule);
    this.#idPrefix = `${name}-${hello.startedMs.toString(36)}/`;
    this.startedMs = Date.now() - hello.ageMs;
    this.#flows = new Flows(
      {
        ruleOf: (id) => this.#rules.get(id),
        record: (event) => parts.record(event),
        template: (opening) => parts.template(opening),
        requestVerdict: (source, destination, port) => parts.requestVerdict(source, destination, port),
      },
      (flow) => this.#idOf(flow),
      former ? former.#flows : undefined,
    );
    this.#acknowledgments = new Acknowledgments({
      send: (message) => this.send(message),
      afterRecords: (call) => parts.afterRecords(call),
    });
    for (const state of states) for (const pod of state.pods) this.pods.set(BigInt(pod.cookie), pod);
    this.#adoptRules(states.flatMap(({ rules }) => rules));
    for (const state of states) for (const flow of state.flows) this.#flows.adopt(flow);
    this.#flows.onAdopted();
  }

  get flows(): number {
    return this.#flows.size;
  }

  /** The connection to the carrier has ended. Its flows are not this session's any more. */
  onEnded(): void {
    this.#flows.endRules();
  }

  /** The carrier has died: its flows get their records. */
  onDied(): void {
    this.#flows.lost();
  }

  /** Both are connections to one carrier. */
  isOf({ pid, startedMs }: CarrierHello): boolean {
    return this.hello.pid === pid && this.hello.startedMs === startedMs;
  }

  get leaseMs(): number {
    return Math.max(0, Math.round(this.#leaseUntilMs - performance.now()));
  }

  /** The ends of flows in a packet were recorded. */
  acknowledge(worker: number, batch: number): void {
    this.#acknowledgments.recorded(worker, batch);
  }

  /** Another agent takes over. */
  release(): void {
    this.#acknowledgments.hurry();
  }

  /** Of one flow, whatever agent records it: flows are counted anew by each carrier. */
  #idOf(flow: number): string {
    return `${this.#idPrefix}${flow}`;
  }

  send(message: ToCarrierKind, fds: readonly number[] = [], onSent?: () => void): void {
    this.#connection.send(message, fds, onSent);
  }

  #adoptRules(rules: readonly RuleState[]): void {
    const unreadable: number[] = [];
    for (const { rule, isMatched } of rules) {
      if (!rule) throw malformed('a state without its rule');
      const context = decodeContext(rule.context, rule.targets.length);
      if (context) this.#rules.adopt(rule, context, isMatched);
      else unreadable.push(rule.id);
    }
    if (unreadable.length === 0) return;
    this.#parts.log.warn(
      { rules: unreadable.length },
      'rules in the carrier cannot be read by this build: their connections are closed',
    );
    this.#revoke(unreadable, true, 'this agent cannot read the rule of the connection');
  }

  /** A message of the carrier. Throws WEFT_CARRIER_MESSAGE. */
  onMessage(message: FromCarrierKind): void {
    switch (message.$case) {
      case 'question':
        return this.#onQuestion(message.value);
      case 'canceled':
        return void this.#waiting.delete(message.value.flow);
      case 'records':
        return this.#flows.onRecords(message.value.records);
      case 'closed':
        return this.#onClosed(message.value);
      case 'refused':
        return this.#onRefused(message.value);
      case 'ruleEnded':
        this.#flows.endRule(message.value.rule);
        return this.#rules.remove(message.value.rule);
      case 'done': {
        const done = this.#calls.get(message.value.call);
        this.#calls.delete(message.value.call);
        return done?.(message.value.cut);
      }
      case 'limit':
        return this.#parts.limitReached(message.value.name, message.value.times);
      case 'flows': {
        const { call, flows, isLast } = message.value;
        const list = this.#lists.get(call);
        list?.flows.push(...flows);
        if (!isLast) return;
        this.#lists.delete(call);
        return list?.done(list.flows);
      }
      case 'keyMade':
        return this.#parts.onKeyMade(message.value);
      case 'log': {
        const { level, text } = message.value;
        return this.#parts.log[level === 'error' || level === 'warn' ? level : 'info'](
          { carrier: this.name },
          text,
        );
      }
      case 'hello':
      case 'state':
        throw malformed(`a second ${message.$case}`);
    }
  }

  /** Requests of flows of one rule. Throws WEFT_CARRIER_MESSAGE. */
  onObserved(message: Observed): void {
    const requests = decodeObserved(message);
    const { rule, target } = message;
    const held = this.#rules.get(rule);
    const opening = held && openingOfFlow(held, target, undefined);
    if (!opening) return;
    const { podOf, localPod, observed } = this.#parts;
    const workload = held.context.targets[target]?.workload;
    const destination = workload === undefined ? undefined : localPod(workload);
    // A flow may have begun before its namespace opted out.
    const sides = observedSides(opening, podOf(held.pod), destination);
    for (const record of recordsOfSides(opening, sides)) observed(record, requests);
  }

  #onQuestion(question: Question): void {
    const { log, limitReached } = this.#parts;
    const cookie = BigInt(question.pod);
    const local = this.#parts.podOf(cookie);
    if (!local && question.about?.$case !== 'failure') {
      if (this.#waiting.size >= unknownPodQuestionsMax) {
        limitReached('carrier-questions', 1);
        return this.#refuse(question.flow, unavailable);
      }
      this.#waiting.set(question.flow, { question, untilMs: performance.now() + unknownPodMsMax });
      return;
    }
    let reply: Reply | undefined;
    try {
      reply = this.#replyOf(local, question);
    } catch (error) {
      if (error instanceof WeftError && error.code === 'WEFT_CARRIER_MESSAGE') throw error;
      // A bug: only this connection is refused.
      log.error({ error: errorText(error) }, 'a question of the carrier could not be answered');
    }
    if (!reply) return this.#refuse(question.flow, unavailable);
    if (reply.kind === 'rule') return this.#permit(question.flow, reply.draft);
    if (reply.record) this.#flows.refused(reply.record);
    if (local && reply.remember) this.#parts.rememberFailure(local, reply.remember);
    this.#refuse(question.flow, reply.status);
  }

  #replyOf(local: LocalPod | undefined, question: Question): Reply | undefined {
    if (question.about?.$case !== 'failure') return local && replyTo(this.#parts, local, question);
    const failure = question.about.value;
    this.#flows.onFailure(failure.rule, failure.target);
    const rule = this.#rules.get(failure.rule);
    return rule && replyToFailure(this.#parts, local, rule, failure);
  }

  #permit(flow: number, draft: Draft): void {
    const nowMs = performance.now();
    const held = draft.match && this.#rules.matching(matchKeyOf(draft.pod, draft.match));
    const isSame = held?.matching?.content.equals(draftContent(draft)) === true;
    const isEvicted = held !== undefined && this.leaseMs > 0 && nowMs - held.sinceMs > evictedAfterMs;
    if (held && isSame && !isEvicted)
      return this.send({
        $case: 'answer',
        value: { flow, decision: { $case: 'ruleId', value: held.id } },
      });
    const { rule, former } = this.#rules.add(draft, nowMs);
    if (former) this.#revoke([former.id], false, 'a later decision replaces it');
    this.send({
      $case: 'answer',
      value: { flow, decision: { $case: 'rule', value: wireOf(rule.id, draft, this.hello.observes) } },
    });
  }

  #refuse(flow: number, status: number): void {
    this.send({ $case: 'answer', value: { flow, decision: { $case: 'refuse', value: { status } } } });
  }

  #onClosed(closed: Closed): void {
    this.#waiting.delete(closed.flow);
    this.#flows.onClosed(closed);
  }

  #onRefused({ pod, code, reason, remote, peer }: Refused): void {
    const local = this.#parts.podOf(BigInt(pod));
    if (!local) return;
    let identity: SpiffeId | undefined;
    try {
      identity = peer === '' ? undefined : parseSpiffeId(peer);
    } catch {
      // A peer may present any name.
    }
    this.#flows.refused(
      describeRefused(this.#parts, local, { code, reason, remote: decodeAddress(remote), peer: identity }),
    );
  }

  /** A pod was enrolled: questions that waited for it are answered. */
  onPod(cookie: bigint): void {
    for (const [flow, { question }] of [...this.#waiting]) {
      if (BigInt(question.pod) !== cookie) continue;
      this.#waiting.delete(flow);
      this.#onQuestion(question);
    }
  }

  /** The view or the pods have changed. */
  recheck(concerned: Concerned): void {
    const { forbidden, ended } = recheckRules(
      this.#parts,
      this.#rules.values(),
      this.#parts.podOf,
      concerned,
    );
    for (const [why, rules] of forbidden) this.#end(rules, true, why);
    this.#end(ended, false, 'the decision would be another one now');
  }

  onChange(change: MeshChange, isTouched: (uid: WorkloadUid) => boolean): void {
    this.recheck(concernedBy(this.#parts, this.#parts.podOf, change, isTouched));
  }

  #end(rules: readonly HeldRule[], cut: boolean, reason: string): void {
    for (const rule of rules) this.#rules.end(rule);
    this.#revoke(
      rules.map(({ id }) => id),
      cut,
      reason,
    );
  }

  #revoke(ids: readonly number[], cut: boolean, reason: string): void {
    for (let at = 0; at < ids.length; at += idsPerMessageMax) {
      const call = ++this.#lastCall;
      if (cut)
        this.#calls.set(call, (count) => {
          if (count > 0) this.#parts.log.info({ cut: count }, 'connections closed that policy now forbids');
        });
      this.send({
        $case: 'revoke',
        value: { call, rules: ids.slice(at, at + idsPerMessageMax), cut, reason },
      });
    }
  }

  /**
   * Rules admit connections for this long. The first call authorizes every rule of a former agent again. Call it only while the view is whole
   * and all pods that can be enrolled are.
   */
  renewLease(forMs: number): void {
    if (!this.#isAuthorized) this.recheck(everything);
    this.#isAuthorized = true;
    this.#leaseUntilMs = performance.now() + forMs;
    this.send({ $case: 'lease', value: { forMs } });
  }

  /** Call it regularly. */
  tick(): void {
    this.#flows.tick();
    const nowMs = performance.now();
    for (const [flow, { untilMs }] of [...this.#waiting]) {
      if (untilMs > nowMs) continue;
      this.#waiting.delete(flow);
      this.#refuse(flow, unavailable);
    }
  }

  /** The carrier takes no new connection. Its open ones stay under the policies. */
  drain(): void {
    this.isDraining = true;
    this.send({ $case: 'drain', value: { graceMs: replacedGraceMs } });
  }

  /** Ends pods that left while no agent was there. The carrier would hold their listeners and network namespaces. */
  keepPods(isKept: (cookie: bigint) => boolean): void {
    for (const cookie of [...this.pods.keys()]) if (!isKept(cookie)) this.endPod(cookie);
  }

  /** The pod has left the mesh. Its flows continue. */
  endPod(cookie: bigint): void {
    this.pods.delete(cookie);
    for (const rule of this.#rules.values()) if (rule.pod === cookie) this.#rules.end(rule);
    this.send({ $case: 'podGone', value: { cookie: Number(cookie), graceMs: podGraceMs } });
  }

  status(): CarrierStatus {
    const { build, pid } = this.hello;
    const { name, startedMs, flows, leaseMs, isDraining } = this;
    return { name, build, pid, startedMs, flows, leaseMs, isDraining };
  }

  /** Open flows, as `weft dump` shows them; without a response of the carrier, one object that says so. */
  async describe(): Promise<object[]> {
    const call = ++this.#lastCall;
    const flows = await new Promise<readonly Flow[] | undefined>((resolve) => {
      const timer = setTimeout(() => {
        this.#lists.delete(call);
        resolve(undefined);
      }, listMsMax);
      this.#lists.set(call, {
        flows: [],
        done: (all) => {
          clearTimeout(timer);
          resolve(all);
        },
      });
      this.send({ $case: 'listFlows', value: { call } });
    });
    if (!flows) {
      const seconds = listMsMax / 1000;
      return [{ missing: `connections of carrier ${this.name}: it did not list them within ${seconds} s` }];
    }
    const nowMs = Date.now();
    return flows.map(({ id, rule, target, client, ageMs, bytesSent, bytesReceived }) => {
      const held = this.#rules.get(rule);
      return {
        id: this.#idOf(id),
        pod: held?.context.pod,
        startedMs: nowMs - ageMs,
        ...(held && openingOfFlow(held, target, decodeAddress(client))),
        bytesSent,
        bytesReceived,
      };
    });
  }
}
