/**
 * From a decision to a rule. Pure. A rule matches later connections with the same attributes only if the decision for them is the same,
 * whatever their port, time and random numbers: what is not, is decided each time.
 */
import { formatSocketAddress, type SocketAddress } from '../../src/model/address.js';
import type { MeshView } from '../../src/state/store.js';
import { openingOf, type Opening } from '../../src/telemetry/connection-record.js';
import { planInboundPlain, type InboundPlan, type Refusal } from '../../src/path/choose-path.js';
import {
  clientShown,
  clientStated,
  describeInbound,
  describeTunnel,
  planTunnel,
} from '../proxy/inbound-decision.js';
import {
  alternativesOf,
  baggageOf,
  describeOutbound,
  hasOthers,
  noAddress,
  ownClient,
  planCaptured,
  targetOf,
  type Captured,
  type OpenPlan,
  type OutboundView,
} from '../proxy/outbound-decision.js';
import { observedSides } from '../proxy/observed-requests.js';
import type { LocalPod } from '../worker-ipc.js';
import {
  contextBytesMax,
  encodeContext,
  type Check,
  type RuleAbout,
  type RuleContext,
  type TargetContext,
} from './context.js';
import type { Rule, Target } from './gen/carrier.js';
import { encodeAddress, encodeIp } from './protocol.js';

/** Alternatives of one rule. A Service with more endpoints, of which the kernel picked none, is decided each time. */
const targetsMax = 8;
const auditedMax = 16;

/** A rule that has no id yet. */
export interface Draft {
  readonly pod: bigint;
  readonly match: Rule['match'];
  readonly targets: readonly Target[];
  readonly context: RuleContext;
  readonly bytes: Buffer;
  /** The requests of its flows are counted. */
  readonly observe: boolean;
}

export type Decision =
  | { readonly kind: 'rule'; readonly draft: Draft }
  /** `record` is what the refusal is logged as. */
  | { readonly kind: 'refuse'; readonly status: number; readonly record: Opening; readonly plan: Refusal };

export interface DecisionView extends OutboundView {
  readonly view: MeshView;
}

export type Ask<K extends RuleAbout['kind']> = Extract<RuleAbout, { kind: K }>;

const isExpressible = (plan: ReturnType<typeof planCaptured>): plan is OpenPlan =>
  plan.kind === 'plain' ||
  (plan.kind === 'hbone' && !plan.viaWaypoint) ||
  (plan.kind === 'local' && plan.verdict.audited.length === 0);

/** Decides about a captured connection. */
export function decideCaptured(context: DecisionView, local: LocalPod, about: Ask<'captured'>): Decision {
  const { dialed, picked } = about;
  const client = ownClient(local.pod, about.client, dialed);
  if (!client) {
    const record = describeOutbound(context, local, undefined, dialed, noAddress);
    return { kind: 'refuse', status: noAddress.status, record, plan: noAddress };
  }
  const captured: Captured = { local, client, dialed, picked, avoid: new Set(about.avoid) };
  const isOwn = client.ip === about.client.ip;
  if (isOwn && about.avoid.length === 0) {
    const { plans, isWhole } = alternativesOf(context, captured, targetsMax);
    // The flows of one rule are authorized together, so targets that this node authorizes have rules of their own.
    const open = plans.filter(isExpressible);
    const isOne = open.length === 1 || open.every(({ kind }) => kind !== 'local');
    if (isWhole && open.length === plans.length && isOne) {
      const match: Rule['match'] = {
        $case: 'captured',
        value: {
          dialed: encodeAddress(dialed),
          picked: picked && encodeAddress(picked),
          clientIp: encodeIp(about.client.ip),
        },
      };
      const draft = outboundDraft(
        context,
        captured,
        { ...about, client: { ...about.client, port: 0 } },
        open,
        match,
      );
      if (draft.bytes.length <= contextBytesMax) return { kind: 'rule', draft };
    }
  }
  const plan = planCaptured(context, captured);
  if (plan.kind === 'refuse') {
    const record = describeOutbound(context, local, client, dialed, plan);
    return { kind: 'refuse', status: plan.status, record, plan };
  }
  return { kind: 'rule', draft: draftOfPlan(context, captured, about, plan) };
}

/** The rule of one connection alone. */
export const draftOfPlan = (
  context: DecisionView,
  captured: Captured,
  about: Ask<'captured'>,
  plan: OpenPlan,
): Draft => outboundDraft(context, captured, about, [plan], undefined);

function outboundDraft(
  context: DecisionView,
  captured: Captured,
  about: Ask<'captured'>,
  plans: readonly OpenPlan[],
  match: Rule['match'],
): Draft {
  const { local, client } = captured;
  const [first] = plans;
  const check: Check | undefined =
    first?.kind === 'local'
      ? { uid: first.workload.uid, attributes: tcpOf(first.attributes), peer: first.attributes.identity }
      : undefined;
  const describe = (plan: OpenPlan): Opening =>
    describeOutbound(context, local, client, captured.dialed, plan);
  const targets = plans.map((plan): TargetContext => ({
    opening: withoutSource(describe(plan)),
    endpoint: formatSocketAddress(targetOf(plan)),
    hasOthers: hasOthers(plan),
    workload: plan.workload?.uid,
  }));
  const isOwn = client.ip === about.client.ip;
  return draftOf(
    local,
    match,
    plans.map((plan) => outboundTarget(context, captured, plan, isOwn)),
    {
      pod: local.pod.uid,
      about,
      check,
      direction: 'outbound',
      source: sourceOf(first ? describe(first) : emptyOpening),
      clientIp: isOwn ? '' : client.ip,
      targets,
    },
    plans.some(({ kind, why }, i) => {
      const uid = kind === 'local' ? targets[i]?.workload : undefined;
      const destination = uid === undefined ? undefined : context.localPod(uid);
      return observedSides({ direction: 'outbound', path: kind, why }, local, destination).length > 0;
    }),
  );
}

function outboundTarget(
  context: DecisionView,
  { local, client }: Captured,
  plan: OpenPlan,
  isOwn: boolean,
): Target {
  const from = Number(local.netns.cookie);
  switch (plan.kind) {
    case 'plain':
      return direct(from, plan.target, false);
    case 'local':
      // A destination that has left since has no pod: the carrier then reports that it is gone.
      return direct(
        Number(context.localPod(plan.workload.uid)?.netns.cookie ?? 0n),
        plan.target,
        true,
        isOwn ? undefined : client,
      );
    case 'hbone':
      return {
        kind: {
          $case: 'tunnel',
          value: {
            next: encodeAddress(plan.next),
            authority: formatSocketAddress(plan.authority),
            expected: plan.expected,
            baggage: baggageOf(local),
            spread: plan.viaWaypoint,
          },
        },
      };
  }
}

const direct = (from: number, to: SocketAddress, showClient: boolean, client?: SocketAddress): Target => ({
  kind: {
    $case: 'direct',
    value: { from, to: encodeAddress(to), showClient, client: client && encodeAddress(client) },
  },
});

/** Decides about a peer's CONNECT request. */
export function decideTunnel(context: DecisionView, local: LocalPod, about: Ask<'tunnel'>): Decision {
  const plan = planTunnel(context.view, local, about);
  const opening = describeTunnel(context, local, about, plan);
  if (plan.kind === 'refuse') return { kind: 'refuse', status: plan.status, record: opening, plan };
  const match: Rule['match'] = isRepeatable(plan)
    ? {
        $case: 'tunnel',
        value: {
          peer: about.peer,
          remoteIp: encodeIp(about.remote.ip),
          authority: encodeAddress(about.authority),
        },
      }
    : undefined;
  const repeated: Ask<'tunnel'> = {
    ...about,
    remote: { ...about.remote, port: 0 },
    forwarded: undefined,
    sourceIdentity: undefined,
  };
  const stated = clientStated(plan, about);
  const check = { uid: local.pod.uid, attributes: tcpOf(plan.attributes), peer: about.peer };
  return {
    kind: 'rule',
    draft: inboundDraft(local, match, match ? repeated : about, check, opening, {
      to: plan.target,
      client: stated && clientShown(plan, about),
    }),
  };
}

/** Decides about a plaintext connection to a pod. */
export function decidePlain(context: DecisionView, local: LocalPod, about: Ask<'plain'>): Decision {
  const { remote } = about;
  const plan = planInboundPlain(context.view, { pod: local.pod, local: about.local, remote });
  const opening = describeInbound(context, local, 'inbound-plain', remote, about.local, undefined, plan);
  if (plan.kind === 'refuse') return { kind: 'refuse', status: plan.status, record: opening, plan };
  const match: Rule['match'] = isRepeatable(plan)
    ? { $case: 'plain', value: { remoteIp: encodeIp(remote.ip), local: encodeAddress(about.local) } }
    : undefined;
  const check = { uid: local.pod.uid, attributes: tcpOf(plan.attributes), peer: undefined };
  const repeated = match ? { ...about, remote: { ...remote, port: 0 } } : about;
  return {
    kind: 'rule',
    draft: inboundDraft(local, match, repeated, check, opening, { to: plan.target, client: undefined }),
  };
}

type Deliver = Exclude<InboundPlan, Refusal>;

const isRepeatable = (plan: Deliver): boolean =>
  plan.verdict.audited.length === 0 && plan.attributes.http === undefined;

function inboundDraft(
  local: LocalPod,
  match: Rule['match'],
  about: RuleAbout,
  check: Check,
  opening: Opening,
  target: { readonly to: SocketAddress; readonly client: SocketAddress | undefined },
): Draft {
  const source = sourceOf(opening);
  const { client } = target;
  const targets = [direct(Number(local.netns.cookie), target.to, true, client)];
  const context: RuleContext = {
    pod: local.pod.uid,
    about,
    check,
    direction: 'inbound',
    source: client ? { ...source, address: formatSocketAddress(client) } : source,
    clientIp: '',
    targets: [
      {
        opening: withoutSource(opening),
        endpoint: formatSocketAddress(target.to),
        hasOthers: false,
        workload: local.pod.uid,
      },
    ],
  };
  return draftOf(local, match, targets, context, observedSides(opening, local, undefined).length > 0);
}

function draftOf(
  local: LocalPod,
  match: Rule['match'],
  targets: readonly Target[],
  context: RuleContext,
  observe: boolean,
): Draft {
  return { pod: local.netns.cookie, match, targets, context, bytes: encodeContext(context), observe };
}

/** Decides what a rule was decided by again. */
export function decideAgain(context: DecisionView, local: LocalPod, about: RuleAbout): Decision {
  switch (about.kind) {
    case 'captured':
      return decideCaptured(context, local, about);
    case 'tunnel':
      return decideTunnel(context, local, about);
    case 'plain':
      return decidePlain(context, local, about);
  }
}

/** The attributes as JSON keeps them: an absent field, never an undefined one. */
const tcpOf = ({
  identity,
  sourceIp,
  destinationIp,
  destinationPort,
  http,
}: Deliver['attributes']): Check['attributes'] => ({
  identity,
  sourceIp,
  destinationIp,
  destinationPort,
  ...(http === 'authorized-by-waypoint' ? { http } : {}),
});

const emptyOpening = openingOf({
  direction: 'outbound',
  path: 'plain',
  why: '',
  source: { address: undefined },
  destination: { address: undefined },
});
const sourceOf = ({ source }: Opening): Opening['source'] => ({ ...source, address: '' });
function withoutSource(opening: Opening): TargetContext['opening'] {
  const { path, why, destination, dialled, service, policy, rule, audited } = opening;
  return {
    path,
    why,
    destination,
    ...(dialled === undefined ? {} : { dialled }),
    ...(service === undefined ? {} : { service }),
    ...(policy === undefined ? {} : { policy }),
    ...(rule === undefined ? {} : { rule }),
    // The context has a limit, and an audited connection is decided each time.
    ...(audited === undefined ? {} : { audited: audited.slice(0, auditedMax) }),
  };
}
