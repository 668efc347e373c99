/** Weft's own rate limit service: gRPC with the waypoint's certificate, to a server that proves to be that service. */
import { Client, connectivityState, credentials, Metadata } from '@grpc/grpc-js';
import {
  RateLimitRequest,
  RateLimitResponse,
  type RateLimitDescriptor,
} from '../../../discovery/gen/ratelimit.js';
import type { SpiffeId } from '../../../model/identity.js';
import { checkServerPeer } from '../../../tls/contexts.js';
import type { Svid } from '../../../tls/svid.js';
import type { RateLimitService } from './service.js';

export const shouldRateLimit = '/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit';

interface OwnServiceOptions {
  /** host:port */
  readonly target: string;
  readonly identity: SpiffeId;
  readonly svid: () => Svid | undefined;
}

export class OwnService implements RateLimitService {
  readonly descriptorsMax = 256;
  readonly callsMax = 4;
  readonly grantsParts = true;
  #client: { readonly client: Client; readonly serial: string } | undefined;

  constructor(private readonly options: OwnServiceOptions) {}

  call(
    domain: string,
    descriptors: readonly RateLimitDescriptor[],
    timeoutMs: number,
  ): Promise<RateLimitResponse> {
    return new Promise((resolve, reject) => {
      const client = this.#connected();
      if (!client) return reject(new Error('the waypoint has no certificate yet'));
      client.makeUnaryRequest(
        shouldRateLimit,
        (request: RateLimitRequest) => Buffer.from(RateLimitRequest.encode(request).finish()),
        (bytes: Uint8Array) => RateLimitResponse.decode(bytes),
        { domain, descriptors, hitsAddend: 0 },
        new Metadata(),
        { deadline: Date.now() + timeoutMs },
        (error, response) =>
          response === undefined ? reject(error ?? new Error('no response')) : resolve(response),
      );
    });
  }

  /** The next call opens a connection, perhaps to another replica: the present one may lead nowhere. */
  reset(): void {
    this.#client?.client.close();
    this.#client = undefined;
  }

  close(): void {
    this.reset();
  }

  /** Connects now: the first request would wait for the handshake. */
  connect(): void {
    this.#connected();
  }

  /** The client for the waypoint's present certificate. Calls of a replaced client go on. */
  #connected(): Client | undefined {
    const svid = this.options.svid();
    if (!svid) return undefined;
    if (this.#client?.serial === svid.serial) return this.#client.client;
    this.#client?.client.close();
    const channel = credentials.createSsl(
      Buffer.from(svid.rootsPem),
      Buffer.from(svid.keyPem),
      Buffer.from(svid.chainPem),
      {
        checkServerIdentity: (_host, certificate) => {
          const checked = checkServerPeer(certificate.subjectaltname, [this.options.identity]);
          return checked.ok ? undefined : new Error(checked.reason);
        },
      },
    );
    const client = new Client(this.options.target, channel, {
      // The service is known by its SPIFFE ID. Its name has no meaning, and an address may not be one.
      'grpc.ssl_target_name_override': 'weft-rate-limiter',
      'grpc.use_local_subchannel_pool': 1,
      'grpc.keepalive_time_ms': 20_000,
      'grpc.keepalive_timeout_ms': 5_000,
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 2_000,
      'grpc.enable_retries': 0,
    });
    this.#client = { client, serial: svid.serial };
    keepConnected(client);
    return client;
  }
}

/** Connects, and connects again after a connection ends: a call would wait for the handshake. */
function keepConnected(client: Client): void {
  const channel = client.getChannel();
  const state = channel.getConnectivityState(true);
  if (state === connectivityState.SHUTDOWN) return;
  channel.watchConnectivityState(state, Infinity, (error) => {
    if (!error) keepConnected(client);
  });
}
