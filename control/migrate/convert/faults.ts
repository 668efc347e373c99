/** The faults of a VirtualService's rules as a section of a TrafficPolicy, which is for the same requests only if no earlier rule has them. */
import type { Fields } from '../load.js';
import type { Block } from './block.js';
import { areDisjoint, type ConvertedRule } from './matches.js';
import { gatewayDuration, serviceTarget } from './services.js';
import type { Reader } from './reader.js';
import { grpcStatusNames } from '../../../src/model/grpc-status.js';

function grpcCode(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const code = /^\d+$/.test(text) ? Number(text) : grpcStatusNames.indexOf(text);
  return code >= 1 && code <= 16 ? code : undefined;
}
/** In Istio, a fault without a percentage is injected into no request. */
const percentOf = (fault: Reader): string => {
  const percentage = fault.child('percentage').number('value');
  const value = fault.has('percentage') ? (percentage ?? 0) : (fault.number('percent') ?? 0);
  return String(Math.round(Math.min(100, Math.max(0, value)) * 10_000) / 10_000);
};

/** The policy; undefined: there are no faults, or none can be written. */
export function faultPolicy(
  block: Block,
  rules: readonly ConvertedRule[],
  targets: readonly { readonly namespace: string; readonly name: string }[],
  metadata: { readonly name: string; readonly namespace: string },
): Fields | undefined {
  const faults: Fields[] = [];
  for (const [i, rule] of rules.entries()) {
    if (!rule.reader.has('fault')) continue;
    const fault = rule.reader.child('fault');
    const matches = rule.matches.map(({ match }) => match);
    const reaches = rules
      .slice(0, i)
      .every((earlier) =>
        (earlier.matches.length > 0 ? earlier.matches : [{ match: {} }]).every((a) =>
          (matches.length > 0 ? matches : [{}]).every((b) => areDisjoint(a.match, b)),
        ),
      );
    const why = rule.matches.some(({ port }) => port !== undefined)
      ? 'its match names a port'
      : !reaches
        ? 'an earlier rule has some of its requests, and a TrafficPolicy would inject the fault into them too'
        : targets.some((one) => one.namespace !== metadata.namespace)
          ? 'the Service is of another namespace'
          : undefined;
    if (why !== undefined) {
      rule.reader.take('fault');
      block.lost(fault.path, `${why}: faults of a TrafficPolicy`);
      continue;
    }
    const [delay, abort] = [fault.child('delay'), fault.child('abort')];
    const fixed = delay.text('fixedDelay');
    const duration = fixed === undefined ? undefined : gatewayDuration(fixed);
    const [http, grpc] = [abort.number('httpStatus'), grpcCode(abort.text('grpcStatus'))];
    const made = {
      ...(duration === undefined ? {} : { delay: { duration, percent: percentOf(delay) } }),
      ...(http === undefined && grpc === undefined
        ? {}
        : {
            abort: {
              ...(http === undefined ? { grpcStatus: grpc } : { httpStatus: http }),
              percent: percentOf(abort),
            },
          }),
    };
    if (Object.keys(made).length > 0)
      faults.push({ name: `rule-${rule.index}`, ...(matches.length > 0 ? { matches } : {}), ...made });
  }
  if (faults.length === 0) return undefined;
  return {
    apiVersion: 'weft.dev/v1alpha1',
    kind: 'TrafficPolicy',
    metadata,
    spec: { targetRefs: targets.map(({ name }) => serviceTarget(name)), faults },
  };
}
