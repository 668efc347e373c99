/** Responds with a fixed status and body in the endpoint's place (Envoy: direct_response). */
import type { DirectResponseFilter } from '../../discovery/gen/weft.js';
import type { FilterKind } from './filter.js';

export const directResponse: FilterKind<DirectResponseFilter> = {
  stage: 'route',
  compile({ status, body }) {
    if (status < 200 || status > 599) throw new Error(`${status} is no status of a response`);
    const text = Buffer.from(body);
    // RFC 9110, sections 15.3.5 and 15.4.5: these responses have no content.
    const hasContent = status !== 204 && status !== 304;
    const fields = text.length > 0 && hasContent ? ['content-type', 'text/plain'] : [];
    const length = hasContent ? ['content-length', String(text.length)] : [];
    return {
      onRequest({ downstream }) {
        // Filters change the head in place.
        const head = { status, headers: [...fields, ...length] };
        const withBody = text.length > 0 && hasContent && downstream.head.method !== 'HEAD';
        return { kind: 'response', head, ...(withBody ? { body: text } : {}) };
      },
    };
  },
};
