/**
 * Random VirtualServices and requests: a VirtualService and the HTTPRoutes that `weft migrate convert` writes for it send each request to the
 * same Service, as the matcher of the waypoint reads them. What convert cannot write it leaves out as a whole.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { stringify } from 'yaml';
import { compile } from '../../control/compile/compile.js';
import { convert } from '../../control/migrate/convert/convert.js';
import { loadTexts } from '../../control/migrate/load.js';
import { parseManifests } from '../../control/source/parse.js';
import type { Route } from '../../src/model/route.js';
import { parseTrustDomain } from '../../src/model/identity.js';
import type { RequestHead } from '../../src/waypoint/http/http-stream.js';
import { compileRoutes } from '../../src/waypoint/routes/compile.js';
import { fractionOf } from '../support/random.js';

const service = (name: string, ip: number): string =>
  `apiVersion: v1\nkind: Service\nmetadata: { name: ${name}, namespace: shop, labels: { weft.dev/waypoint: wp } }\nspec: { clusterIP: 10.96.0.${ip}, selector: { app: ${name} }, ports: [{ name: http, port: 80 }] }\n---\n`;
const mesh = `apiVersion: v1
kind: Namespace
metadata: { name: shop, labels: { weft.dev/mesh: enabled } }
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: wp, namespace: shop }
spec: { gatewayClassName: weft-waypoint, listeners: [{ name: mesh, port: 15008, protocol: HBONE }] }
---
${['api', 'b0', 'b1', 'b2', 'b3'].map((name, i) => service(name, i + 1)).join('')}`;

/** The routes of the Service api. */
function routesOf(text: string): Route[] {
  const { objects, errors } = parseManifests('in.yaml', `${mesh}${text}`);
  assert.deepEqual(errors, []);
  const compiler = compile(objects, { trustDomain: parseTrustDomain('cluster.local'), rootsVersion: '1' });
  return [...compiler.all()].flatMap((one) => (one.kind === 'route' ? [one.value] : []));
}

const next = fractionOf(20_260_102);
const one = <T>(list: readonly T[]): T => list[Math.floor(next() * list.length)] as T;
const maybe = (share: number, make: () => object): object => (next() < share ? make() : {});

const uris = [
  { exact: '/a' },
  { exact: '/a/b' },
  { exact: '/c' },
  { prefix: '/' },
  { prefix: '/a' },
  { prefix: '/a/' },
  { prefix: '/c' },
  { regex: '/a.*' },
  { regex: '/(a|c)/b' },
  { regex: '/c[0-9]?' },
];
const values = [{ exact: 'x' }, { exact: 'y' }, { prefix: 'x' }, { regex: 'x|y' }];
const matchOf = (): object => ({
  ...maybe(0.7, () => ({ uri: one(uris) })),
  ...maybe(0.2, () => ({ method: { exact: one(['GET', 'POST']) } })),
  ...maybe(0.3, () => ({ headers: { [one(['h', 'g'])]: one(values) } })),
  ...maybe(0.2, () => ({ queryParams: { q: one([{ exact: 'x' }, { exact: 'y' }, { prefix: 'x' }]) } })),
});
function virtualService(): object {
  const count = 1 + Math.floor(next() * 3);
  const http = Array.from({ length: count }, (_, i) => ({
    match: Array.from({ length: 1 + Math.floor(next() * 2) }, matchOf).filter(
      (match) => Object.keys(match).length > 0,
    ),
    route: [{ destination: { host: `b${i}`, port: { number: 80 } } }],
  })).map(({ match, route }) => (match.length > 0 ? { match, route } : { route }));
  return {
    apiVersion: 'networking.istio.io/v1',
    kind: 'VirtualService',
    metadata: { name: 'r', namespace: 'shop' },
    spec: { hosts: ['api'], http },
  };
}
function requestOf(): RequestHead {
  const path = one(['/', '/a', '/ab', '/a/', '/a/b', '/c', '/c/b', '/c1', '/cc']);
  const query = one(['', '', '?q=x', '?q=y', '?q=xx']);
  const header = one([[], [], ['h', 'x'], ['h', 'y'], ['g', 'xx'], ['h', 'x', 'g', 'y']]);
  return {
    method: one(['GET', 'POST']),
    path: `${path}${query}`,
    authority: 'api.shop',
    scheme: 'http',
    headers: header,
  };
}
const targetOf = (routes: readonly Route[], request: RequestHead): string =>
  compileRoutes(routes)?.(request)
    ?.rule.backends.map(({ target }) => JSON.stringify(target))
    .join() ?? 'none';

test('a VirtualService and the HTTPRoutes that convert writes send each request to the same Service', () => {
  let [converted, left, reached] = [0, 0, 0];
  for (let round = 0; round < 400; round++) {
    const text = stringify(virtualService());
    const { files } = convert(loadTexts([{ file: 'in.yaml', text: `${mesh}${text}` }]), {
      root: 'weft-system',
      istioRoot: 'istio-system',
      clusterNetworks: [],
    });
    const output = files.map((file) => file.text).join('---\n');
    const made = routesOf(output);
    if (made.length === 0) {
      left++;
      continue;
    }
    converted++;
    const written = routesOf(text);
    for (let i = 0; i < 60; i++) {
      const request = requestOf();
      const [before, after] = [targetOf(written, request), targetOf(made, request)];
      if (before !== 'none') reached++;
      assert.equal(after, before, `${text}\n${output}\n${JSON.stringify(request)}`);
    }
  }
  assert.ok(converted > 100 && left > 20 && reached > 2000, `${converted} ${left} ${reached}`);
});
