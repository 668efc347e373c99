import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseTrustDomain } from '../../../src/model/identity.js';
import { compile } from '../../compile/compile.js';
import { remarksText } from '../remarks.js';
import { parseManifests } from '../../source/parse.js';
import { telemetryFlags } from './telemetry.js';

const gateway = (namespace: string): string => `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: wp, namespace: ${namespace} }
spec: { gatewayClassName: weft-waypoint, listeners: [{ name: mesh, port: 15008, protocol: HBONE }] }
---`;
const telemetry = (namespace: string, name: string, spec: string): string => `
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: { name: ${name}, namespace: ${namespace} }
spec: ${spec}
---`;
/** The flags of each namespace's waypoint, and what the status of the object `a` says. */
function read(...parts: readonly string[]): Record<string, unknown> {
  const { objects, errors } = parseManifests('x', [gateway('shop'), gateway('bank'), ...parts].join('\n'));
  assert.deepEqual(errors, []);
  const compiler = compile(objects, { trustDomain: parseTrustDomain('cluster.local'), rootsVersion: '1' });
  const flags = [...compiler.ofKind('Gateway')].map((one) => [
    one.metadata.namespace ?? '',
    telemetryFlags(compiler, one).join(' '),
  ]);
  const a = objects.find(({ metadata }) => metadata.name === 'a');
  return { ...Object.fromEntries(flags), ...(a ? { remark: remarksText(compiler.remarksOf(a)) } : {}) };
}

test('a Telemetry turns the access log on and off, and sets the share of traced requests, of its own waypoints', () => {
  assert.deepEqual(
    read(
      telemetry(
        'shop',
        'wide',
        '{ accessLogging: [{ disabled: true }], tracing: [{ randomSamplingPercentage: 5 }] }',
      ),
    ),
    { shop: '--access-log-mode=none --trace-sampling=0.05', bank: '' },
  );
});

test('the most specific object with a section decides about it: of the Gateway, of the namespace, of the mesh', () => {
  const targetRefs = 'targetRefs: [{ group: gateway.networking.k8s.io, kind: Gateway, name: wp }]';
  assert.deepEqual(
    read(
      telemetry('weft-system', 'mesh', '{ accessLogging: [{}], tracing: [{ disableSpanReporting: true }] }'),
      telemetry('shop', 'wide', '{ accessLogging: [{ disabled: true }] }'),
      telemetry(
        'shop',
        'own',
        `{ ${targetRefs}, accessLogging: [{ filter: { expression: response.code >= 500 } }] }`,
      ),
      telemetry('shop', 'some', '{ selector: { matchLabels: { app: api } }, accessLogging: [{}] }'),
    ),
    { shop: '--access-log-mode=errors --trace-sampling=0', bank: '--access-log-mode=all --trace-sampling=0' },
  );
});

test('what has no effect is in the status with what to use instead', () => {
  const { shop, remark } = read(
    telemetry(
      'shop',
      'a',
      '{ accessLogging: [{ match: { mode: CLIENT } }], metrics: [{ overrides: [{ match: { metric: REQUEST_COUNT }, disabled: true }] }] }',
    ),
  );
  assert.equal(shop, '');
  assert.match(String(remark), /^accessLogging\[\]\.match\.mode: no effect: only waypoints log/);
  assert.match(String(remark), /metrics.*no effect: .*use metric_relabel_configs/);
});
