/**
 * External authorization by plain HTTP: the service gets a request with the client's method, host and path, behind a prefix. 200 allows,
 * 5xx is no decision, and anything else is a denial that the client gets.
 */
import type { ExternalAuthorizationFilter } from '../../discovery/gen/weft.js';
import { headerOf, type Headers } from '../http/headers.js';
import { hopByHopFields } from '../http/restricted-fields.js';
import { partialBodyField, type DecisionProtocol } from './asked-request.js';
import { plainlyAllowed, type Decision } from './decision.js';
import {
  FieldChecker,
  isCopiedIntoRequest,
  isSettableInRequest,
  isSettableInResponse,
} from './decision-headers.js';
import { fieldList, type FieldList } from './field-list.js';

/** Envoy's: names of the client's headers that the endpoint does not get. */
const removeField = 'x-envoy-auth-headers-to-remove';

/** Fields of the client's request that no service gets as they are: they are about that request's connection or body. */
const neverSent: ReadonlySet<string> = new Set([
  ...hopByHopFields,
  'host',
  'content-length',
  'expect',
  'trailer',
  'content-encoding',
  partialBodyField,
]);

/** Compiles a policy that asks by HTTP. @param pathPrefix goes before the path of the request */
export function httpProtocol(config: ExternalAuthorizationFilter, pathPrefix: string): DecisionProtocol {
  const isListed = fieldList(config.requestHeaders, false);
  const isSent: FieldList = (name) => name === 'authorization' || (!neverSent.has(name) && isListed(name));
  const mayChange = fieldList(config.upstreamHeaders, false);
  const copiesAll = config.upstreamHeaders.includes('*');
  const mayReach = fieldList(config.clientHeaders, true);
  const prefix = pathPrefix.replace(/\/+$/, '');
  return {
    call({ head, body, isPartial }) {
      const headers: Headers = [];
      for (let i = 0; i < head.headers.length; i += 2)
        if (isSent(head.headers[i] ?? '')) headers.push(head.headers[i] ?? '', head.headers[i + 1] ?? '');
      // GEP-1494: the length of what the service gets.
      if (!body || body.length === 0) headers.push('content-length', '0');
      if (body) headers.push(partialBodyField, String(isPartial));
      return {
        method: head.method,
        path: head.path === '*' ? prefix || '*' : prefix + head.path,
        authority: head.authority,
        headers,
        body,
        version: undefined,
      };
    },
    read({ status, headers, body }) {
      if (status >= 500) throw new Error(`the service responded ${status}`);
      const fields = new FieldChecker();
      if (status === 200) return allowedOf(headers, fields, mayChange, copiesAll);
      const kept: Headers = [];
      for (let i = 0; i < headers.length; i += 2) {
        const [name = '', value = ''] = headers.slice(i, i + 2);
        if (!isSettableInResponse(name) || !mayReach(name)) continue;
        kept.push(fields.check(name, value), value);
      }
      return { kind: 'denied', status: status >= 300 ? status : 403, headers: kept, body };
    },
  };
}

function allowedOf(
  headers: Headers,
  fields: FieldChecker,
  mayChange: FieldList,
  copiesAll: boolean,
): Decision {
  const isCopied = copiesAll ? isCopiedIntoRequest : isSettableInRequest;
  const set = [];
  for (let i = 0; i < headers.length; i += 2) {
    const [name = '', value = ''] = headers.slice(i, i + 2);
    if (name === removeField || !isCopied(name) || !mayChange(name)) continue;
    set.push({ name: fields.check(name, value), value, action: 'set' as const });
  }
  const remove = (headerOf(headers, removeField) ?? '')
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '')
    .map((name) => fields.check(name, ''))
    .filter(isSettableInRequest);
  if (set.length === 0 && remove.length === 0) return plainlyAllowed;
  return { ...plainlyAllowed, set, remove };
}
