/** Writes requests to the access log. One instance per worker. */
import { pino } from 'pino';
import { formatSocketAddress } from '../../model/address.js';
import { requestIdOf } from './request-id.js';
import type { RequestRecord, TrafficAction } from './request-record.js';

/** `errors`: requests that failed, and those on which a policy in dry run or audit mode would have acted. */
export type AccessLogMode = 'none' | 'errors' | 'all';

/** `onLogged`: called with each request that is logged. `template`: a text in which %NAME% is replaced by that field of the line; undefined: lines are JSON. */
export class AccessLog {
  readonly #file: ReturnType<typeof pino.destination>;
  readonly #log: pino.Logger;

  constructor(
    path: string,
    private readonly mode: AccessLogMode,
    private readonly template: string | undefined,
    onDropped: () => void,
    private readonly onLogged: ((record: RequestRecord) => void) | undefined = undefined,
  ) {
    this.#file = pino.destination({ dest: path === '-' ? 1 : path, sync: false, maxLength: 8 << 20 });
    this.#file.on('drop', onDropped);
    this.#file.on('error', onDropped);
    this.#log = pino({ base: {}, timestamp: pino.stdTimeFunctions.isoTime }, this.#file);
  }

  write(record: RequestRecord): void {
    if (this.mode === 'none') return;
    const failed = isFailed(record);
    const isTried = record.audited.length > 0 || record.actions.some(({ mode }) => mode === 'would');
    if (this.mode === 'errors' && !failed && !isTried) return;
    this.onLogged?.(record);
    const line = lineOf(record);
    if (this.template === undefined) this.#log[failed ? 'warn' : 'info'](line);
    else this.#file.write(`${fill(this.template, line)}\n`);
  }

  close(): void {
    try {
      this.#file.flushSync();
    } catch {
      // The file was never opened, or the disk is full. The worker is ending, so nothing can report it.
    }
  }
}

/** Requests whose line is a warning. */
export const isFailed = ({ flag, status }: RequestRecord): boolean =>
  flag !== undefined || status >= 500 || status === 0;

export const actionText = ({ feature, mode, policy, reason }: TrafficAction): string =>
  `${feature}${mode === 'would' ? ' (dry run)' : ''} by ${policy}${reason === undefined ? '' : `: ${reason}`}`;

/** The fields of a request's line. */
export function lineOf(record: RequestRecord): Readonly<Record<string, unknown>> {
  const { client, endpoint } = record;
  return {
    id: requestIdOf(record.number),
    source: client.identity ?? 'unknown',
    sourceAddress: formatSocketAddress(client.address),
    ...(record.principal === undefined ? {} : { requestPrincipal: record.principal }),
    service: record.service,
    servicePort: record.port,
    method: record.method,
    authority: record.authority,
    path: record.path,
    protocol: record.version,
    status: record.status,
    ...(record.grpcStatus === undefined ? {} : { grpcStatus: record.grpcStatus }),
    flags: record.flag ?? '-',
    ...(record.code === undefined ? {} : { code: record.code }),
    ...(record.why === undefined ? {} : { why: record.why }),
    route: record.route ?? '-',
    endpoint: endpoint ? formatSocketAddress(endpoint.target) : '-',
    destination: endpoint?.workload.identity ?? 'unknown',
    pod: endpoint?.workload.name ?? '-',
    attempts: record.attempts,
    ...(record.attemptsBefore > 0 ? { attemptsBefore: record.attemptsBefore } : {}),
    ...(record.policy === undefined ? {} : { policy: record.policy }),
    ...(record.rule === undefined ? {} : { rule: record.rule }),
    ...(record.audited.length > 0 ? { audited: record.audited } : {}),
    ...(record.actions.length > 0 ? { actions: record.actions.map(actionText) } : {}),
    bytesReceived: record.bytesReceived,
    bytesSent: record.bytesSent,
    durationMs: Math.round(record.durationMs * 1000) / 1000,
  };
}

/** Fills a template. Control characters in values become `?`, so that a client cannot write lines of its own. */
export function fill(template: string, line: Readonly<Record<string, unknown>>): string {
  return template.replace(/%([a-zA-Z]+)%/g, (_all, name: string) =>
    String(line[name] ?? '-').replace(/[\x00-\x1f\x7f]/g, '?'),
  );
}
