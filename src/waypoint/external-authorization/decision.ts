/** What a decision service says about a request, the same for both of its protocols. */
import type { Headers } from '../http/headers.js';

/** A header field that the service sets: in place of the present values, after them, or only with or without a present value. */
export interface HeaderChange {
  readonly name: string;
  readonly value: string;
  readonly action: 'set' | 'append' | 'set-if-absent' | 'set-if-present';
}

export interface Allowed {
  readonly kind: 'allowed';
  /** Changes of the request. */
  readonly set: readonly HeaderChange[];
  readonly remove: readonly string[];
  readonly parameters: readonly (readonly [name: string, value: string])[];
  readonly parametersToRemove: readonly string[];
  /** Changes of the response to the client. */
  readonly responseHeaders: readonly HeaderChange[];
}

export interface Denied {
  readonly kind: 'denied';
  /** From 300 to 599: a denial never looks like success. */
  readonly status: number;
  readonly headers: Headers;
  readonly body: Buffer;
}

export type Decision = Allowed | Denied;

/** No decision. `isFull`: the client itself has too many requests without one, so that not even a policy that fails open lets it pass. */
export interface NoDecision {
  readonly kind: 'none';
  readonly why: string;
  readonly isFull?: true;
}

/** A decision that allows a request without changes. */
export const plainlyAllowed: Allowed = {
  kind: 'allowed',
  set: [],
  remove: [],
  parameters: [],
  parametersToRemove: [],
  responseHeaders: [],
};

/** The status of a denial: 403 if the service states none, or one that is no refusal. */
export const denialStatus = (status: number): number =>
  Number.isInteger(status) && status >= 300 && status <= 599 ? status : 403;
