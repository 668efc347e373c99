/** Who a projected service account token is of, by the API server's word; answers are kept for a short while. */
import { createHash } from 'node:crypto';
import type { KubeConfig } from '@kubernetes/client-node';
import { waypointCaller, type WaypointName } from '../compile/waypoints.js';
import { tokenAudience } from '../serve/tokens.js';
import { requestJson } from '../../src/kubernetes/request.js';

const tokenBytesMax = 16 << 10;
const keptMs = 30_000;
const keptMax = 4_096;

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
  readonly #known = new Map<string, { readonly reviewed: Reviewed | undefined; readonly untilMs: number }>();

  constructor(
    private readonly config: KubeConfig,
    /** The agents' service account. */
    private readonly agents: string,
    /** Asked anew each time: a Gateway comes and goes while its pods' tokens stay good. */
    private readonly isWaypoint: (name: WaypointName) => boolean,
  ) {}

  /** Undefined where the token is neither an agent's nor a waypoint's. Errors: ApiError, where the API server does not answer. */
  async callerOf(token: string): Promise<string | undefined> {
    const reviewed = await this.#review(token);
    return reviewed && callerOf(reviewed, this.agents, this.isWaypoint);
  }

  async #review(token: string): Promise<Reviewed | undefined> {
    if (token.length > tokenBytesMax) return undefined;
    const key = createHash('sha256').update(token).digest('base64');
    const found = this.#known.get(key);
    if (found && found.untilMs > Date.now()) return found.reviewed;
    const review = (await requestJson(this.config, 'POST', '/apis/authentication.k8s.io/v1/tokenreviews', {
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenReview',
      spec: { token, audiences: [tokenAudience] },
    })) as Review;
    const reviewed = accountOfReview(review);
    if (this.#known.size >= keptMax) this.#known.clear();
    this.#known.set(key, { reviewed, untilMs: Date.now() + keptMs });
    return reviewed;
  }
}
