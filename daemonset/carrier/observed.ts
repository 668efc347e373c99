/** Requests that a carrier has seen pass, as it reports them. */
import type { GrpcOutcome } from '../../src/telemetry/http-observation.js';
import type { ObservedRequests } from '../../src/telemetry/observed-requests.js';
import { sumOf } from '../../src/telemetry/request-sums.js';
import type { ObservedRequests as Message } from './gen/carrier.js';
import { malformed } from './protocol.js';

const methodCharsMax = 16;
const templateCharsMax = 403;
const statusMax = 999;
/** `ObservedRequests.grpc` of carrier.proto: up to 16 a status, then these. */
const [grpcStatusMax, grpcInvalid, grpcCut] = [16, 17, 19];
const template = /^(?:\*\*|(?:\/[A-Za-z0-9._:*-]*)+)$/;

/** Throws WEFT_CARRIER_MESSAGE. */
export function decodeObserved({
  method,
  pathTemplate,
  status,
  grpc,
  durationsUs,
}: Message): ObservedRequests {
  if (method.length > methodCharsMax || status > statusMax) throw malformed('an observed request');
  if (pathTemplate.length > templateCharsMax || !template.test(pathTemplate))
    throw malformed('an observed request with a path');
  return sumOf(
    { method, pathTemplate, status, grpc: grpc === undefined ? undefined : grpcOutcome(grpc) },
    durationsUs.map((us) => us / 1000),
  );
}

function grpcOutcome(grpc: number): GrpcOutcome {
  if (grpc > grpcCut) throw malformed('an observed call');
  const status = grpc <= grpcStatusMax ? String(grpc) : grpc === grpcInvalid ? 'invalid' : '';
  return { status, isCut: grpc === grpcCut };
}
