/** Installs and upgrades Weft's CRDs: Helm installs CRDs once and never upgrades them. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { KubeConfig } from '@kubernetes/client-node';
import { parse } from 'yaml';
import { requestJson } from './request.js';

export const crdPath = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';

/** Applies each CRD file in `dir` and returns the CRD names. Errors: ApiError. */
export async function applyCrds(config: KubeConfig, dir: string): Promise<string[]> {
  const applied: string[] = [];
  for (const file of readdirSync(dir).sort()) {
    const crd = parse(readFileSync(join(dir, file), 'utf8')) as { metadata: { name: string } };
    await requestJson(config, 'PATCH', `${crdPath}/${crd.metadata.name}?fieldManager=weft&force=true`, crd);
    applied.push(crd.metadata.name);
  }
  return applied;
}
