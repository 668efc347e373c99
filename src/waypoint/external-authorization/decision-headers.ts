/**
 * Checks what a decision service writes into requests and responses. Fields that belong to a connection or frame a message are left out.
 * A field that could end a head early, or more fields than allowed, is an error: the response is no decision then.
 */
import { isFieldValue, isToken } from '../filters/config-values.js';
import { framingFields, hopByHopFields } from '../http/restricted-fields.js';

export const decisionLimits = {
  /** Header fields of one decision, all lists together, and their bytes. */
  headersMax: 64,
  headerBytesMax: 32 << 10,
  /** Bytes of the service's response body. */
  bodyBytesMax: 64 << 10,
  /** Query parameters that a decision sets or removes. */
  parametersMax: 32,
} as const;

/** Fields that describe the service's own message, or that the waypoint writes itself. */
const ownFields: ReadonlySet<string> = new Set([
  'host',
  'expect',
  'content-length',
  'content-type',
  'content-encoding',
  'content-language',
  'content-location',
  'content-range',
  'date',
  'server',
]);

const isOfConnection = (name: string): boolean =>
  name.startsWith(':') || framingFields.has(name) || hopByHopFields.has(name);

/** Whether a decision may set the field of a request. `name`: in lower case. */
export const isSettableInRequest = (name: string): boolean => !isOfConnection(name) && name !== 'host';

/** Whether all fields of a service's response may be copied into a request, and this one is none that describes the response itself. */
export const isCopiedIntoRequest = (name: string): boolean => !isOfConnection(name) && !ownFields.has(name);

/** Whether a decision may set the field of a response. */
export const isSettableInResponse = (name: string): boolean => !isOfConnection(name);

/** Counts the fields of one decision, and checks each. */
export class FieldChecker {
  #count = 0;
  #bytes = 0;

  /** The field's name in lower case. Error: the field is invalid, or there are too many. */
  check(name: string, value: string): string {
    this.#count++;
    this.#bytes += name.length + value.length;
    if (this.#count > decisionLimits.headersMax)
      throw new Error(`the decision has more than ${decisionLimits.headersMax} header fields`);
    if (this.#bytes > decisionLimits.headerBytesMax)
      throw new Error(`the decision has more than ${decisionLimits.headerBytesMax} bytes of header fields`);
    // The name of a pseudo-header is no token, and is left out later.
    if (!isToken(name.startsWith(':') ? name.slice(1) : name))
      throw new Error('the decision has a header field with an invalid name');
    if (!isFieldValue(value)) throw new Error(`header field ${name.slice(0, 64)} of the decision is invalid`);
    return name.toLowerCase();
  }
}
