/** Who a projected service account token is of, by the API server's word; answers are kept for a short while. */
import type { KubeConfig } from '@kubernetes/client-node';
import { waypointCaller, type WaypointName } from '../compile/waypoints.js';
import { tokenAudience } from '../serve/tokens.js';
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

export class TokenReviewer {
  readonly #limits: ReviewLimits<Reviewed>;

  constructor(
    private readonly config: KubeConfig,
    /** The agents' service account. */
    private readonly agents: string,
    /** Asked anew each time: a Gateway comes and goes while its pods' tokens stay good. */
    private readonly isWaypoint: (name: WaypointName) => boolean,
    onLimit?: (limit: ReviewLimit) => void,
  ) {
    this.#limits = new ReviewLimits(onLimit);
  }

  /**
   * Undefined where the token is neither an agent's nor a waypoint's. `address`: where it comes from. Errors: ApiError, where the API
   * server does not answer; WEFT_TOKEN_REVIEW_LIMIT, where it is not asked.
   */
  async callerOf(token: string, address: string): Promise<string | undefined> {
    const reviewed = await this.#limits.review(token, address, () => this.#review(token));
    return reviewed && callerOf(reviewed, this.agents, this.isWaypoint);
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
