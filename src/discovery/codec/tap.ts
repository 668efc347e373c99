/**
 * Codec of taps and their events: the control plane says what readers want to see, programs send it, replicas of the control plane exchange it.
 * An event that cannot be decoded is left out.
 */
import { edgePaths } from '../../model/edge.js';
import { edgeReporters, type EdgeReporter } from '../../model/edge-reporter.js';
import { parseSpiffeId } from '../../model/identity.js';
import type { TapEvent, TapParty } from '../../model/mesh-snapshot.js';
import {
  tapKinds,
  tapOutcomes,
  tapProblem,
  type TapFilter,
  type TappedEvent,
  type TapQuery,
} from '../../model/tap.js';
import type * as pb from '../gen/weft.js';
import { attempt, oneOf } from './decoding.js';

export const tapEventLimits = {
  textChars: 512,
  /** Of paths and reasons. */
  longTextChars: 1_024,
  auditedMax: 16,
  /** Events of one message. */
  eventsPerReport: 512,
  /** A program reports each second, and sees fewer events in it. A reader believes no more. */
  lostPerReportMax: 1_000_000,
  /** Taps that a program evaluates. */
  tapsMax: 128,
} as const;

export const encodeTapFilter = ({ namespace = '', ...filter }: TapFilter): pb.TapFilter => ({
  namespace,
  workloads: filter.workloads ?? [],
  identities: filter.identities ?? [],
  requestPaths: filter.requestPaths ?? [],
  ways: filter.ways ?? [],
  statuses: filter.statuses ?? [],
  policies: filter.policies ?? [],
  outcomes: filter.outcomes ?? [],
  methods: filter.methods ?? [],
  kinds: filter.kinds ?? [],
});

/** Undefined: it is not of this version's form, and nothing may be sent for it. Never throws. */
export function decodeTapQuery(filter: pb.TapFilter | undefined, sampleOf: number): TapQuery | undefined {
  if (!filter) return undefined;
  const { namespace, ...lists } = filter;
  const query = {
    filter: { ...lists, ...(namespace === '' ? {} : { namespace }) } as TapFilter,
    sampleOf,
  };
  return tapProblem(query) === undefined ? query : undefined;
}

/** Long texts are cut: an event is for people. */
const cut = (text: string, max: number): string => (text.length <= max ? text : `${text.slice(0, max - 1)}…`);
const short = (text: string): string => cut(text, tapEventLimits.textChars);
const long = (text: string): string => cut(text, tapEventLimits.longTextChars);

const encodeParty = ({ namespace, workload, pod, identity = '' }: TapParty): pb.TapParty => ({
  namespace: short(namespace),
  workload: short(workload),
  pod: short(pod),
  identity,
});

export const encodeTapEvent = (event: TapEvent): pb.TapEvent => ({
  seenByKind: event.seenBy ?? '',
  eventKind: event.kind,
  timeMs: Math.max(0, Math.round(event.timeMs)),
  id: short(event.id),
  source: encodeParty(event.source),
  destination: encodeParty(event.destination),
  service: short(event.destination.service ?? ''),
  port: event.destination.port,
  pathKind: event.path,
  outcomeKind: event.outcome,
  request: event.request && {
    method: short(event.request.method),
    path: long(event.request.path),
    status: event.request.status,
  },
  ended: (event.request ?? event).durationMs !== undefined,
  durationMs: (event.request ?? event).durationMs ?? 0,
  bytesSent: event.bytesSent ?? 0,
  bytesReceived: event.bytesReceived ?? 0,
  policy: short(event.policy ?? ''),
  audited: (event.audited ?? []).slice(0, tapEventLimits.auditedMax).map(short),
  code: short(event.code ?? ''),
  why: long(event.why ?? ''),
  reporter: event.reporter,
});

export const encodeTappedEvent = ({ taps, event }: TappedEvent): pb.TappedEvent => ({
  taps: [...taps],
  event: encodeTapEvent(event),
});

/** Control characters are not passed on: commands print these texts. */
function text(value: string, field: string, max: number = tapEventLimits.textChars): string {
  if (value.length > max) throw new Error(`${field} has more than ${max} characters`);
  return value.replace(/[\u0000-\u001f\u007f-\u009f]/g, '?');
}
const longText = (value: string, field: string): string => text(value, field, tapEventLimits.longTextChars);

function decodeParty(party: pb.TapParty | undefined, field: string): TapParty {
  if (!party) throw new Error(`${field} is missing`);
  const { namespace, workload, pod, identity } = party;
  return {
    namespace: text(namespace, `${field}.namespace`),
    workload: text(workload, `${field}.workload`),
    pod: text(pod, `${field}.pod`),
    ...(identity === '' ? {} : { identity: parseSpiffeId(text(identity, `${field}.identity`)) }),
  };
}

const finite = (value: number, field: string): number => {
  if (!Number.isFinite(value) || value < 0) throw new Error(`${field} is no number`);
  return value;
};

function readRequest(request: pb.TapRequest, durationMs: number): Required<TapEvent>['request'] {
  const { method, path, status } = request;
  if (status > 999) throw new Error('status is out of range');
  const [withoutQuery = ''] = longText(path, 'request.path').split('?');
  return { method: text(method, 'request.method'), path: withoutQuery, status, durationMs };
}

/** Throws if the event is not of this version's form. */
function readEvent(event: pb.TapEvent): TapEvent & { readonly seenBy: EdgeReporter } {
  const { source, destination, service, port, request, policy, audited, code, why } = event;
  if (port > 65_535) throw new Error(`port ${port} is out of range`);
  if (audited.length > tapEventLimits.auditedMax) throw new Error('too many policies in audit mode');
  const kind = oneOf(tapKinds, event.eventKind, 'event');
  const durationMs = finite(event.durationMs, 'duration');
  if ((kind === 'request') !== (request !== undefined)) throw new Error('only requests have a request');
  return {
    kind,
    seenBy: oneOf(edgeReporters, event.seenByKind, 'reporter'),
    timeMs: event.timeMs,
    id: text(event.id, 'id'),
    reporter: text(event.reporter, 'reporter'),
    source: decodeParty(source, 'source'),
    destination: {
      ...decodeParty(destination, 'destination'),
      ...(service === '' ? {} : { service: text(service, 'service') }),
      port,
    },
    path: oneOf(edgePaths, event.pathKind, 'path'),
    outcome: oneOf(tapOutcomes, event.outcomeKind, 'outcome'),
    ...(request ? { request: readRequest(request, durationMs) } : {}),
    ...(event.ended && !request ? { durationMs } : {}),
    ...(event.ended ? { bytesSent: event.bytesSent, bytesReceived: event.bytesReceived } : {}),
    ...(policy === '' ? {} : { policy: text(policy, 'policy') }),
    ...(audited.length === 0 ? {} : { audited: audited.map((one) => text(one, 'audited')) }),
    ...(code === '' ? {} : { code: text(code, 'code') }),
    ...(why === '' ? {} : { why: longText(why, 'why') }),
  };
}

/** Undefined: the event is not of this version's form. Never throws. */
export function decodeTapEvent(
  event: pb.TapEvent | undefined,
): (TapEvent & { readonly seenBy: EdgeReporter }) | undefined {
  const decoded = attempt(() => {
    if (!event) throw new Error('event is missing');
    return readEvent(event);
  });
  return decoded.ok ? decoded.value : undefined;
}
