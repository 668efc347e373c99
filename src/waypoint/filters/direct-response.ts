/** Responds with a fixed status and body in the endpoint's place (Envoy: direct_response). */
import type { DirectResponseFilter } from '../../discovery/gen/weft.js';
import { mayHaveContent } from '../../model/http-status.js';
import type { FilterKind } from './filter.js';

export const directResponse: FilterKind<DirectResponseFilter> = {
  stage: 'route',
  compile({ status, body }) {
    if (status < 200 || status > 599) throw new Error(`${status} is no status of a response`);
    const text = Buffer.from(body);
    const hasContent = mayHaveContent(status);
    const fields = text.length > 0 && hasContent ? ['content-type', 'text/plain'] : [];
    // A 205 says that it has no content; 204 and 304 do so by their status (RFC 9110, section 8.6).
    const length = hasContent ? [String(text.length)] : status === 205 ? ['0'] : [];
    return {
      onRequest({ downstream }) {
        // Filters change the head in place.
        const head = { status, headers: [...fields, ...length.flatMap((one) => ['content-length', one])] };
        const withBody = text.length > 0 && hasContent && downstream.head.method !== 'HEAD';
        return { kind: 'response', head, ...(withBody ? { body: text } : {}) };
      },
    };
  },
};
