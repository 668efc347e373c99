/**
 * What the agent keeps with each rule in the carrier: all that it needs to authorize, decide again and log the rule's flows, also after a
 * restart. Decoding is strict: a rule whose context is not exactly of this version's form is revoked and its flows are cut.
 */
import { isIp, parseSocketAddress, type IpAddress, type SocketAddress } from '../../src/model/address.js';
import { parseSpiffeId, type SpiffeId } from '../../src/model/identity.js';
import type { WorkloadUid } from '../../src/model/workload.js';
import type { ConnectionAttributes } from '../../src/policy/authorize.js';
import type { Opening, Party, Path } from '../../src/telemetry/connection-record.js';

const version = 1;
/** Limit of carrier.proto. */
export const contextBytesMax = 8 * 1024;

export type RuleAbout =
  | {
      readonly kind: 'captured';
      readonly client: SocketAddress;
      readonly dialed: SocketAddress;
      readonly picked: SocketAddress | undefined;
      /** Endpoints (address:port) that the connection could not reach. */
      readonly avoid: readonly string[];
    }
  | {
      readonly kind: 'tunnel';
      readonly peer: SpiffeId;
      readonly remote: SocketAddress;
      readonly local: IpAddress;
      readonly authority: SocketAddress;
      readonly forwarded: string | undefined;
      readonly sourceIdentity: string | undefined;
    }
  | { readonly kind: 'plain'; readonly remote: SocketAddress; readonly local: SocketAddress };

/** One target of the rule. */
export interface TargetContext {
  /** What the target's connections are logged as, without the source. */
  readonly opening: Omit<Opening, 'source' | 'direction'>;
  /** The endpoint, for `avoid`. */
  readonly endpoint: string;
  /** Another endpoint may serve a connection that this one does not. */
  readonly hasOthers: boolean;
  /** The destination's workload, if it is known. */
  readonly workload: WorkloadUid | undefined;
}

/** How the rule's flows are authorized again after a change of policy. Absent: the destination's node authorizes them. */
export interface Check {
  readonly uid: WorkloadUid;
  readonly attributes: ConnectionAttributes & { readonly http?: 'authorized-by-waypoint' };
  /** The identity that presented the certificate. */
  readonly peer: SpiffeId | undefined;
}

export interface RuleContext {
  readonly pod: WorkloadUid;
  readonly about: RuleAbout;
  readonly check: Check | undefined;
  readonly direction: Opening['direction'];
  /** `address`: of the client, if it is not the flow's own (a waypoint states it); else empty. */
  readonly source: Party;
  /** The client's IP in records if it is not the flow's own. Empty: as the flow says. */
  readonly clientIp: IpAddress | '';
  readonly targets: readonly TargetContext[];
}

export const encodeContext = (context: RuleContext): Buffer =>
  Buffer.from(JSON.stringify({ version, ...context }));

/** Undefined if the bytes are not a context of this version. Never throws. */
export function decodeContext(bytes: Uint8Array, targets: number): RuleContext | undefined {
  try {
    if (bytes.length > contextBytesMax) return undefined;
    const read = contextOf(JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)));
    return read.targets.length === targets ? read : undefined;
  } catch {
    return undefined;
  }
}

type Fields = Readonly<Record<string, unknown>>;

class Invalid extends Error {}

const fail = (): never => {
  throw new Invalid();
};

/** An object that has no fields but these. */
function fields(value: unknown, ...names: string[]): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return fail();
  for (const name of Object.keys(value)) if (!names.includes(name)) return fail();
  return value as Fields;
}
const text = (value: unknown): string => (typeof value === 'string' ? value : fail());
const optionalText = (value: unknown): string | undefined => (value === undefined ? undefined : text(value));
const flag = (value: unknown): boolean => (typeof value === 'boolean' ? value : fail());
const list = <T>(value: unknown, item: (value: unknown) => T): T[] =>
  Array.isArray(value) ? value.map(item) : fail();
const ip = (value: unknown): IpAddress => (isIp(text(value)) ? (value as IpAddress) : fail());
const port = (value: unknown): number =>
  typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 65_535 ? value : fail();
const spiffeId = (value: unknown): SpiffeId => parseSpiffeId(text(value));
const optional = <T>(value: unknown, parse: (value: unknown) => T): T | undefined =>
  value === undefined ? undefined : parse(value);
function address(value: unknown): SocketAddress {
  const read = fields(value, 'ip', 'port');
  return { ip: ip(read.ip), port: port(read.port) };
}
const endpoint = (value: unknown): string => {
  parseSocketAddress(text(value));
  return value as string;
};

function aboutOf(value: unknown): RuleAbout {
  const { kind } = value as Fields;
  if (kind === 'captured') {
    const read = fields(value, 'kind', 'client', 'dialed', 'picked', 'avoid');
    return {
      kind,
      client: address(read.client),
      dialed: address(read.dialed),
      picked: optional(read.picked, address),
      avoid: list(read.avoid, endpoint),
    };
  }
  if (kind === 'tunnel') {
    const read = fields(value, 'kind', 'peer', 'remote', 'local', 'authority', 'forwarded', 'sourceIdentity');
    return {
      kind,
      peer: spiffeId(read.peer),
      remote: address(read.remote),
      local: ip(read.local),
      authority: address(read.authority),
      forwarded: optionalText(read.forwarded),
      sourceIdentity: optionalText(read.sourceIdentity),
    };
  }
  if (kind !== 'plain') return fail();
  const read = fields(value, 'kind', 'remote', 'local');
  return { kind, remote: address(read.remote), local: address(read.local) };
}

function checkOf(value: unknown): Check {
  const read = fields(value, 'uid', 'attributes', 'peer');
  const attributes = fields(
    read.attributes,
    'identity',
    'sourceIp',
    'destinationIp',
    'destinationPort',
    'http',
  );
  const { http } = attributes;
  if (http !== undefined && http !== 'authorized-by-waypoint') return fail();
  return {
    uid: text(read.uid) as WorkloadUid,
    attributes: {
      identity: optional(attributes.identity, spiffeId),
      sourceIp: ip(attributes.sourceIp),
      destinationIp: ip(attributes.destinationIp),
      destinationPort: port(attributes.destinationPort),
      ...(http === undefined ? {} : { http }),
    },
    peer: optional(read.peer, spiffeId),
  };
}

const partyNames = [
  'address',
  'identity',
  'namespace',
  'workload',
  'canonicalName',
  'canonicalRevision',
  'pod',
] as const;
function partyOf(value: unknown): Party {
  const read = fields(value, ...partyNames);
  for (const name of partyNames) text(read[name]);
  return read as unknown as Party;
}

const paths: readonly Path[] = ['hbone', 'local', 'plain', 'inbound-hbone', 'inbound-plain'];
function targetOf(value: unknown): TargetContext {
  const read = fields(value, 'opening', 'endpoint', 'hasOthers', 'workload');
  const opening = fields(
    read.opening,
    'path',
    'why',
    'destination',
    'dialled',
    'service',
    'policy',
    'rule',
    'audited',
  );
  partyOf(opening.destination);
  for (const name of ['path', 'why']) text(opening[name]);
  if (!paths.includes(opening.path as Path)) return fail();
  for (const name of ['dialled', 'service', 'policy']) optionalText(opening[name]);
  if (opening.rule !== undefined && !Number.isInteger(opening.rule)) return fail();
  optional(opening.audited, (audited) => list(audited, text));
  return {
    opening: opening as unknown as TargetContext['opening'],
    endpoint: text(read.endpoint),
    hasOthers: flag(read.hasOthers),
    workload: optionalText(read.workload) as WorkloadUid | undefined,
  };
}

function contextOf(value: unknown): RuleContext {
  const read = fields(
    value,
    'version',
    'pod',
    'about',
    'check',
    'direction',
    'source',
    'clientIp',
    'targets',
  );
  if (read.version !== version) return fail();
  if (read.direction !== 'outbound' && read.direction !== 'inbound') return fail();
  const about = aboutOf(read.about);
  const check = optional(read.check, checkOf);
  // Only an outbound connection may be authorized by the destination's node alone.
  if (check === undefined && about.kind !== 'captured') return fail();
  const targets = list(read.targets, targetOf);
  if (check === undefined && targets.some(({ opening }) => opening.path === 'local')) return fail();
  return {
    pod: text(read.pod) as WorkloadUid,
    about,
    check,
    direction: read.direction,
    source: partyOf(read.source),
    clientIp: read.clientIp === '' ? '' : ip(read.clientIp),
    targets,
  };
}
