/** Answers the carrier's questions with the decisions that the TypeScript relay makes. */
import { errorText } from '../../src/base/errors.js';
import { forwardedFor, forwardedOf, sourceIdentityOf } from '../../src/hbone/headers.js';
import type { SocketAddress } from '../../src/model/address.js';
import { parseSpiffeId } from '../../src/model/identity.js';
import type { Opening } from '../../src/telemetry/connection-record.js';
import {
  afterFailure,
  describeOutbound,
  noRecord,
  ownClient,
  planCaptured,
} from '../proxy/outbound-decision.js';
import type { LocalPod } from '../worker-ipc.js';
import { contextBytesMax, type RuleAbout } from './context.js';
import { errorOf } from './failure.js';
import type { Failure, Question } from './gen/carrier.js';
import { openingOfFlow, type HeldRule } from './held-rules.js';
import { decodeAddress, malformed, requireAddress } from './protocol.js';
import { decideAgain, draftOfPlan, type DecisionView, type Draft } from './rule.js';

export type Reply =
  | { readonly kind: 'rule'; readonly draft: Draft }
  | {
      readonly kind: 'refuse';
      readonly status: number;
      readonly record: Opening | undefined;
      /** connect() of the pod to this destination is refused for a short time. */
      readonly remember?: SocketAddress;
    };

const unavailable = 503;

/** What a question asks about; undefined if the kernel has no record of the connection. */
function aboutOf(question: Question): RuleAbout | undefined {
  const about = question.about;
  switch (about?.$case) {
    case 'captured': {
      const dialed = decodeAddress(about.value.dialed);
      return (
        dialed && {
          kind: 'captured',
          client: requireAddress(about.value.client),
          dialed,
          picked: decodeAddress(about.value.picked),
          avoid: [],
        }
      );
    }
    case 'tunnel': {
      const { peer, remote, local, authority, forwarded, sourceIdentity } = about.value;
      // Kept as parsed: a peer must not fill the rule's context.
      const stated = forwardedFor(forwarded === '' ? undefined : forwarded);
      return {
        kind: 'tunnel',
        peer: parseSpiffeId(peer),
        remote: requireAddress(remote),
        local: requireAddress(local).ip,
        authority: requireAddress(authority),
        forwarded: stated && forwardedOf(stated),
        sourceIdentity: sourceIdentityOf(sourceIdentity === '' ? undefined : sourceIdentity),
      };
    }
    case 'plain':
      return {
        kind: 'plain',
        remote: requireAddress(about.value.remote),
        local: requireAddress(about.value.local),
      };
    default:
      throw malformed('a question about nothing');
  }
}

/** Answers a question about a new connection. Throws WEFT_CARRIER_MESSAGE, and what parsers throw. */
export function replyTo(context: DecisionView, local: LocalPod, question: Question): Reply {
  const about = aboutOf(question);
  if (!about)
    return {
      kind: 'refuse',
      status: unavailable,
      record: describeOutbound(context, local, undefined, undefined, noRecord),
    };
  const decision = decideAgain(context, local, about);
  if (decision.kind === 'refuse') {
    const { status, record } = decision;
    // The pod itself lacks an address: its next connection may be to another family.
    const isRemembered = about.kind === 'captured' && decision.plan.code !== 'WEFT_SOURCE_ADDRESS';
    return { kind: 'refuse', status, record, ...(isRemembered ? { remember: about.dialed } : {}) };
  }
  return withinLimit(decision.draft);
}

function withinLimit(draft: Draft): Reply {
  if (draft.bytes.length <= contextBytesMax) return { kind: 'rule', draft };
  const [target] = draft.context.targets;
  const record: Opening | undefined = target && {
    ...target.opening,
    direction: draft.context.direction,
    path: 'refused',
    source: draft.context.source,
    code: 'WEFT_RULE_SIZE',
    why: `the names in its rule are longer than ${contextBytesMax} bytes: shorten the names of its workloads and policies`,
  };
  return { kind: 'refuse', status: unavailable, record };
}

/**
 * Answers a failure to reach a rule's target: another endpoint if one may serve the connection, else a refusal. `local` is undefined if the
 * pod has left.
 */
export function replyToFailure(
  context: DecisionView,
  local: LocalPod | undefined,
  rule: HeldRule,
  failure: Failure,
): Reply {
  const { about } = rule.context;
  const client = decodeAddress(failure.client);
  const opening = openingOfFlow(rule, failure.target, client);
  const target = rule.context.targets[failure.target];
  const error = errorOf(failure, rule.targets[failure.target], rule.context.source.identity);
  const refuse = (remember?: SocketAddress): Reply => ({
    kind: 'refuse',
    status: unavailable,
    record: opening && { ...opening, code: error.code, why: errorText(error) },
    ...(remember ? { remember } : {}),
  });
  if (about.kind !== 'captured' || !local || !target) return refuse();
  const asked = { ...about, client: client ?? about.client };
  const own = ownClient(local.pod, asked.client, asked.dialed);
  if (!own) return refuse();
  const avoid = new Set(about.avoid);
  const captured = { local, client: own, dialed: about.dialed, picked: about.picked, avoid };
  const { other, isRemembered } = afterFailure(
    { target: target.endpoint, hasOthers: target.hasOthers },
    error,
    avoid,
    () => planCaptured(context, captured),
  );
  if (!other) return refuse(isRemembered ? about.dialed : undefined);
  return withinLimit(draftOfPlan(context, captured, { ...asked, avoid: [...avoid] }, other));
}
