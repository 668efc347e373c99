/**
 * Checks of configured values, made once per configuration: whatever a rule's author wrote, no value may contain a line end of a head or set a
 * body's length.
 */
import { normalizeAuthority } from '../../policy/host.js';
import { framingFields } from '../http/restricted-fields.js';

const badInValue = /[\0-\x08\x0a-\x1f\x7f]|[^\0-\xff]/;

/** The name of a header field, a cookie or the like (RFC 9110, section 5.6.2). */
export const isToken = (text: string): boolean => /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(text);

/** The text may be the value of a header field. */
export const isFieldValue = (text: string): boolean => !badInValue.test(text);

/** The header field may be set by configuration. */
export const isSettable = (name: string): boolean => isToken(name) && !framingFields.has(name);

/** The text is host[:port]. */
export function isHost(text: string): boolean {
  try {
    return normalizeAuthority(text) !== '';
  } catch {
    return false;
  }
}
