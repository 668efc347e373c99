/** A decision service of the user's is asked about requests. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { until } from '../../../base/wait.js';
import { signalProcess } from '../../run.js';
import { here, type Step } from '../stage.js';
import { actedOn, applyPolicy, metric, ordersVip, removePolicy, seenAt, total } from './orders.js';
import { ask } from './waypoint-client.js';

const service = `apiVersion: v1
kind: Service
metadata: { name: decisions, namespace: shop }
spec:
  selector: { app: api }
  clusterIPs: [10.96.0.41]
  ports: [{ name: grpc, port: 9191 }]
`;
const program = 'decide';

export const waypointAuthorizationSteps: readonly Step[] = [
  {
    name: 'waypoint-external-authorization',
    title: "A service of the user decides about requests by Envoy's API; while it hangs, nothing passes",
    run: async (stage) => {
      const start = (): void =>
        void stage.testbed.start(program, 'weft-api', process.execPath, [join(here, 'decide.js'), '9191']);
      start();
      stage.write('decisions.yaml', service);
      const policy = await applyPolicy(
        stage,
        'guard',
        `
  externalAuthorization:
    - name: users
      matches: [{ path: { type: PathPrefix, value: /guarded } }]
      service: { name: decisions, port: 9191 }
      timeout: 3s
      upstreamHeaders: [x-checked-user]
`,
      );
      const as = (user: string, path = '/guarded') =>
        ask('weft-web', `http://${ordersVip}${path}`, '-H', `x-user: ${user}`, '-H', 'x-checked-user: root');
      const allowed = await until('the service decides', 20_000, async () => {
        const one = await as('ann');
        return one.status === 200 && one;
      });
      const { headers } = JSON.parse(allowed.body) as { headers: Record<string, string> };
      assert.equal(headers['x-checked-user'], 'ann', 'the endpoint learns the user from the decision');
      const before = total(await seenAt('/guarded'));
      const denied = await as('eve');
      const unknown = await ask('weft-web', `http://${ordersVip}/guarded`);
      assert.deepEqual([denied.status, unknown.status], [403, 401]);
      assert.equal(total(await seenAt('/guarded')), before, 'what is denied reaches no endpoint');
      const free = await as('eve', '/free');
      assert.equal(free.status, 200, 'other paths are not asked for');
      const mark = stage.testbed.mark(program);
      assert.ok(mark && signalProcess(mark, 'SIGSTOP'));
      const hanging = await as('ann');
      signalProcess(mark, 'SIGCONT');
      await stage.testbed.stop(program, 'SIGKILL');
      const gone = await as('ann');
      assert.deepEqual([hanging.status, gone.status], [503, 503]);
      start();
      await until('it decides again', 20_000, async () => (await as('ann')).status === 200);
      const [line = {}] = await until('the waypoint has logged the denial', 20_000, () => {
        const acted = actedOn(stage, `${policy} users`);
        return acted.length > 0 && acted;
      });
      assert.equal(line['flags'], 'UAEX');
      const counted = await metric('envoy_cluster_ext_authz_denied');
      await removePolicy(stage, 'guard');
      stage.remove('decisions.yaml');
      await stage.testbed.stop(program);
      return {
        allowed: allowed.status,
        denied: denied.status,
        unknown: unknown.status,
        hanging: hanging.status,
        gone: gone.status,
        counted,
      };
    },
    summary: (e) =>
      `ann passed, eve got ${String(e['denied'])}, and a request without a user ${String(e['unknown'])}; while the service hung, and without it: ${String(e['hanging'])}`,
  },
];
