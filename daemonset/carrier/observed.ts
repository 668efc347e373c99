/** Requests that a carrier has seen pass, as it reports them. */
import type { ObservedRequests } from '../../src/telemetry/observed-requests.js';
import { sumOf } from '../../src/telemetry/request-sums.js';
import type { ObservedRequests as Message } from './gen/carrier.js';
import { malformed } from './protocol.js';

const methodCharsMax = 16;
const templateCharsMax = 403;
const statusMax = 999;
const template = /^(?:\*\*|(?:\/[A-Za-z0-9._:*-]*)+)$/;

/** Throws WEFT_CARRIER_MESSAGE. */
export function decodeObserved({ method, pathTemplate, status, durationsUs }: Message): ObservedRequests {
  if (method.length > methodCharsMax || status > statusMax) throw malformed('an observed request');
  if (pathTemplate.length > templateCharsMax || !template.test(pathTemplate))
    throw malformed('an observed request with a path');
  return sumOf(
    { method, pathTemplate, status },
    durationsUs.map((us) => us / 1000),
  );
}
