/**
 * The port of the rate limit service: Envoy's rate limit API v3 for waypoints, which prove their identity by their certificate. What a
 * waypoint counts belongs to its identity: no caller can name a counter of another.
 */
import net from 'node:net';
import { Server, status, type sendUnaryData, type ServerUnaryCall } from '@grpc/grpc-js';
import { errorText, WeftError } from '../base/errors.js';
import { parseListenAddress } from '../base/listen-address.js';
import { FairLimit } from '../base/fair-limit.js';
import {
  RateLimitResponse_Code as Code,
  RateLimitServiceService,
  type RateLimitDescriptor,
  type RateLimitRequest,
  type RateLimitResponse,
  type RateLimitResponse_DescriptorStatus as DescriptorStatus,
} from '../discovery/gen/ratelimit.js';
import { workloadIdentityOf, type TrustDomain, type WorkloadIdentity } from '../model/identity.js';
import { clientEntryKeys, restCounterName, unitMs } from '../model/rate-limit.js';
import { checkClientPeer } from '../tls/contexts.js';
import { ServedCertificate, type ShownCertificate } from '../tls/served-certificate.js';
import type { Svid } from '../tls/svid.js';
import type { Asked, Counted, Counters } from './counters.js';

const serverLimits = {
  connectionsMax: 4_096,
  /** Time from the connection to its first call, of a caller that is served. */
  authenticateMsMax: 10_000,
  /** Calls under way, of all callers. */
  callsMax: 4_096,
  descriptorsMax: 256,
  entriesMax: 16,
  /** Characters of a call's domain, and of the entries of one descriptor. */
  textMax: 4_096,
  requestBytesMax: 1 << 20,
} as const;

/** A connection is replaced after this time, so that callers spread over replicas that were added. */
const connectionAgeMs = 10 * 60_000;

type Call = ServerUnaryCall<RateLimitRequest, RateLimitResponse>;
export type RefusedCall = 'identity' | 'not-a-waypoint' | 'calls' | 'invalid';

export interface RateLimitServerOptions {
  /** ADDR:PORT */
  readonly listen: string;
  readonly trustDomain: TrustDomain;
  readonly counters: Pick<Counters, 'count'>;
  /** Whether a Gateway of Weft's class has this namespace and name. */
  readonly isWaypoint: (identity: WorkloadIdentity) => boolean;
  /** Absent: the default. */
  readonly callsMax?: number;
  readonly onRefused: (why: RefusedCall, peer: string) => void;
  readonly onLimit: (limit: string) => void;
  readonly onCounted: (result: 'granted' | 'over-limit' | 'error', count: number) => void;
}

/** An accepted connection; with its first call, the identity that its certificate proves. */
interface Peer {
  readonly socket: net.Socket;
  readonly late: NodeJS.Timeout;
  identity: WorkloadIdentity | undefined;
  expiresMs: number;
}

export class RateLimitServer {
  readonly #server = new Server({
    'grpc.max_receive_message_length': serverLimits.requestBytesMax,
    'grpc.max_concurrent_streams': 1_024,
    'grpc.max_connection_age_ms': connectionAgeMs,
    'grpc.max_connection_age_grace_ms': 10_000,
    'grpc.keepalive_time_ms': 30_000,
    'grpc.keepalive_timeout_ms': 10_000,
  });
  readonly #certificate: ServedCertificate;
  readonly #listener: net.Server;
  readonly #connections = new FairLimit(serverLimits.connectionsMax);
  readonly #calls: FairLimit;
  readonly #peers = new Map<string, Peer>();

  constructor(
    private readonly options: RateLimitServerOptions,
    svid: Svid,
  ) {
    this.#calls = new FairLimit(options.callsMax ?? serverLimits.callsMax);
    this.#server.addService(RateLimitServiceService, {
      shouldRateLimit: (call: Call, respond: sendUnaryData<RateLimitResponse>) => this.#onCall(call, respond),
    });
    this.#certificate = new ServedCertificate(shownOf(svid));
    const injector = this.#server.createConnectionInjector(this.#certificate.mutualCredentials());
    this.#listener = net.createServer({ noDelay: true }, (socket) => {
      if (this.#admit(socket)) injector.injectConnection(socket);
    });
  }

  /** Resolves with the port. Error: WEFT_LISTEN. */
  listen(): Promise<number> {
    const { listen } = this.options;
    const at = parseListenAddress(listen);
    return new Promise((resolve, reject) => {
      this.#listener.once('error', (error) =>
        reject(
          new WeftError('WEFT_LISTEN', `cannot listen on ${listen}: ${errorText(error)}`, { cause: error }),
        ),
      );
      this.#listener.listen(at?.port ?? NaN, at?.host ?? '', () => {
        const address = this.#listener.address();
        resolve(typeof address === 'object' && address ? address.port : 0);
      });
    });
  }

  present(svid: Svid): void {
    this.#certificate.present(shownOf(svid));
  }

  /** Ends the listener; calls under way have 1 s to end. */
  async stop(): Promise<void> {
    this.#listener.close();
    await Promise.race([
      new Promise<void>((resolve) => this.#server.tryShutdown(() => resolve())),
      new Promise<void>((resolve) => setTimeout(resolve, 1_000)),
    ]);
    this.#server.forceShutdown();
    for (const { socket } of this.#peers.values()) socket.destroy();
  }

  #admit(socket: net.Socket): boolean {
    const { remoteAddress = '', remotePort = 0 } = socket;
    socket.on('error', () => undefined);
    if (this.#connections.take(remoteAddress) !== undefined) {
      this.options.onLimit('rate-limit-connections');
      socket.destroy();
      return false;
    }
    const late = setTimeout(() => {
      this.options.onLimit('rate-limit-authenticate-time');
      socket.destroy();
    }, serverLimits.authenticateMsMax);
    const key = `${remoteAddress} ${remotePort}`;
    this.#peers.set(key, { socket, late, identity: undefined, expiresMs: 0 });
    socket.once('close', () => {
      clearTimeout(late);
      this.#connections.release(remoteAddress);
      this.#peers.delete(key);
    });
    return true;
  }

  /** The caller's identity. A string: why it has none. */
  #identityOf(call: Call): WorkloadIdentity | string {
    const { remoteAddress = '', remotePort = 0 } = peerOf(call);
    const peer = this.#peers.get(`${remoteAddress} ${remotePort}`);
    if (!peer) return 'the connection is closed';
    if (!peer.identity) {
      const certificate = call.getAuthContext().sslPeerCertificate;
      const checked = checkClientPeer(certificate?.subjectaltname, this.options.trustDomain);
      if (!checked.ok) return checked.reason;
      const identity = workloadIdentityOf(checked.id);
      if (!identity) return `${checked.id} is not the identity of a workload`;
      peer.identity = identity;
      peer.expiresMs = Date.parse(certificate?.valid_to ?? '');
    }
    if (!(Date.now() < peer.expiresMs)) return 'the certificate has expired';
    clearTimeout(peer.late);
    return peer.identity;
  }

  #onCall(call: Call, respond: sendUnaryData<RateLimitResponse>): void {
    const { onRefused, isWaypoint, onLimit } = this.options;
    const refuse = (code: status, why: RefusedCall, details: string): void => {
      onRefused(why, call.getPeer());
      respond({ code, details });
    };
    const identity = this.#identityOf(call);
    if (typeof identity === 'string') return refuse(status.UNAUTHENTICATED, 'identity', identity);
    // A Gateway may be removed while the connections of its waypoint are open.
    if (!isWaypoint(identity))
      return refuse(status.PERMISSION_DENIED, 'not-a-waypoint', 'only waypoints are served');
    const invalid = problemOf(call.request);
    if (invalid !== undefined) return refuse(status.INVALID_ARGUMENT, 'invalid', invalid);
    const { namespace, serviceAccount } = identity;
    const name = `${namespace}/${serviceAccount}`;
    if (this.#calls.take(name, namespace) !== undefined) {
      onLimit('rate-limit-calls');
      return refuse(status.RESOURCE_EXHAUSTED, 'calls', 'too many calls of this caller are under way');
    }
    void this.#count(identity, call.request)
      .then((response) => respond(null, response))
      .catch((error: unknown) => respond({ code: status.INTERNAL, details: errorText(error) }))
      .finally(() => this.#calls.release(name, namespace));
  }

  async #count(owner: WorkloadIdentity, request: RateLimitRequest): Promise<RateLimitResponse> {
    const statuses = await Promise.all(
      request.descriptors.map(async (descriptor) => {
        const { requestsPerUnit = 0, unit = 0 } = descriptor.limit ?? {};
        const hits = hitsOf(request, descriptor);
        const counted = await this.options.counters.count(owner, {
          key: keyOf(request.domain, descriptor),
          ...clientIn(descriptor),
          limitKey: limitKeyOf(request.domain, descriptor),
          limit: requestsPerUnit,
          hits,
          unitMs: unitMs(unit) ?? 0,
        });
        return this.#statusOf(counted, descriptor);
      }),
    );
    const codes = new Set(statuses.map(({ code }) => code));
    const overallCode = codes.has(Code.OVER_LIMIT)
      ? Code.OVER_LIMIT
      : codes.has(Code.UNKNOWN)
        ? Code.UNKNOWN
        : Code.OK;
    return { overallCode, statuses };
  }

  #statusOf(counted: Counted, { limit }: RateLimitDescriptor): DescriptorStatus {
    const { onCounted, onLimit } = this.options;
    const currentLimit = limit && { ...limit, name: '' };
    if (counted.kind !== 'counted') {
      if (counted.kind === 'full') onLimit(counted.limit);
      onCounted('error', 1);
      return {
        code: Code.UNKNOWN,
        currentLimit,
        limitRemaining: 0,
        durationUntilReset: undefined,
        quota: undefined,
      };
    }
    const { granted, left, resetMs, isRest } = counted;
    if (isRest) {
      onLimit('rate-limit-counters');
      if (currentLimit) currentLimit.name = restCounterName;
    }
    onCounted(granted > 0 ? 'granted' : 'over-limit', 1);
    return {
      code: granted > 0 ? Code.OK : Code.OVER_LIMIT,
      currentLimit,
      limitRemaining: left,
      durationUntilReset: { seconds: Math.floor(resetMs / 1000), nanos: (resetMs % 1000) * 1e6 },
      quota: granted > 0 ? { requests: granted } : undefined,
    };
  }
}

const shownOf = ({ chainPem, keyPem, rootsPem }: Svid): ShownCertificate => ({
  certPem: chainPem,
  keyPem,
  rootsPem,
});

const hitsOf = ({ hitsAddend }: RateLimitRequest, descriptor: RateLimitDescriptor): number =>
  descriptor.hitsAddend ?? (hitsAddend || 1);

/**
 * Two descriptors have one counter if domain, entries and unit are the same. A limit that changes keeps its counter. The client is no part of
 * it: clients share the counter of a value.
 */
const keyOf = (domain: string, { entries, limit }: RateLimitDescriptor): string =>
  JSON.stringify([
    domain,
    limit?.unit,
    ...entries.filter(({ key }) => !isClientKey(key)).map(({ key, value }) => [key, value]),
  ]);

/** The limit without its values. Its name is the first entry. */
const limitKeyOf = (domain: string, { entries: [first], limit }: RateLimitDescriptor): string =>
  JSON.stringify([domain, limit?.unit, first?.key, first?.value]);

const isClientKey = (key: string): boolean => key === clientEntryKeys.client || key === clientEntryKeys.group;

function clientIn({ entries }: RateLimitDescriptor): Pick<Asked, 'client' | 'group'> {
  const valueOf = (name: string): string => entries.find(({ key }) => key === name)?.value ?? '';
  return { client: valueOf(clientEntryKeys.client), group: valueOf(clientEntryKeys.group) };
}

/** Why a request is refused; undefined where it is accepted. Pure. */
export function problemOf(request: RateLimitRequest): string | undefined {
  const { descriptors, domain } = request;
  const { descriptorsMax, entriesMax, textMax } = serverLimits;
  if (descriptors.length === 0 || descriptors.length > descriptorsMax)
    return `a call has 1 to ${descriptorsMax} descriptors`;
  if (domain.length > textMax) return `the domain has more than ${textMax} characters`;
  for (const descriptor of descriptors) {
    const { entries, limit } = descriptor;
    if (entries.length === 0 || entries.length > entriesMax)
      return `a descriptor has 1 to ${entriesMax} entries`;
    const characters = entries.reduce((sum, { key, value }) => sum + key.length + value.length, 0);
    if (characters > textMax) return `the entries of a descriptor have more than ${textMax} characters`;
    if (!limit || unitMs(limit.unit) === undefined)
      return 'a descriptor has no limit, or its unit is not one second, minute, hour or day';
    const hits = hitsOf(request, descriptor);
    if (!Number.isSafeInteger(hits) || hits < 1 || hits > 0xffffffff)
      return 'the hits of a descriptor are at least 1';
  }
  return undefined;
}

function peerOf(call: Call): { readonly remoteAddress?: string; readonly remotePort?: number } {
  // `::1:1234` and `127.0.0.1:1234`: grpc-js writes no brackets.
  const [, remoteAddress, port] = /^(.*):(\d+)$/.exec(call.getPeer()) ?? [];
  return remoteAddress === undefined ? {} : { remoteAddress, remotePort: Number(port) };
}
