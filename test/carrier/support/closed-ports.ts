/** A policy that nobody may reach some ports of the namespace `shop`. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { DemoMesh } from '../../support/demo-mesh.js';

const file = 'policy.yaml';

/** Replaces the policy of an earlier call. */
export const closePorts = (mesh: DemoMesh, ...ports: readonly number[]): void =>
  mesh.write(
    file,
    `apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: closed, namespace: shop }
spec: { action: DENY, rules: [{ to: [{ ports: [${ports.join(', ')}] }] }] }
`,
  );

export const openPorts = (mesh: DemoMesh): void => rmSync(join(mesh.manifests, file), { force: true });
