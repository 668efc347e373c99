/** The relay that the options choose, with the certificates that it needs. */
import { join } from 'node:path';
import { errorText } from '../src/base/errors.js';
import { systemClock } from '../src/base/clock.js';
import { version } from '../src/base/version.js';
import { parseTrustDomain, type SpiffeId } from '../src/model/identity.js';
import type { WorkloadUid } from '../src/model/workload.js';
import type { MeshState } from '../src/state/store.js';
import type { Opening } from '../src/telemetry/connection-record.js';
import type { ConnectionTemplate } from '../src/telemetry/connection-template.js';
import type { ObservedRequests } from '../src/telemetry/observed-requests.js';
import type { MetricEvent } from '../src/telemetry/metrics.js';
import {
  CertificateManager,
  ownKeys,
  type Certificates,
  type KeySource,
} from '../src/tls/certificate-manager.js';
import type { IssuedCertificate } from '../src/tls/svid.js';
import type { RequestCertificate } from '../src/discovery/certificate-client.js';
import { CarrierKeys } from './carrier/carrier-keys.js';
import { CarrierRelay } from './carrier/carrier-relay.js';
import { FormerCarriers } from './carrier/former-carriers.js';
import type { NodeRelay } from './node-relay.js';
import { connectionsOfWorker, type AgentOptions } from './options.js';
import { Workers } from './workers.js';

const certificateTtlS = 86_400;

export interface RelayParts {
  readonly options: AgentOptions;
  /** Where the maps are pinned. */
  readonly pinDir: string;
  readonly state: MeshState;
  readonly issue: RequestCertificate;
  /** Identities of the pods that are wanted. */
  readonly identities: () => Iterable<SpiffeId>;
  readonly onCertificate: (certificate: IssuedCertificate) => void;
  readonly record: (event: MetricEvent) => void;
  /** Requests passed on a connection. */
  readonly observed: (record: Opening, requests: ObservedRequests) => void;
  /** Records of connections that differ only in the client's port, counts and end. */
  readonly template: (opening: Opening) => ConnectionTemplate;
  /** Calls back once the records so far are written. */
  readonly afterRecords: (call: () => void) => void;
  readonly limitReached: (limit: string, times: number) => void;
  readonly onVerdictRequest: (source: WorkloadUid, destination: WorkloadUid, port: number) => void;
  /** These pods have no listeners until they are assigned again. */
  readonly onLost: (pods: readonly WorkloadUid[]) => void;
  readonly log: Record<'info' | 'warn' | 'error', (fields: object, text: string) => void>;
}

export interface Relays {
  readonly relay: NodeRelay;
  readonly certificates: Certificates;
}

export const makeRelay = (parts: RelayParts): Relays =>
  parts.options.relay === 'carrier' ? byCarrier(parts) : byWorkers(parts);

function certificatesOf<C extends IssuedCertificate>(
  { issue, onCertificate, log }: RelayParts,
  keys: KeySource<C>,
  install: (certificate: C) => void,
): CertificateManager<C> {
  return new CertificateManager<C>({
    keys,
    issue,
    clock: systemClock,
    random: Math.random,
    ttlS: certificateTtlS,
    onSvid: (certificate) => {
      install(certificate);
      onCertificate(certificate);
    },
    onError: (id, error, retryInMs) =>
      log.warn({ identity: id, error: errorText(error), retryInMs }, 'no certificate'),
  });
}

function byWorkers(parts: RelayParts): Relays {
  const { options, pinDir, state, log } = parts;
  const workers: Workers = new Workers({
    count: options.workers,
    settings: {
      node: options.node,
      pinDir,
      trustDomain: parseTrustDomain(options.trustDomain),
      connectionsMax: connectionsOfWorker(options.workers),
    },
    state,
    svids: () => [...parts.identities()].flatMap((id) => certificates.get(id) ?? []),
    onMessage: (message) => {
      if (message.type === 'log') log[message.level](message.fields, message.text);
      else if (message.type === 'connections') message.events.forEach(parts.record);
      else if (message.type === 'requests')
        for (const { record, requests } of message.sums) parts.observed(record, requests);
      else if (message.type === 'limit') parts.limitReached(message.limit, 1);
      else if (message.type === 'verdict-request')
        parts.onVerdictRequest(message.source, message.destination, message.port);
    },
    onReplaced: parts.onLost,
    onDied: (why) => log.error({ why }, 'a worker died'),
    why: 'chosen by --relay or WEFT_RELAY',
    former: new FormerCarriers({
      ...parts,
      dir: options.carrierDir,
      build: version,
      node: options.node,
      view: state,
    }),
  });
  const certificates = certificatesOf(parts, ownKeys, (svid) => workers.onSvid(svid));
  return { relay: workers, certificates };
}

function byCarrier(parts: RelayParts): Relays {
  const { options, pinDir, state } = parts;
  const keys = new CarrierKeys();
  const certificates = certificatesOf(parts, keys, (certificate) => keys.install(certificate));
  const relay = new CarrierRelay({
    dir: options.carrierDir,
    build: version,
    node: options.node,
    trustDomain: parseTrustDomain(options.trustDomain),
    pinDir,
    mapsFile: join(options.run, 'handover', 'carrier-maps'),
    view: state,
    keys,
    refreshCertificates: () => certificates.refreshAll(),
    record: parts.record,
    observed: parts.observed,
    template: parts.template,
    afterRecords: parts.afterRecords,
    limitReached: parts.limitReached,
    onVerdictRequest: parts.onVerdictRequest,
    onLost: parts.onLost,
    log: parts.log,
  });
  return { relay, certificates };
}
