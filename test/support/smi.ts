/** Compiles manifests with objects of SMI, for their tests. */
import assert from 'node:assert/strict';
import { compile, type Compiler } from '../../control/compile/compile.js';
import type { MeshObject } from '../../control/objects/objects.js';
import { parseManifests } from '../../control/source/parse.js';
import { dialectStatus } from '../../control/status/dialect.js';
import { parseTrustDomain } from '../../src/model/identity.js';
import type { AuthorizationPolicy } from '../../src/model/policy.js';
import type { Route } from '../../src/model/route.js';

export const settings = { trustDomain: parseTrustDomain('cluster.local'), rootsVersion: '' };

/** A namespace `shop` with the Services web, web-v1 and web-v2, a pod of the account api, and one of web. */
export const shop = `
kind: Namespace
apiVersion: v1
metadata: { name: shop, labels: { weft.dev/mesh: enabled } }
---
kind: Service
apiVersion: v1
metadata: { name: web, namespace: shop }
spec: { selector: { app: web }, clusterIP: 10.96.0.1, ports: [{ name: http, port: 80 }, { name: tcp-db, port: 5432 }] }
---
kind: Service
apiVersion: v1
metadata: { name: web-v1, namespace: shop }
spec: { selector: { app: web, version: v1 }, clusterIP: 10.96.0.2, ports: [{ name: http, port: 80 }, { name: tcp-db, port: 5432 }] }
---
kind: Service
apiVersion: v1
metadata: { name: web-v2, namespace: shop }
spec: { selector: { app: web, version: v2 }, clusterIP: 10.96.0.3, ports: [{ name: http, port: 80 }] }
---
kind: Pod
apiVersion: v1
metadata: { name: web-1, namespace: shop, labels: { app: web, version: v1 } }
spec: { nodeName: n1, serviceAccountName: web }
status: { podIPs: [{ ip: 10.0.0.1 }] }
---
kind: Pod
apiVersion: v1
metadata: { name: api-1, namespace: shop, labels: { app: api } }
spec: { nodeName: n1, serviceAccountName: api }
status: { podIPs: [{ ip: 10.0.0.2 }] }
`;

export interface CompiledMesh {
  readonly compiler: Compiler;
  readonly objects: readonly MeshObject[];
  readonly policies: readonly AuthorizationPolicy[];
  readonly routes: readonly Route[];
  /** Keys of the policies that a pod lists, by its name. */
  readonly listed: ReadonlyMap<string, readonly string[]>;
  /** The condition Accepted of an object: `True: in force`. */
  readonly accepted: (kind: MeshObject['kind'], name: string) => string;
}

/** What the compiler has now. */
export function stateOf(compiler: Compiler): Pick<CompiledMesh, 'policies' | 'routes' | 'listed'> {
  const all = [...compiler.all()];
  return {
    policies: all.flatMap((one) => (one.kind === 'policy' ? [one.value] : [])),
    routes: all.flatMap((one) => (one.kind === 'route' ? [one.value] : [])),
    listed: new Map(
      all.flatMap((one) => (one.kind === 'workload' ? [[one.value.name, one.value.policies] as const] : [])),
    ),
  };
}

/** @param manifests besides `shop`; what cannot be read is in its closed form */
export function compiled(manifests: string): CompiledMesh {
  const { objects, closed } = parseManifests('mesh.yaml', `${shop}---\n${manifests}`);
  const given = [...objects, ...closed];
  const compiler = compile(given, settings);
  return {
    compiler,
    objects: given,
    ...stateOf(compiler),
    accepted(kind, name) {
      const object = given.find((one) => one.kind === kind && one.metadata.name === name);
      assert.ok(object, `${kind} ${name}`);
      const update = dialectStatus(object as Parameters<typeof dialectStatus>[0], {
        mesh: compiler as unknown as Parameters<typeof dialectStatus>[1]['mesh'],
        timestamp: '',
      });
      const { conditions = [] } = (update?.status ?? {}) as {
        conditions?: { status: string; message: string }[];
      };
      return conditions.map(({ status, message }) => `${status}: ${message}`).join(', ');
    },
  };
}
