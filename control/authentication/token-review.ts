/** Whose a projected service account token is, by the API server's TokenReview. Results are cached for a short while. */
import type { KubeConfig } from '@kubernetes/client-node';
import { waypointCaller, type WaypointName } from '../compile/waypoints.js';
import type { Caller } from './authenticator.js';
import { tokenAudience } from './join-tokens.js';
import { requestJson } from '../../src/kubernetes/request.js';
import { ReviewLimits, type ReviewLimit } from './review-limits.js';

interface Review {
  readonly status?: {
    readonly authenticated?: boolean;
    readonly audiences?: readonly string[];
    readonly user?: {
      readonly username?: string;
      readonly extra?: Readonly<Record<string, readonly string[]>>;
    };
  };
}

/** The account (system:serviceaccount:NAMESPACE:NAME) and the node of the pod that a token is bound to. */
export interface Reviewed {
  readonly account: string;
  readonly node: string;
}

/** Undefined where the token is none, or not meant for us. Pure. */
export function accountOfReview(review: Review): Reviewed | undefined {
  const { authenticated, audiences = [], user } = review.status ?? {};
  if (authenticated !== true || !audiences.includes(tokenAudience) || user?.username === undefined)
    return undefined;
  // The token is bound to a pod, and the pod to its node: the API server checks that both are still there.
  const [node, ...others] = user.extra?.['authentication.kubernetes.io/node-name'] ?? [];
  const pod = user.extra?.['authentication.kubernetes.io/pod-uid'];
  if (pod?.length !== 1 || node === undefined || others.length > 0) return undefined;
  return { account: user.username, node };
}

/**
 * Who asks: the agent of a node (by the node's name), or a waypoint, which runs under the account that is named as its Gateway is;
 * undefined where it is neither. Pure.
 * @param agents the agents' account
 */
export function callerOf(
  { account, node }: Reviewed,
  agents: string,
  isWaypoint: (name: WaypointName) => boolean,
): string | undefined {
  if (account === agents) return node;
  const [, namespace, name] = /^system:serviceaccount:([^:/]+):([^:/]+)$/.exec(account) ?? [];
  if (namespace === undefined || name === undefined) return undefined;
  return isWaypoint({ namespace, name }) ? waypointCaller({ namespace, name }) : undefined;
}

/** How often the token of an open stream is reviewed again, and how soon after nobody could say. */
const recheckMs = { due: 300_000, afterError: 30_000 } as const;

export class TokenReviewer {
  readonly #limits: ReviewLimits<Reviewed>;

  constructor(
    private readonly config: KubeConfig,
    /** The agents' service account. */
    private readonly agents: string,
    /** Asked anew each time: a Gateway comes and goes while its pods' tokens stay good. */
    private readonly isWaypoint: (name: WaypointName) => boolean,
    onLimit?: (limit: ReviewLimit) => void,
    /** How long a result is cached; for tests. */
    cacheMs?: number,
    private readonly nowMs: () => number = () => performance.now(),
  ) {
    this.#limits = new ReviewLimits(onLimit, cacheMs);
  }

  /**
   * Undefined where the token is neither an agent's nor a waypoint's. The caller's `recheck` says no once the Gateway, the pod or the
   * node that the token is bound to is gone, and once the token has expired: an agent comes back with its new one. `address`: where it comes from. Errors: ApiError, where the API
   * server does not answer; WEFT_TOKEN_REVIEW_LIMIT, where it is not asked.
   */
  async callerOf(token: string, address: string): Promise<Caller | undefined> {
    const review = (): Promise<Reviewed | undefined> =>
      this.#limits.review(token, address, () => this.#review(token));
    const nameOf = (reviewed: Reviewed | undefined): string | undefined =>
      reviewed && callerOf(reviewed, this.agents, this.isWaypoint);
    const reviewed = await review();
    const name = nameOf(reviewed);
    if (name === undefined) return undefined;
    // At random, since many nodes may have come at once.
    let dueMs = this.nowMs() + recheckMs.due * (0.5 + Math.random() / 2);
    const recheck = async (): Promise<boolean> => {
      if (nameOf(reviewed) !== name) return false;
      if (this.nowMs() < dueMs) return true;
      dueMs = this.nowMs() + recheckMs.afterError;
      const now = await review();
      dueMs = this.nowMs() + recheckMs.due;
      return nameOf(now) === name;
    };
    return { name, recheck };
  }

  async #review(token: string): Promise<Reviewed | undefined> {
    const review = (await requestJson(this.config, 'POST', '/apis/authentication.k8s.io/v1/tokenreviews', {
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenReview',
      spec: { token, audiences: [tokenAudience] },
    })) as Review;
    return accountOfReview(review);
  }
}
