/** The client certificates of a waypoint's main process: reads them periodically, says in the log what is wrong with one, and counts them. */
import type { Logger } from 'pino';
import { Gauge, type Registry } from 'prom-client';
import { parseSecretName } from '../model/client-certificate.js';
import { ClientCertificateFiles, type ClientCertificateProblem } from './client-certificate-files.js';
import type { ClientCertificateState } from './cluster/client-certificate.js';
import type { WaypointLimit } from './limits.js';

const pollMs = 1_000;

interface ClientCertificatesOptions {
  /** Absent: there are none. */
  readonly directory: string | undefined;
  /** The namespace of the Secrets. */
  readonly namespace: string;
  readonly registry: Registry;
  readonly log: Logger;
  readonly onChange: (states: readonly ClientCertificateState[]) => void;
  readonly onLimit: (limit: WaypointLimit) => void;
}

export interface ClientCertificates {
  states(): readonly ClientCertificateState[];
  /** What is wrong with certificates that policies name. `isKept`: an older pair stays in use. */
  problems(): readonly ClientCertificateProblem[];
  /** Sets the names that policies have. Others than names of Secrets are left out: the ports of their policies are closed. */
  want(names: ReadonlySet<string>): void;
  stop(): void;
}

export function startClientCertificates({
  directory,
  namespace,
  registry,
  log,
  onChange,
  onLimit,
}: ClientCertificatesOptions): ClientCertificates {
  const files = new ClientCertificateFiles({
    directory,
    nowMs: Date.now,
    onChange,
    onState: (name, problem, isKept) => {
      const secret = `${namespace}/${name}`;
      if (problem === undefined) return log.info({ secret }, 'client certificate in use');
      const what = isKept
        ? 'client certificate not replaced: the former one stays in use; correct the Secret'
        : 'no client certificate: requests that need it get 503; create or correct the Secret of type kubernetes.io/tls, whose files appear about a minute later; without Kubernetes, write the files';
      log.warn({ code: 'WEFT_CLIENT_CERTIFICATE', secret, problem }, what);
    },
    onLimit: () => onLimit('client-certificates'),
  });
  void new Gauge({
    name: 'weft_waypoint_client_certificates',
    help: 'Client certificates that policies name: usable, kept (the newer files cannot be used), missing (requests that need it get 503)',
    labelNames: ['state'] as const,
    registers: [registry],
    collect() {
      const { usable, kept, missing } = files.counts;
      this.set({ state: 'usable' }, usable);
      this.set({ state: 'kept' }, kept);
      this.set({ state: 'missing' }, missing);
    },
  });
  void new Gauge({
    name: 'weft_waypoint_client_certificate_expiry_seconds',
    help: 'When the first of the client certificates in use expires, in seconds since 1970; absent without one',
    registers: [registry],
    collect() {
      const { notAfterMs } = files.counts;
      if (notAfterMs === undefined) this.remove();
      else this.set(notAfterMs / 1000);
    },
  });
  const timer = setInterval(() => files.poll(), pollMs);
  return {
    states: () => files.states(),
    problems: () => files.problems(),
    want: (names) => files.want(new Set([...names].flatMap((name) => parseSecretName(name) ?? []))),
    stop: () => clearInterval(timer),
  };
}
