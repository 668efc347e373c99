/** Row 2 of docs/security.md: a tenant, as a client of another namespace's Services. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compileRoutes } from '../../src/waypoint/routes/compile.js';
import { parseTarget } from '../../src/waypoint/http/target.js';
import { TargetError } from '../../src/policy/path.js';
import { inForce, mayConnect, podText, policyText, requestOf } from './support/configuration.js';

const pod = podText('bank', 'api', '10.0.0.2');
const service = `kind: Service\nmetadata: { name: api, namespace: bank }
spec: { selector: { app: api }, clusterIP: 10.96.0.1, ports: [{ port: 80 }] }\n`;
const policiesWith = (spec: string) => {
  const { view, workload } = inForce([pod, policyText('bank', 'p', spec)]);
  return view.policiesFor(workload('bank', 'api'));
};
/** Spellings of one path, and paths that some endpoints treat as the same. */
const spellings = [
  '/caf%c3%a9/x',
  '/caf%C3%A9/x',
  '/%63af%c3%a9/x',
  '//caf%C3%a9/./x',
  '/a/../caf%c3%a9/x',
  '/caf%25C3%25A9/x',
];
const configured = [
  '/caf%c3%a9/*',
  '/café/*',
  '/caf%C3%A9/{**}',
  '//caf%c3%a9//*',
  '/caf%c3%a9/x',
  '*af%c3%a9/x',
];

test('a client does not bypass a policy that denies a path, in any spelling by the client or in the policy', () => {
  for (const path of configured) {
    const policies = policiesWith(`{ action: DENY, rules: [{ to: [{ paths: ['${path}'] }] }] }`);
    assert.equal(mayConnect(policies, requestOf('/cafe/x')).allowed, true, path);
    for (const target of spellings)
      assert.equal(mayConnect(policies, requestOf(target)).allowed, false, `${path} denies ${target}`);
  }
});

test('a client does not use another spelling of a path to gain access that a policy allows for a different path', () => {
  for (const path of configured) {
    const policies = policiesWith(`{ action: ALLOW, rules: [{ to: [{ paths: ['${path}'] }] }] }`);
    for (const target of spellings.slice(0, 5))
      assert.equal(mayConnect(policies, requestOf(target)).allowed, true, `${path} allows ${target}`);
    for (const target of [
      '/cafe/x',
      '/caf%25C3%25A9/x',
      '/caf%C3%A9/..%2Fx',
      '/caf%C3%A9%2F..%2Fx',
      '/caf%C3%A9/..;/x',
    ])
      assert.equal(
        mayConnect(policies, requestOf(target)).allowed,
        false,
        `${path} does not allow ${target}`,
      );
  }
});

test('a client cannot bypass a policy about a host with another spelling of the host', () => {
  for (const host of ['API.bank', 'api.bank.', 'Api.Bank']) {
    const policies = policiesWith(`{ action: DENY, rules: [{ to: [{ hosts: ['${host}'] }] }] }`);
    for (const asked of ['api.bank', 'API.BANK', 'api.bank.', 'api.bank:80']) {
      const { authority } = parseTarget('GET', '/', asked);
      const request = requestOf('/', { host: authority.replace(/:\d*$/, '') });
      assert.equal(mayConnect(policies, request).allowed, false, `${host} denies ${asked}`);
    }
  }
  const address = policiesWith("{ action: DENY, rules: [{ to: [{ hosts: ['[fd00::1]'] }] }] }");
  const { authority } = parseTarget('GET', '/', '[FD00:0:0::1]:80');
  assert.equal(mayConnect(address, requestOf('/', { host: authority.replace(/:\d*$/, '') })).allowed, false);
});

const route = (rules: string): string => `apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute
metadata: { name: r, namespace: bank }
spec: { parentRefs: [{ group: '', kind: Service, name: api }], rules: [${rules}] }\n`;
/** Name of the rule that a request matches; `refused` if that rule responds with an error; undefined for no rule or a bad target. */
function ruleOf(rules: string, target: string, headers: string[] = []): string | undefined {
  const { routes } = inForce([service, pod, route(rules)]);
  assert.equal(routes.length, 1);
  let path: string;
  try {
    ({ path } = parseTarget('GET', target, 'api.bank'));
  } catch (error) {
    assert.ok(error instanceof TargetError);
    return undefined;
  }
  const matched = compileRoutes(routes)?.({
    method: 'GET',
    path,
    authority: 'api.bank',
    scheme: 'http',
    headers,
  });
  const [backend] = matched?.rule.backends ?? [];
  return matched && (backend?.target.kind === 'invalid' ? 'refused' : matched.rule.name);
}
const rule = (name: string, match: string): string =>
  `{ name: ${name}, matches: [{ ${match} }], backendRefs: [{ name: api, port: 80 }] }`;

test("a client does not bypass a route's rule with another spelling of its path", () => {
  for (const path of ["value: '/caf%c3%a9'", "type: Exact, value: '/caf%c3%a9/x'", "value: '/%63af%C3%A9'"])
    for (const target of spellings.slice(0, 5))
      assert.equal(
        ruleOf(`${rule('guard', `path: { ${path} }`)}, ${rule('rest', '')}`, target),
        'guard',
        `${path} ${target}`,
      );
});

test('a client does not match another rule if the rule that should guard a path cannot be read', () => {
  const withHeader = ['x', 'y'];
  const cases: [guard: string, headers: string[], goesBy: string][] = [
    ["path: { type: RegularExpression, value: '/admin(' }", [], 'refused'],
    ["path: { type: RegularExpression, value: '/(?!public)' }", [], 'refused'],
    [
      "path: { value: /admin }, headers: [{ name: x, type: RegularExpression, value: '(' }]",
      withHeader,
      'refused',
    ],
    // Without the header the rule would not match, whatever its expression.
    ["path: { value: /admin }, headers: [{ name: x, type: RegularExpression, value: '(' }]", [], 'rest'],
  ];
  for (const [guard, headers, goesBy] of cases)
    assert.equal(ruleOf(`${rule('guard', guard)}, ${rule('rest', '')}`, '/admin', headers), goesBy, guard);
});
