/** Ids of requests, for the access log and taps: a number of the worker, after a prefix that is random at its start. */
import { randomBytes } from 'node:crypto';

const prefix = randomBytes(5).toString('hex');
let last = 0;

/** The next request's number. */
export const nextRequestNumber = (): number => ++last;

/** Letters, digits and `-`. A text is made only for those who print it. */
export const requestIdOf = (number: number): string => `${prefix}-${number.toString(36)}`;
