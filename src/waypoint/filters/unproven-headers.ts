/**
 * Removes headers that only a valid token may set, where tokens of a Service port are in dry run or audit mode. Enforced, the pods refuse
 * requests with such a header by other ways than through the Service; in audit mode these requests pass, so that the header must not.
 */
import type { JwtFilter } from '../../discovery/gen/weft.js';
import { namespaceOfKey } from '../../model/ownership.js';
import type { ServiceKey } from '../../model/workload.js';
import { FieldNames } from '../http/field-names.js';
import type { FilteredRequest, StagedFilter } from './filter.js';

export interface UnprovenHeaders {
  /** Removes the headers. It refuses nothing. */
  readonly filter: StagedFilter;
  /** The headers to remove from a request, or from a copy of it; undefined: a token has set them. */
  of(request: Pick<FilteredRequest, 'servicePort' | 'authorization'>): FieldNames | undefined;
}

/**
 * @param port the Service whose port has the filter, and all issuers of the port's filters: a token of each may have set a header
 * @returns undefined: no token sets headers
 */
export function unprovenHeaders(
  { issuers }: JwtFilter,
  port: { readonly service: ServiceKey; readonly issuers: ReadonlySet<unknown> },
): UnprovenHeaders | undefined {
  const names = issuers
    .flatMap(({ claimHeaders, payloadHeader }) => [
      ...claimHeaders.map(({ header }) => header),
      payloadHeader,
    ])
    .filter((name) => name !== '');
  if (names.length === 0) return undefined;
  const fields = new FieldNames(names);
  const owner = namespaceOfKey(port.service);
  const of: UnprovenHeaders['of'] = ({ servicePort, authorization }) => {
    // Who owns the Service that the client dialed says which tokens are valid: another namespace could call any token valid.
    const isOwn = servicePort !== undefined && namespaceOfKey(servicePort.service) === owner;
    return isOwn && port.issuers.has(authorization.claims?.['iss']) ? undefined : fields;
  };
  return {
    of,
    filter: {
      stage: 'authentication',
      filter: {
        onRequest(request) {
          const unproven = of(request);
          if (!unproven) return undefined;
          request.authorization.saveHeaders();
          unproven.removeFrom(request.downstream.head.headers);
          request.forbidTrailers(unproven);
          return undefined;
        },
      },
    },
  };
}
