/** Authenticates projected service account tokens by the API server's TokenReview. Results are cached for a short time. */
import type { KubeConfig } from '@kubernetes/client-node';
import { rateLimiterAccount } from '../../src/model/rate-limit.js';
import { rateLimiterCaller } from '../compile/rate-limiter.js';
import { controlAccount, controlCaller } from './service-callers.js';
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

/** Result of a review: the account (system:serviceaccount:NAMESPACE:NAME) and the node of the pod that the token is bound to. */
export interface Reviewed {
  readonly account: string;
  readonly node: string;
}

/** Undefined if the token is not authenticated, has another audience, or is not bound to one pod and one node. Pure. */
export function accountOfReview(review: Review): Reviewed | undefined {
  const { authenticated, audiences = [], user } = review.status ?? {};
  if (authenticated !== true || !audiences.includes(tokenAudience) || user?.username === undefined)
    return undefined;
  // The token is bound to a pod, and the pod to its node: the API server checks that both still exist.
  const [node, ...others] = user.extra?.['authentication.kubernetes.io/node-name'] ?? [];
  const pod = user.extra?.['authentication.kubernetes.io/pod-uid'];
  if (pod?.length !== 1 || node === undefined || others.length > 0) return undefined;
  return { account: user.username, node };
}

/**
 * The caller's name: the node's name for an agent, `waypoint:<namespace>/<name>` for a waypoint, whose account has the name of its Gateway.
 * Undefined for any other account. The accounts of the rate limit service and of the control plane are in the namespace of the agents'
 * account. Pure.
 * @param agents the agents' account
 */
export function callerOf(
  { account, node }: Reviewed,
  agents: string,
  isWaypoint: (name: WaypointName) => boolean,
): string | undefined {
  if (account === agents) return node;
  const ofMesh = agents.slice(0, agents.lastIndexOf(':'));
  if (account === `${ofMesh}:${rateLimiterAccount}`) return rateLimiterCaller;
  if (account === `${ofMesh}:${controlAccount}`) return controlCaller;
  const [, namespace, name] = /^system:serviceaccount:([^:/]+):([^:/]+)$/.exec(account) ?? [];
  if (namespace === undefined || name === undefined) return undefined;
  return isWaypoint({ namespace, name }) ? waypointCaller({ namespace, name }) : undefined;
}

/** Interval at which the token of an open stream is reviewed again, and the delay after a failed review. */
const recheckMs = { due: 300_000, afterError: 30_000 } as const;

export class TokenReviewer {
  readonly #limits: ReviewLimits<Reviewed>;

  constructor(
    private readonly config: KubeConfig,
    /** The agents' service account. */
    private readonly agents: string,
    /** Called for each check: a Gateway may be deleted while its pods' tokens are still valid. */
    private readonly isWaypoint: (name: WaypointName) => boolean,
    onLimit?: (limit: ReviewLimit) => void,
    /** How long a result is cached; for tests. */
    cacheMs?: number,
    private readonly nowMs: () => number = () => performance.now(),
  ) {
    this.#limits = new ReviewLimits(onLimit, cacheMs);
  }

  /**
   * Returns the caller of a token; undefined if it is neither an agent nor a waypoint. The caller's `recheck` returns false once the Gateway,
   * or the pod or node that the token is bound to, is gone, and once the token has expired: an agent reconnects with its new token. Errors:
   * ApiError, if the API server does not review the token; WEFT_TOKEN_REVIEW_LIMIT, if a limit is reached.
   * @param address the peer's address
   */
  async callerOf(token: string, address: string): Promise<Caller | undefined> {
    const review = (): Promise<Reviewed | undefined> =>
      this.#limits.review(token, address, () => this.#review(token));
    const nameOf = (reviewed: Reviewed | undefined): string | undefined =>
      reviewed && callerOf(reviewed, this.agents, this.isWaypoint);
    const reviewed = await review();
    const name = nameOf(reviewed);
    if (name === undefined) return undefined;
    // Randomized, as many nodes may have connected at once.
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
