import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Write } from '../kubernetes/apply-queue.js';
import { ApiServiceRoots } from './api-service.js';

test('the roots are written at once when they change, and again after a while, since somebody may have removed them', () => {
  const written: string[] = [];
  const stale: string[] = [];
  let roots = 'one';
  const apiService = new ApiServiceRoots(
    ['metrics.smi-spec.io'],
    {
      set: ({ body }: Write) => {
        const { spec } = body as { readonly spec: { readonly caBundle: string } };
        written.push(Buffer.from(spec.caBundle, 'base64').toString());
      },
      markStale: (path) => stale.push(path),
    },
    () => roots,
  );
  apiService.write(0);
  roots = 'one two';
  apiService.write(500);
  assert.deepEqual(written, ['one', 'one two']);
  assert.equal(stale.length, 1);
  apiService.write(30_000);
  assert.equal(stale.length, 2);
  assert.equal(stale[0], '/apis/apiregistration.k8s.io/v1/apiservices/v1alpha1.metrics.smi-spec.io');
});
