import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { KubeConfig } from '@kubernetes/client-node';
import { uninstall } from './install.js';

test('weft uninstall without a release deletes nothing and says how to delete the CRDs', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'weft-helm-'));
  const path = process.env['PATH'];
  t.after(() => {
    process.env['PATH'] = path;
    rmSync(dir, { recursive: true });
  });
  // A helm without releases, which fails for every command other than list.
  writeFileSync(join(dir, 'helm'), '#!/bin/sh\n[ "$1" = list ] && echo "[]" && exit 0\nexit 9\n', {
    mode: 0o755,
  });
  process.env['PATH'] = `${dir}:${path}`;
  await assert.rejects(uninstall(new KubeConfig(), 'elsewhere', true), (error: Error & { code?: string }) => {
    assert.equal(error.code, 'WEFT_NOT_INSTALLED');
    assert.match(
      error.message,
      /namespace elsewhere has no release weft: .*kubectl delete crd accesspolicies\.weft\.dev /,
    );
    return true;
  });
});
