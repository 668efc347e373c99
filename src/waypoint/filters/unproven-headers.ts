/**
 * Removes headers that only a valid token may set, where tokens of a Service port are in dry run or audit mode. Enforced, the pods refuse
 * requests with such a header by other ways than through the Service; in audit mode these requests pass, so that the header must not.
 */
import type { JwtFilter } from '../../discovery/gen/weft.js';
import { namespaceOfKey } from '../../model/ownership.js';
import type { ServiceKey } from '../../model/workload.js';
import { FieldNames } from '../http/field-names.js';
import type { StagedFilter } from './filter.js';

/**
 * @param port the Service whose port has the filter, and all issuers of the port's filters: a token of each may have set a header
 * @returns undefined: no token sets headers
 */
export function unprovenHeaders(
  { issuers }: JwtFilter,
  port: { readonly service: ServiceKey; readonly issuers: ReadonlySet<unknown> },
): StagedFilter | undefined {
  const names = issuers
    .flatMap(({ claimHeaders, payloadHeader }) => [
      ...claimHeaders.map(({ header }) => header),
      payloadHeader,
    ])
    .filter((name) => name !== '');
  if (names.length === 0) return undefined;
  const fields = new FieldNames(names);
  const owner = namespaceOfKey(port.service);
  return {
    stage: 'authentication',
    filter: {
      onRequest(request) {
        const { servicePort, authorization, downstream } = request;
        // Who owns the Service that the client dialed says which tokens are valid: another namespace could call any token valid.
        const isOwn = servicePort !== undefined && namespaceOfKey(servicePort.service) === owner;
        if (isOwn && port.issuers.has(authorization.claims?.['iss'])) return undefined;
        authorization.saveHeaders();
        fields.removeFrom(downstream.head.headers);
        request.forbidTrailers(fields);
        return undefined;
      },
    },
  };
}
