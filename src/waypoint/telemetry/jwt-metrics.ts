/** Metrics of JSON Web Tokens. The counts are kept beside the caches, so that a request costs no look-up of labels. */
import type { Registry } from 'prom-client';
import { registerMetric } from '../../telemetry/series.js';
import type { JwtTokens } from '../jwt/jwt-tokens.js';

/** Registers the metrics of a worker's tokens. */
export function registerJwtMetrics(registry: Registry, jwt: Pick<JwtTokens, 'counts' | 'size'>): void {
  const { counts } = jwt;
  const register = (name: string, type: 'counter' | 'gauge', help: string, value: () => number): void =>
    registerMetric(registry, { name, help, type, labelNames: [] }, () => [{ labels: {}, value: value() }]);
  registerMetric(
    registry,
    {
      name: 'weft_waypoint_jwt_requests_total',
      help: 'Requests by the policy that asks for a token, the issuer and the result',
      type: 'counter',
    },
    () =>
      [...counts].flatMap(({ policy, issuer, results }) =>
        [...results].map(([result, value]) => ({ labels: { policy, issuer, result }, value })),
      ),
  );
  register(
    'weft_waypoint_jwt_verifications_total',
    'counter',
    'Signatures of tokens that were verified',
    () => counts.verifications,
  );
  register(
    'weft_waypoint_jwt_refetches_total',
    'counter',
    'Requests to fetch a key set again, because a token names a key that is not in it',
    () => counts.refetches,
  );
  register('weft_waypoint_jwt_cache_hits_total', 'counter', 'Tokens that were remembered', () => counts.hits);
  register(
    'weft_waypoint_jwt_cache_misses_total',
    'counter',
    'Tokens that were not remembered',
    () => counts.misses,
  );
  register('weft_waypoint_jwt_cache_tokens', 'gauge', 'Tokens that are remembered', () => jwt.size.entries);
  register(
    'weft_waypoint_jwt_cache_bytes',
    'gauge',
    'Memory of the tokens that are remembered, estimated',
    () => jwt.size.bytes,
  );
}
