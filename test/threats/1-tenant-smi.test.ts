/** Rows 1 and 2 of docs/security.md: SMI's objects of one namespace change nothing of a connection between pods of others. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compile, type Compiler } from '../../control/compile/compile.js';
import { resourceName } from '../../control/compile/resource.js';
import { parseManifests } from '../../control/source/parse.js';
import { bankAndEvil } from '../support/manifests.js';
import { domain } from '../support/mesh.js';

const bank = `${bankAndEvil}---
apiVersion: specs.smi-spec.io/v1alpha4
kind: HTTPRouteGroup
metadata: { name: routes, namespace: bank }
spec: { matches: [{ name: m, pathRegex: /m }] }
---
apiVersion: specs.smi-spec.io/v1alpha4
kind: TCPRoute
metadata: { name: ports, namespace: bank }
spec: { matches: { ports: [80] } }
---
apiVersion: access.smi-spec.io/v1alpha3
kind: TrafficTarget
metadata: { name: api, namespace: bank }
spec:
  destination: { kind: ServiceAccount, name: api }
  rules: [{ kind: HTTPRouteGroup, name: routes }, { kind: TCPRoute, name: ports }]
  sources: [{ kind: ServiceAccount, name: teller, namespace: bank }]
`;
const own = `---
kind: Service
apiVersion: v1
metadata: { name: api, namespace: evil }
spec: { selector: { app: api }, clusterIP: 10.96.0.2, ports: [{ name: http, port: 80 }] }
`;
/** What everybody but `evil` is sent. */
function ofOthers(text: string): string {
  const { objects, closed } = parseManifests('x', text);
  const compiler: Compiler = compile([...objects, ...closed], { trustDomain: domain, rootsVersion: '1' });
  const lines = [...compiler.all()]
    .map((one): string => {
      const value: unknown = one.value;
      const shown = JSON.stringify(value, (_key, part: unknown) => (part instanceof Map ? [...part] : part));
      return `${one.kind} ${resourceName(one)} ${shown}`;
    })
    .filter((line) => !/^\S+ (Kubernetes\/\/Pod\/|HTTPRoute\/|TCPRoute\/)?evil\b/.test(line));
  return lines.sort().join('\n');
}

const foreign: Readonly<Record<string, string>> = {
  'a TrafficSplit of a Service of the same name': `---
apiVersion: split.smi-spec.io/v1alpha4
kind: TrafficSplit
metadata: { name: s, namespace: evil }
spec: { service: api, backends: [{ service: api, weight: 1 }] }
`,
  "a TrafficSplit of the other namespace's Service": `---
apiVersion: split.smi-spec.io/v1alpha4
kind: TrafficSplit
metadata: { name: s, namespace: evil }
spec: { service: api.bank.svc.cluster.local, backends: [{ service: api, weight: 1 }] }
`,
  "a TrafficSplit with the other namespace's Service as its backend": `---
apiVersion: split.smi-spec.io/v1alpha4
kind: TrafficSplit
metadata: { name: s, namespace: evil }
spec: { service: api, backends: [{ service: api.bank, weight: 1 }] }
`,
  'an unreadable TrafficSplit': `---
apiVersion: split.smi-spec.io/v1alpha4
kind: TrafficSplit
metadata: { name: s, namespace: evil }
spec: { service: api.bank, backends: x }
`,
  'HTTPRouteGroups and TCPRoutes of the same names': `---
apiVersion: specs.smi-spec.io/v1alpha4
kind: HTTPRouteGroup
metadata: { name: routes, namespace: evil }
spec: { matches: [{ name: m, pathRegex: .* }] }
---
apiVersion: specs.smi-spec.io/v1alpha4
kind: TCPRoute
metadata: { name: ports, namespace: evil }
spec: { matches: { ports: [] } }
`,
  "a TrafficTarget that lets the tenant into the other namespace's pods": `---
apiVersion: access.smi-spec.io/v1alpha3
kind: TrafficTarget
metadata: { name: api, namespace: evil }
spec:
  destination: { kind: ServiceAccount, name: api, namespace: bank }
  rules: [{ kind: TCPRoute, name: ports }]
  sources: [{ kind: ServiceAccount, name: evil, namespace: evil }]
`,
  'a TrafficTarget of an account of the same name': `---
apiVersion: access.smi-spec.io/v1alpha3
kind: TrafficTarget
metadata: { name: api, namespace: evil }
spec: { destination: { kind: ServiceAccount, name: api }, rules: [], sources: [] }
`,
  'an unreadable TrafficTarget': `---
apiVersion: access.smi-spec.io/v1alpha3
kind: TrafficTarget
metadata: { name: api, namespace: evil }
spec: { destination: { kind: ServiceAccount, nam: api, namespace: bank } }
`,
};
const before = ofOthers(bank + own);

for (const [what, text] of Object.entries(foreign))
  test(`another namespace's objects change nothing: ${what}`, () => {
    assert.equal(ofOthers(bank + own + text), before);
  });

test('the control: objects of the namespace itself act', () => {
  const inBank = (what: string): string =>
    (foreign[what] ?? '')
      .replaceAll('namespace: evil', 'namespace: bank')
      .replace('name: api,', 'name: more,');
  for (const what of Object.keys(foreign).filter((one) =>
    /of the same name$|lets the tenant|unreadable/.test(one),
  ))
    assert.notEqual(ofOthers(bank + own + inBank(what)), before, what);
});
