/** Any VirtualService that the published schema accepts is compiled or closed. It never throws, and its status says what is closed. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { services } from '../support/virtual-services.js';
import { decodeRoute, encodeRoute } from '../../src/discovery/codec/route.js';
import { parseTrustDomain } from '../../src/model/identity.js';
import { compileRoutes } from '../../src/waypoint/routes/compile.js';
import { compile } from '../../control/compile/compile.js';
import type { MeshObject } from '../../control/objects/objects.js';
import { parseManifests } from '../../control/source/parse.js';
import { publishedSchema } from '../../control/source/schemas.js';
import { readObject } from '../../control/source/validate.js';
import { usedFields } from '../../control/dialects/fields.js';
import { virtualServiceFields } from '../../control/dialects/istio/virtual-service-fields.js';
import { randomOf } from '../support/random.js';

interface Schema {
  readonly type?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: Schema | boolean;
  readonly items?: Schema;
  readonly enum?: readonly string[];
  readonly oneOf?: readonly unknown[];
  readonly required?: readonly string[];
}
const spec: Schema | undefined = publishedSchema('VirtualService')?.properties['spec'];
assert.ok(spec);

const seed = Number(process.env['FUZZ_SEED'] ?? Date.now() % 2 ** 31);
const below = randomOf(seed);

const pick = <T>(list: readonly T[]): T => list[below(list.length)] as T;
const texts = [
  'payment-service',
  'two',
  'secure',
  '*',
  '*.production.svc.cluster.local',
  'away.other.svc.cluster.local',
  'mesh',
  '.',
  '~',
  'inner',
  '/a',
  '/',
  '',
  '1s',
  '5xx,503',
  '(',
  '.*',
  '10.0.0.0/8',
  'https',
  'UNAVAILABLE',
  'x',
  '%REQ(x)%',
  'constructor',
  '__proto__',
  'é',
  '\n',
  ':path',
  'host',
];
const numbers = [0, 1, 80, 443, 8080, 9000, 100, 200, 503, 301, 302, -1, 1.5, 4_294_967_295, 1e20];

/** Values that make sense, by the field's name, so that not everything is closed. */
const sensible: Readonly<Record<string, unknown>> = {
  host: 'payment-service',
  exact: '/a',
  prefix: '/a',
  regex: '/.*',
  fixedDelay: '1s',
  timeout: '1s',
  perTryTimeout: '1s',
  backoff: '1s',
  retryOn: '5xx',
  port: 80,
  number: 80,
  status: 200,
  httpStatus: 503,
  redirectCode: 302,
  value: 50,
  percent: 5,
  weight: 1,
  grpcStatus: 'UNAVAILABLE',
  uri: '/b',
  maxAge: '1s',
  match: '/.*',
  http2Error: undefined,
  delegate: undefined,
  redirect: undefined,
  directResponse: undefined,
};
const member = (name: string, schema: Schema, depth: number): unknown =>
  Object.hasOwn(sensible, name) &&
  (schema.type !== 'object' || sensible[name] === undefined) &&
  schema.type !== 'array' &&
  below(12) > 0
    ? sensible[name]
    : random(schema, depth);

function random(schema: Schema, depth = 0): unknown {
  if (schema.enum) return pick(schema.enum);
  switch (schema.type) {
    case 'array':
      return Array.from({ length: below(depth > 3 ? 2 : 3) }, () => random(schema.items ?? {}, depth + 1));
    case 'integer':
    case 'number':
      return pick(numbers);
    case 'boolean':
      return pick([true, false]);
    case 'string':
      return pick(texts);
    default: {
      const made: Record<string, unknown> = {};
      const names = Object.keys(schema.properties ?? {});
      const only = schema.oneOf && below(20) > 0 ? pick(names) : undefined;
      for (const [name, one] of Object.entries(schema.properties ?? {})) {
        const isWanted =
          below(depth === 0 ? 2 : 4) === 0 || name === 'route' || schema.required?.includes(name);
        if (only === undefined ? !isWanted : name !== only) continue;
        const value = member(name, one, depth + 1);
        if (value !== undefined) made[name] = value;
      }
      const { additionalProperties: values } = schema;
      if (typeof values === 'object')
        for (let i = below(3); i > 0; i--)
          made[pick(['x-a', 'app', 'host', ':method'])] = random(values, depth + 1);
      return made;
    }
  }
}

/** Half of the objects concern Services. */
function specOf(name: string): object {
  const made = random(spec ?? {}) as Record<string, unknown>;
  if (below(2) === 0) return made;
  const { gateways: _, exportTo: __, ...rest } = made;
  return { ...rest, hosts: name === 'a' ? ['payment-service', 'two', 'secure'] : [] };
}

test(`any object is compiled or closed, and waypoints compile what comes of it (seed ${seed})`, () => {
  const given = parseManifests('x', services).objects;
  let open = 0;
  let closed = 0;
  for (let round = 0; round < 1_500; round++) {
    const of = (name: string): MeshObject =>
      ({
        kind: 'VirtualService',
        metadata: { name, namespace: 'production' },
        spec: specOf(name),
      }) as MeshObject;
    const written = [of('a'), of('inner')];
    const shown = JSON.stringify(written.map((one) => ('spec' in one ? one.spec : undefined)));
    try {
      const objects = written.flatMap((one) => readObject(one).object ?? []);
      assert.equal(objects.length, 2, 'each has a form in force');
      const compiler = compile([...given, ...objects], {
        trustDomain: parseTrustDomain('cluster.local'),
        rootsVersion: '1',
      });
      for (const resource of compiler.all()) {
        if (resource.kind !== 'route') continue;
        const decoded = decodeRoute(encodeRoute(resource.value));
        assert.ok(decoded.ok, JSON.stringify(decoded));
        compileRoutes([decoded.value])?.({
          method: 'GET',
          path: '/a',
          authority: 'two',
          scheme: 'http',
          headers: [],
        });
        const isClosed = resource.value.rules.some(({ backends }) => backends[0]?.target.kind === 'invalid');
        if (isClosed) closed++;
        else open++;
        const source = objects.find(({ metadata }) => metadata.name === resource.value.name);
        assert.ok(source?.kind === 'VirtualService');
        const isInvalid = source.invalid !== undefined;
        // Whatever is closed, the status says it.
        if (isClosed && !isInvalid) assert.ok(compiler.remarksOf(source).length > 0);
        const closes = isInvalid
          ? []
          : usedFields(source.spec, virtualServiceFields).filter(({ support }) => support.does === 'closes');
        if (
          closes.some(({ entry }) => entry.startsWith('http[].fault')) &&
          resource.value.kind === 'http' &&
          resource.value.rules.length === source.spec.http?.length
        )
          assert.ok(isClosed, 'what has a field that closes is closed');
      }
    } catch (error) {
      throw new Error(`${shown}: ${error instanceof Error ? error.stack : String(error)}`, { cause: error });
    }
  }
  assert.ok(open > 20 && closed > 20, `${open} routes open, ${closed} closed`);
});
