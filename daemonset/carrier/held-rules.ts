/** The rules of one carrier, as the agent knows them: those that it gave, and those that a former agent gave. */
import { formatSocketAddress, type SocketAddress } from '../../src/model/address.js';
import { toWaypoint } from '../../src/path/choose-path.js';
import type { Opening } from '../../src/telemetry/connection-record.js';
import type { RuleContext } from './context.js';
import { Rule, type Target } from './gen/carrier.js';
import type { Draft } from './rule.js';

export interface HeldRule {
  readonly id: number;
  readonly pod: bigint;
  readonly context: RuleContext;
  readonly targets: readonly Target[];
  /** Of a rule that matches later connections: its match, and all that it does. */
  readonly matching: { readonly match: string; readonly content: Buffer } | undefined;
  readonly sinceMs: number;
  /** It matches nothing any more. Its flows continue. */
  isEnded: boolean;
}

const partOf = (rule: Partial<Rule>): Buffer => Buffer.from(Rule.encode(Rule.fromPartial(rule)).finish());

/** What a rule does, to compare two decisions: everything but its id. */
const contentOf = (targets: readonly Target[], bytes: Buffer, observe: boolean): Buffer =>
  Buffer.concat([partOf({ targets: [...targets], observe }), bytes]);

export const matchKeyOf = (pod: bigint, match: NonNullable<Rule['match']>): string =>
  `${pod} ${partOf({ match }).toString('base64')}`;

export const draftContent = ({ targets, bytes, observe }: Draft): Buffer =>
  contentOf(targets, bytes, observe);

/** The part of a flow's record that is known before it ends. */
export function openingOfFlow(
  { context }: HeldRule,
  target: number,
  client: SocketAddress | undefined,
): Opening | undefined {
  const { direction, source, clientIp, targets } = context;
  const chosen = targets[target];
  if (!chosen) return undefined;
  const address =
    source.address !== ''
      ? source.address
      : client
        ? formatSocketAddress({ ip: clientIp === '' ? client.ip : clientIp, port: client.port })
        : 'unknown';
  const { opening, endpoint } = chosen;
  // The context has no field for it, so that agents of both versions read it.
  const waypoint = opening.why === toWaypoint ? { waypoint: endpoint } : {};
  return { direction, ...opening, ...waypoint, source: { ...source, address } };
}

export class HeldRules {
  readonly #rules = new Map<number, HeldRule>();
  readonly #byMatch = new Map<string, HeldRule>();
  #last: number;

  /** `last`: the highest id that the carrier has seen. */
  constructor(last: number) {
    this.#last = last;
  }

  get size(): number {
    return this.#rules.size;
  }

  values(): Iterable<HeldRule> {
    return this.#rules.values();
  }

  get(id: number): HeldRule | undefined {
    return this.#rules.get(id);
  }

  matching(key: string): HeldRule | undefined {
    return this.#byMatch.get(key);
  }

  /**
   * A new rule, with an id of its own. `former`: the rule that had the same match, which ends. The carrier may not take the new rule, so the
   * former one has to be revoked there.
   */
  add(
    { pod, match, targets, context, bytes, observe }: Draft,
    nowMs: number,
  ): { readonly rule: HeldRule; readonly former: HeldRule | undefined } {
    const key = match && matchKeyOf(pod, match);
    const former = key === undefined ? undefined : this.#byMatch.get(key);
    if (former) this.end(former);
    const rule = this.#hold({
      id: ++this.#last,
      pod,
      context,
      targets,
      matching: key === undefined ? undefined : { match: key, content: contentOf(targets, bytes, observe) },
      sinceMs: nowMs,
      isEnded: key === undefined,
    });
    return { rule, former };
  }

  /** A rule that the carrier had already. `isMatched`: it matches later connections there. */
  adopt(rule: Rule, context: RuleContext, isMatched: boolean): HeldRule {
    const { id, match, targets, observe } = rule;
    this.#last = Math.max(this.#last, id);
    const pod = BigInt(rule.pod);
    return this.#hold({
      id,
      pod,
      context,
      targets,
      matching: match && {
        match: matchKeyOf(pod, match),
        content: contentOf(targets, rule.context, observe),
      },
      sinceMs: 0,
      isEnded: !isMatched,
    });
  }

  #hold(rule: HeldRule): HeldRule {
    this.#rules.set(rule.id, rule);
    const match = rule.matching?.match;
    if (match !== undefined && !rule.isEnded) this.#byMatch.set(match, rule);
    return rule;
  }

  /** The rule matches nothing any more. */
  end(rule: HeldRule): void {
    rule.isEnded = true;
    const match = rule.matching?.match;
    if (match !== undefined && this.#byMatch.get(match) === rule) this.#byMatch.delete(match);
  }

  /** The rule's last flow has ended. */
  remove(id: number): void {
    const rule = this.#rules.get(id);
    if (!rule) return;
    this.end(rule);
    this.#rules.delete(id);
  }
}
