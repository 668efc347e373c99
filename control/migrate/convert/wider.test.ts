/**
 * Random AuthorizationPolicies and requests: what the converted policies allow, Istio allows, too; and if nothing was lost, both allow the
 * same. Istio's side is evaluated here by its documentation, Weft's side by the engine that enforces policies.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { stringify } from 'yaml';
import { cidrContains, parseCidr, parseIp } from '../../../src/model/address.js';
import { parseSpiffeId } from '../../../src/model/identity.js';
import { authorize } from '../../../src/policy/authorize.js';
import { compilePolicy } from '../../compile/policies.js';
import { parseManifests } from '../../source/parse.js';
import { loadTexts } from '../load.js';
import { convert } from './convert.js';
import { fractionOf } from '../../../test/support/random.js';

interface Request {
  /** `NAMESPACE/ACCOUNT`; undefined: plaintext. */
  readonly client: string | undefined;
  readonly ip: string;
  readonly remoteIp: string;
  readonly jwt: { readonly iss: string; readonly sub?: string; readonly role?: string } | undefined;
  readonly sni: string;
  readonly port: number;
  readonly method: string;
  readonly path: string;
  readonly host: string;
  readonly env: string | undefined;
}
type Fields = Readonly<Record<string, readonly string[]>>;
interface Condition {
  readonly key: string;
  readonly values?: readonly string[];
  readonly notValues?: readonly string[];
}
interface Rule {
  readonly from?: readonly { readonly source: Fields }[];
  readonly to?: readonly { readonly operation: Fields }[];
  readonly when?: readonly Condition[];
}
interface Policy {
  readonly action?: string;
  readonly rules?: readonly Rule[];
}

const vocabulary: Readonly<Record<string, readonly string[]>> = {
  principals: ['cluster.local/ns/a/sa/x', 'cluster.local/ns/a/*', '*/sa/y', '*'],
  requestPrincipals: ['*', 'issuer/me', 'issuer/you', 'issuer/m*', 'issuer/*', 'other/me', '*/me'],
  namespaces: ['a', 'b*', '*b'],
  ipBlocks: ['10.0.0.0/8', '10.1.0.0/16'],
  remoteIpBlocks: ['192.0.2.0/24'],
  serviceAccounts: ['a/x', 'b/y'],
  methods: ['GET', 'POST', 'G*', '*'],
  paths: ['/a', '/a/*', '*/b', '/{*}/b', '*'],
  hosts: ['shop.example', '*.example', 'shop.*'],
  ports: ['80', '443'],
};
const sources = [
  'principals',
  'requestPrincipals',
  'namespaces',
  'ipBlocks',
  'remoteIpBlocks',
  'serviceAccounts',
];
const operations = ['methods', 'paths', 'hosts', 'ports'];
const conditions: Readonly<Record<string, readonly string[]>> = {
  'request.headers[x-env]': ['prod', 'p*', '*'],
  'source.ip': ['10.0.0.0/8'],
  'source.namespace': ['a'],
  'source.principal': ['cluster.local/ns/a/sa/x'],
  'destination.port': ['80'],
  'connection.sni': ['one'],
  'request.auth.claims[role]': ['me'],
  'remote.ip': ['192.0.2.0/24'],
};

const textMatches = (pattern: string, value: string | undefined): boolean =>
  value !== undefined &&
  (pattern === '*'
    ? value !== ''
    : pattern.endsWith('*')
      ? value.startsWith(pattern.slice(0, -1))
      : pattern.startsWith('*')
        ? value.endsWith(pattern.slice(1))
        : value === pattern);
const pathMatches = (pattern: string, path: string): boolean =>
  pattern.includes('{*}')
    ? new RegExp(`^${pattern.replaceAll('{*}', '[^/]+')}$`).test(path)
    : textMatches(pattern, path);
const ipMatches = (block: string, ip: string): boolean => cidrContains(parseCidr(block), parseIp(ip));

/** Whether a field of Istio, without `not`, has the value of the request. */
function has(name: string, value: string, request: Request): boolean {
  const [namespace, account] = request.client?.split('/') ?? [];
  const principal = request.client === undefined ? undefined : `cluster.local/ns/${namespace}/sa/${account}`;
  switch (name) {
    case 'principals':
    case 'source.principal':
      return textMatches(value, principal);
    case 'namespaces':
    case 'source.namespace':
      return textMatches(value, namespace);
    case 'serviceAccounts':
      return value === request.client;
    case 'ipBlocks':
    case 'source.ip':
      return ipMatches(value, request.ip);
    case 'remoteIpBlocks':
    case 'remote.ip':
      return ipMatches(value, request.remoteIp);
    case 'requestPrincipals': {
      const { iss, sub } = request.jwt ?? {};
      return textMatches(value, iss === undefined || sub === undefined ? undefined : `${iss}/${sub}`);
    }
    case 'request.auth.claims[role]':
      return textMatches(value, request.jwt?.role);
    case 'connection.sni':
      return textMatches(value, request.sni);
    case 'methods':
      return textMatches(value, request.method);
    case 'paths':
      return pathMatches(value, request.path);
    case 'hosts':
      return textMatches(value, request.host);
    case 'ports':
    case 'destination.port':
      return value === String(request.port);
    default:
      return textMatches(value, request.env);
  }
}
const bare = (name: string): string =>
  name.startsWith('not') ? name.charAt(3).toLowerCase() + name.slice(4) : name;
const entryHolds = (fields: Fields, request: Request): boolean =>
  Object.entries(fields).every(
    ([name, values]) => values.some((value) => has(bare(name), value, request)) !== name.startsWith('not'),
  );
const ruleHolds = ({ from, to, when = [] }: Rule, request: Request): boolean =>
  (from === undefined || from.some(({ source }) => entryHolds(source, request))) &&
  (to === undefined || to.some(({ operation }) => entryHolds(operation, request))) &&
  when.every(
    ({ key, values, notValues }) =>
      (values === undefined || values.some((value) => has(key, value, request))) &&
      (notValues === undefined || !notValues.some((value) => has(key, value, request))),
  );
/** CUSTOM counts as a denial: its provider may deny. */
function istioAllows(policies: readonly Policy[], request: Request): boolean {
  const matches = ({ rules = [] }: Policy): boolean => rules.some((rule) => ruleHolds(rule, request));
  if (policies.some((one) => (one.action === 'DENY' || one.action === 'CUSTOM') && matches(one)))
    return false;
  const allows = policies.filter(({ action = 'ALLOW' }) => action === 'ALLOW');
  return allows.length === 0 || allows.some(matches);
}

class Maker {
  constructor(private readonly next: () => number) {}
  one<T>(list: readonly T[]): T {
    return list[Math.floor(this.next() * list.length)] as T;
  }
  some<T>(list: readonly T[], max: number): T[] {
    return [...new Set(Array.from({ length: 1 + Math.floor(this.next() * max) }, () => this.one(list)))];
  }
  maybe<T>(share: number, make: () => T): T | undefined {
    return this.next() < share ? make() : undefined;
  }
  fields(names: readonly string[]): Fields {
    return Object.fromEntries(
      this.some(names, 2).map((name) => [
        this.next() < 0.3 ? `not${name.charAt(0).toUpperCase()}${name.slice(1)}` : name,
        this.some(vocabulary[name] ?? [], 2),
      ]),
    );
  }
  rule(): Rule {
    const from = this.maybe(0.6, () => this.some([0, 1], 2).map(() => ({ source: this.fields(sources) })));
    const to = this.maybe(0.6, () =>
      this.some([0, 1], 2).map(() => ({ operation: this.fields(operations) })),
    );
    const when = this.maybe(0.4, () =>
      this.some(Object.keys(conditions), 2).map((key) => ({
        key,
        [this.next() < 0.3 ? 'notValues' : 'values']: this.some(conditions[key] ?? [], 2),
      })),
    );
    return { ...(from ? { from } : {}), ...(to ? { to } : {}), ...(when ? { when } : {}) };
  }
  policy(): Policy {
    const action = this.one(['ALLOW', 'ALLOW', 'DENY', 'DENY', 'CUSTOM']);
    const rules = this.maybe(0.95, () => this.some([0, 1], 2).map(() => this.rule()));
    return {
      action,
      ...(action === 'CUSTOM' ? { provider: { name: 'p' } } : {}),
      ...(rules ? { rules } : {}),
    };
  }
  request(): Request {
    return {
      client: this.one(['a/x', 'a/y', 'b/y', 'ab/z', undefined]),
      ip: this.one(['10.1.2.3', '10.2.2.3', '172.16.0.1']),
      remoteIp: this.one(['192.0.2.1', '198.51.100.1']),
      jwt: this.one([
        { iss: 'issuer', sub: 'me', role: 'me' },
        { iss: 'issuer', sub: 'you' },
        { iss: 'issuer/a', sub: 'me' },
        { iss: 'other', sub: 'me', role: 'you' },
        { iss: 'issuer' },
        undefined,
      ]),
      sni: this.one(['one', 'two']),
      port: this.one([80, 443, 8080]),
      method: this.one(['GET', 'POST', 'PUT']),
      path: this.one(['/a', '/a/b', '/c/b', '/']),
      host: this.one(['shop.example', 'api.example', 'other.test']),
      env: this.one(['prod', 'play', 'dev', undefined]),
    };
  }
}

test('what converted policies allow, Istio allows, and the same if nothing was lost', () => {
  const maker = new Maker(fractionOf(20_260_101));
  let [equal, closed] = [0, 0];
  for (let round = 0; round < 400; round++) {
    const policies = maker.some([0, 1], 2).map(() => maker.policy());
    const text = policies
      .map((spec, i) =>
        stringify({
          apiVersion: 'security.istio.io/v1',
          kind: 'AuthorizationPolicy',
          metadata: { name: `p${i}`, namespace: 'shop' },
          spec,
        }),
      )
      .join('---\n');
    const { files, lost } = convert(loadTexts([{ file: 'in.yaml', text }]), {
      root: 'weft-system',
      istioRoot: 'istio-system',
      clusterNetworks: [],
    });
    const parsed = parseManifests('out.yaml', files.map((one) => one.text).join('---\n'));
    assert.deepEqual(parsed.errors, [], text);
    const compiled = parsed.objects.flatMap((one) =>
      one.kind === 'AccessPolicy' ? [compilePolicy(one, 'weft-system')] : [],
    );
    assert.equal(compiled.length, policies.length, text);
    for (let i = 0; i < 40; i++) {
      const request = maker.request();
      const [namespace, account] = request.client?.split('/') ?? [];
      const { allowed } = authorize(compiled, {
        identity:
          request.client === undefined
            ? undefined
            : parseSpiffeId(`spiffe://cluster.local/ns/${namespace}/sa/${account}`),
        sourceIp: parseIp(request.ip),
        destinationIp: parseIp('10.96.0.1'),
        destinationPort: request.port,
        serverName: request.sni,
        http: {
          method: request.method,
          host: request.host,
          paths: [request.path],
          header: (name) => (name === 'x-env' ? request.env : undefined),
          claims: request.jwt,
          remoteIp: parseIp(request.remoteIp),
        },
      });
      const original = istioAllows(policies, request);
      const context = `${text}\n${files[0]?.text}\n${JSON.stringify(request)}`;
      if (allowed) assert.ok(original, `wider: ${context}`);
      if (lost.length === 0) assert.equal(allowed, original, `different: ${context}`);
      if (allowed === original) equal++;
      else closed++;
    }
  }
  assert.ok(equal > 10_000 && closed > 100, `${equal} ${closed}`);
});
