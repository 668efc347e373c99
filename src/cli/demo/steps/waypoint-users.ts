/** Policies on users: tokens that the waypoint validates, and access by their claims. */
import assert from 'node:assert/strict';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { until } from '../../../base/wait.js';
import { refusedStatus, ask, request } from './waypoint-client.js';
import { ordersVip, startOrders, stopOrders } from './orders.js';
import type { Step } from '../stage.js';

const issuer = 'https://id.example.com';
const url = (path: string): string => `http://${ordersVip}${path}`;

/** An issuer with one key. */
class Issuer {
  private constructor(
    private readonly keyId: string,
    private readonly key: Awaited<ReturnType<typeof generateKeyPair>>['privateKey'],
    readonly jwk: object,
  ) {}

  static async create(keyId: string): Promise<Issuer> {
    const { privateKey, publicKey } = await generateKeyPair('ES256');
    return new Issuer(keyId, privateKey, { ...(await exportJWK(publicKey)), kid: keyId, alg: 'ES256' });
  }

  token(claims: Record<string, unknown>, { expires = '1h', audience = 'orders' } = {}): Promise<string> {
    return new SignJWT(claims)
      .setProtectedHeader({ alg: 'ES256', kid: this.keyId })
      .setIssuer(issuer)
      .setAudience(audience)
      .setExpirationTime(expires)
      .sign(this.key);
  }
}

const policies = (issuers: readonly Issuer[]): string => `apiVersion: weft.dev/v1alpha1
kind: AuthenticationPolicy
metadata: { name: users, namespace: shop }
spec:
  targetRefs: [{ group: '', kind: Service, name: orders }]
  jwt:
    issuers:
      - issuer: ${issuer}
        audiences: [orders]
        jwks: { inline: '${JSON.stringify({ keys: issuers.map(({ jwk }) => jwk) })}' }
        claimHeaders: [{ header: x-user, claim: [sub] }]
---
apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: admins-only, namespace: shop }
spec:
  action: DENY
  targetRefs: [{ group: '', kind: Service, name: orders }]
  rules:
    - from: [{ jwt: { claims: [{ path: [roles], notValues: [admin] }] } }]
      to: [{ paths: ['/admin*'] }]
`;
const bearer = (token: string): string[] => ['-H', `authorization: Bearer ${token}`];
const statusOf = async (path: string, token?: string): Promise<number> =>
  (await ask('weft-web', url(path), ...(token === undefined ? [] : bearer(token)))).status;

export const waypointUserSteps: readonly Step[] = [
  {
    name: 'waypoint-jwt',
    title: 'Tokens of users: 401 without a valid one, 403 without the role, keys that rotate, no way around',
    run: async (stage) => {
      await startOrders(stage);
      const [old, next] = [await Issuer.create('2025'), await Issuer.create('2026')];
      stage.write('users.yaml', policies([old]));
      await until('a token is required', 30_000, async () => (await statusOf('/cart')) === 401);
      const ann = await old.token({ sub: 'ann', roles: ['user'] });
      const root = await old.token({ sub: 'root', roles: ['user', 'admin'] });

      const passed = await ask('weft-web', url('/cart'), ...bearer(ann), '-H', 'x-user: root');
      const { headers } = JSON.parse(passed.body) as { headers: Record<string, string> };
      assert.equal(headers['x-user'], 'ann', 'the endpoint gets the user that the token proves');
      assert.equal(headers['authorization'], undefined, 'and not the token');

      const forged = await (await Issuer.create('2025')).token({ sub: 'ann', roles: ['admin'] });
      const refused = {
        'without a token': await statusOf('/cart'),
        expired: await statusOf('/cart', await old.token({ sub: 'ann' }, { expires: '-1h' })),
        'for another audience': await statusOf(
          '/cart',
          await old.token({ sub: 'ann' }, { audience: 'bank' }),
        ),
        'signed with another key': await statusOf('/cart', forged),
      };
      for (const [what, status] of Object.entries(refused)) assert.equal(status, 401, what);

      const roles = { user: await statusOf('/admin/x', ann), admin: await statusOf('/admin/x', root) };
      assert.deepEqual(roles, { user: 403, admin: 200 });

      // The token is valid, but nobody validates it for requests to the pod's own address.
      const around = await ask('weft-web', 'http://10.244.2.60:9090/cart', ...bearer(ann));
      assert.ok(around.status === 0 || around.status === 403, `${around.status} ${around.body}`);

      stage.write('users.yaml', policies([old, next]));
      const renewed = await next.token({ sub: 'ann', roles: ['user'] });
      await until('the new key counts', 30_000, async () => (await statusOf('/cart', renewed)) === 200);
      assert.equal(await statusOf('/cart', ann), 200, 'both keys count');
      stage.write('users.yaml', policies([next]));
      await until('the old key counts no more', 30_000, async () => (await statusOf('/cart', ann)) === 401);
      assert.equal(await statusOf('/cart', renewed), 200);

      const denied = await request(stage, 'why the user was denied', ({ path, flags }) =>
        Boolean(path === '/admin/x' && flags === 'RBAC'),
      );
      const line = await request(stage, 'why the old key is refused', ({ why }) =>
        String(why).includes('(unknown-key)'),
      );
      stage.remove('users.yaml');
      await until('no token is required', 30_000, async () => (await statusOf('/cart')) === 200);
      await stopOrders(stage);
      return {
        refused,
        roles,
        byPodAddress: refusedStatus(around),
        deniedUser: denied['requestPrincipal'],
        deniedBy: denied['policy'],
        rotated: line['why'],
      };
    },
    summary: (e) =>
      `${Object.keys(e['refused'] as object).length} kinds of bad tokens got 401, a user without the role 403 (${String(e['deniedUser'])} by ${String(e['deniedBy'])}); a removed key: "${String(e['rotated'])}"`,
  },
];
