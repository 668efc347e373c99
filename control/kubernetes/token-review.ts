/** Who a projected service account token is of, by the API server's word; answers are kept for a short while. */
import { createHash } from 'node:crypto';
import type { KubeConfig } from '@kubernetes/client-node';
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

/** The node that the caller's pod runs on, where the caller is `account` (system:serviceaccount:NAMESPACE:NAME). Pure. */
export function nodeOfReview(review: Review, account: string): string | undefined {
  const { authenticated, audiences = [], user } = review.status ?? {};
  if (authenticated !== true || !audiences.includes(tokenAudience) || user?.username !== account)
    return undefined;
  // The token is bound to a pod, and the pod to its node: the API server checks that both are still there.
  const node = user.extra?.['authentication.kubernetes.io/node-name'];
  const pod = user.extra?.['authentication.kubernetes.io/pod-uid'];
  return pod?.length === 1 && node?.length === 1 ? node[0] : undefined;
}

export class TokenReviewer {
  readonly #known = new Map<string, { readonly node: string | undefined; readonly untilMs: number }>();

  constructor(
    private readonly config: KubeConfig,
    /** The agents' service account. */
    private readonly account: string,
  ) {}

  /** Undefined where the token is none of an agent's. Errors: ApiError, where the API server does not answer. */
  async nodeOf(token: string): Promise<string | undefined> {
    if (token.length > tokenBytesMax) return undefined;
    const key = createHash('sha256').update(token).digest('base64');
    const found = this.#known.get(key);
    if (found && found.untilMs > Date.now()) return found.node;
    const review = (await requestJson(this.config, 'POST', '/apis/authentication.k8s.io/v1/tokenreviews', {
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenReview',
      spec: { token, audiences: [tokenAudience] },
    })) as Review;
    const node = nodeOfReview(review, this.account);
    if (this.#known.size >= keptMax) this.#known.clear();
    this.#known.set(key, { node, untilMs: Date.now() + keptMs });
    return node;
  }
}
