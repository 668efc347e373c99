/** Authorizes users by the API server's SubjectAccessReview. Results are cached for a short time. */
import type { KubeConfig } from '@kubernetes/client-node';
import { errorText } from '../../src/base/errors.js';
import { isRecord } from '../../src/base/record.js';
import { Turns } from '../../src/base/turns.js';
import { requestJson } from '../../src/kubernetes/request.js';
import type { User } from './front-proxy.js';
import { StatusError } from './status.js';

export const reviewLimits = {
  cacheMs: 5_000,
  cached: 2_048,
  underWayMax: 16,
  waitingMax: 256,
} as const;

/** What a user wants to do, as SubjectAccessReviews have it. */
export interface ResourceAttributes {
  readonly group: string;
  readonly version: string;
  readonly resource: string;
  readonly subresource?: string;
  readonly verb: 'get' | 'list' | 'watch';
  /** Empty: of all namespaces, or of the cluster. */
  readonly namespace: string;
  readonly name?: string;
}

/** The refusal, in the API server's words: they name the right that is missing. */
export function forbidden({ user }: User, attributes: ResourceAttributes): StatusError {
  const { group, resource, subresource, verb, namespace, name } = attributes;
  const what = subresource === undefined ? resource : `${resource}/${subresource}`;
  return new StatusError(
    'Forbidden',
    `${resource}.${group}${name === undefined ? '' : ` "${name}"`} is forbidden: User ${JSON.stringify(user)} cannot ${verb} ` +
      `resource "${what}" in API group "${group}" ${namespace === '' ? 'at the cluster scope' : `in the namespace "${namespace}"`}`,
  );
}

interface Cached {
  readonly allowed: Promise<boolean>;
  readonly untilMs: number;
}

export class Authorizer {
  readonly #cache = new Map<string, Cached>();
  readonly #turns: Turns;

  constructor(
    private readonly config: KubeConfig,
    onLimit: (limit: string) => void,
    private readonly nowMs: () => number = () => performance.now(),
  ) {
    this.#turns = new Turns(reviewLimits, () => {
      onLimit('metrics-api-reviews');
      return new StatusError('TooManyRequests', 'too many access reviews wait: try again', 1);
    });
  }

  /** Errors: StatusError ServiceUnavailable, if the API server does not answer; TooManyRequests, if too many reviews wait. */
  async isAllowed(user: User, attributes: ResourceAttributes): Promise<boolean> {
    const key = JSON.stringify([user, attributes]);
    const known = this.#cache.get(key);
    if (known && known.untilMs > this.nowMs()) return known.allowed;
    const allowed = this.#turns.run(() => this.#review(user, attributes));
    this.#cache.delete(key);
    const [oldest] = this.#cache.keys();
    if (oldest !== undefined && this.#cache.size >= reviewLimits.cached) this.#cache.delete(oldest);
    const entry = { allowed, untilMs: this.nowMs() + reviewLimits.cacheMs };
    this.#cache.set(key, entry);
    // A review that failed says nothing about the next one.
    allowed.catch(() => {
      if (this.#cache.get(key) === entry) this.#cache.delete(key);
    });
    return allowed;
  }

  async #review(user: User, resourceAttributes: ResourceAttributes): Promise<boolean> {
    let review: unknown;
    try {
      review = await requestJson(this.config, 'POST', '/apis/authorization.k8s.io/v1/subjectaccessreviews', {
        apiVersion: 'authorization.k8s.io/v1',
        kind: 'SubjectAccessReview',
        spec: { ...user, resourceAttributes },
      });
    } catch (error) {
      throw new StatusError(
        'ServiceUnavailable',
        `the API server did not review the access of ${JSON.stringify(user.user)}: ${errorText(error)}`,
        1,
      );
    }
    const status = isRecord(review) ? review['status'] : undefined;
    return isRecord(status) && status['allowed'] === true && status['denied'] !== true;
  }
}
