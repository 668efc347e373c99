/**
 * Injects faults, to try how clients cope with them (Envoy: fault filter): delays, responses in the endpoint's place, and resets. They happen
 * before an endpoint is chosen, so they are no failures of endpoints and are not repeated by the waypoint. Headers of clients do not control
 * them.
 */
import type { FaultFilter } from '../../discovery/gen/weft.js';
import { httpStatusOfGrpc } from '../http/grpc.js';
import type { LocalReply } from '../http/local-reply.js';
import type { TrafficAction } from '../telemetry/request-record.js';
import { Slot, type FilteredRequest, type FilterKind, type FilterResponse } from './filter.js';
import { requestMatch } from './request-match.js';

/** Ends the delay of a request that has ended. */
const delays = new Slot<() => void>();

const ppm = 1_000_000;
/** The longest time of a timer. */
const delayMsMax = 2_147_483_647;

export const fault: FilterKind<FaultFilter> = {
  stage: 'fault-injection',
  compile(config) {
    const { name, delayMs, delayPpm, abortPpm, untilMs, activeMax, dryRun } = config;
    if (delayMs > delayMsMax) throw new Error(`a delay of ${delayMs} ms is too long`);
    const isMatched = requestMatch(config.matches);
    const abort = abortOf(config);
    const mode = dryRun ? 'would' : 'did';
    const delayed: TrafficAction = { feature: 'fault-delay', mode, policy: name };
    const aborted: TrafficAction = { feature: 'fault-abort', mode, policy: name };

    const abortNow = (request: FilteredRequest): FilterResponse | undefined => {
      if (!abort || !isChosen(abortPpm)) return undefined;
      request.act(aborted);
      if (dryRun) return undefined;
      request.context.faults.of(name).aborts++;
      return abort;
    };

    return {
      onRequest(request) {
        // The wall clock: `until` is a date, and must hold while the control plane is away.
        if (untilMs > 0 && Date.now() >= untilMs) return undefined;
        if (!isMatched(request)) return undefined;
        const counts = request.context.faults.of(name);
        if (counts.active >= activeMax) {
          counts.overflows++;
          return undefined;
        }
        if (delayMs === 0 || !isChosen(delayPpm)) return abortNow(request);
        request.act(delayed);
        if (dryRun) return abortNow(request);
        counts.delays++;
        counts.active++;
        return new Promise((resolve) => {
          const timer = setTimeout(() => {
            end();
            resolve(abortNow(request));
          }, delayMs);
          const end = (): void => {
            clearTimeout(timer);
            counts.active--;
            delays.set(request, undefined);
          };
          delays.set(request, end);
        });
      },
      onCancel: (request) => delays.get(request)?.(),
    };
  },
};

const isChosen = (share: number): boolean => share > 0 && (share >= ppm || Math.random() * ppm < share);

function abortOf({ name, abort }: FaultFilter): FilterResponse | undefined {
  if (!abort) return undefined;
  const reply = (status: number): LocalReply => ({
    status,
    flag: 'FI',
    code: 'WEFT_FAULT_INJECTED',
    why: `${name} injected an abort`,
  });
  switch (abort.$case) {
    case 'httpStatus':
      if (abort.value < 200 || abort.value > 599)
        throw new Error(`${abort.value} is no status of a response`);
      return { kind: 'reply', reply: reply(abort.value) };
    case 'grpcStatus':
      if (abort.value > 16) throw new Error(`${abort.value} is no status of gRPC`);
      return { kind: 'reply', reply: { ...reply(httpStatusOfGrpc(abort.value)), grpcStatus: abort.value } };
    case 'reset':
      return abort.value ? { kind: 'reset', reply: reply(0) } : undefined;
  }
}
