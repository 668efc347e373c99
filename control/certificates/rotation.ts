/**
 * Root rotation. Each step writes its files in an order in which any prefix of it leaves the authority working or refusing to
 * start, and can be repeated: what a step that was killed left behind is completed by the same step.
 */
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { WeftError } from '../../src/base/errors.js';
import type { TrustDomain } from '../../src/model/identity.js';
import { splitPem } from '../../src/tls/certificate.js';
import { createRoot } from '../../src/tls/issue.js';
import { authorityErrorOf, caFiles, isPair, rootTtlS } from './authority-files.js';
import { replaceFile } from '../replace-file.js';

export type RotationPhase = 'begin' | 'switch' | 'finish';

const holds = (bundle: string, certificate: string): boolean => {
  const [wanted = ''] = splitPem(certificate);
  return splitPem(bundle).some((one) => one.trim() === wanted.trim());
};

/**
 * `begin` trusts a new root beside the old, `switch` signs by the new one, `finish` drops the old; each is to settle before the next.
 * Error: WEFT_ROTATION, where the step is not the next one, or what the one before left is not whole.
 */
export function rotateRoot(state: string, trustDomain: TrustDomain, phase: RotationPhase): void {
  const path = (file: keyof typeof caFiles): string => join(state, caFiles[file]);
  const read = (file: keyof typeof caFiles): string =>
    existsSync(path(file)) ? readFileSync(path(file), 'utf8') : '';
  const refuse = (what: string): never => {
    throw new WeftError('WEFT_ROTATION', what);
  };
  const [cert, roots] = [read('cert'), read('roots')];
  if (cert === '') refuse(`${state} holds no CA: give the directory that the control plane has as --state`);
  const next = { key: read('nextKey'), cert: read('nextCert') };
  // What is there of the next root; a pair that does not fit was never trusted by anybody, and is made anew.
  const begun = next.key !== '';
  const whole = begun && isPair(next.cert, next.key);
  const trusted = whole && holds(roots, next.cert);
  switch (phase) {
    case 'begin': {
      if (trusted) refuse('a rotation is under way already: switch next');
      if (splitPem(roots).length > 1) refuse('a rotation is under way already: finish it first');
      const made = whole ? undefined : createRoot(trustDomain, rootTtlS);
      if (made) {
        replaceFile(path('nextKey'), made.keyPem, 0o600);
        replaceFile(path('nextCert'), made.certPem, 0o644);
      }
      replaceFile(path('roots'), roots + (made?.certPem ?? next.cert), 0o644);
      return;
    }
    case 'switch':
      if (!begun) refuse('no rotation has begun: begin first');
      if (!trusted)
        refuse('begin did not end: nobody trusts the new root yet. Begin again, and let it settle');
      // A process that is killed between the two leaves a pair that does not fit: nothing is issued until this step is repeated.
      replaceFile(path('cert'), next.cert, 0o644);
      replaceFile(path('key'), next.key, 0o600);
      rmSync(path('nextKey'));
      rmSync(path('nextCert'));
      return;
    case 'finish': {
      if (begun || splitPem(roots).length < 2) refuse('nothing to finish: begin and switch first');
      const why = authorityErrorOf(cert, read('key'), cert);
      if (why !== undefined || !holds(roots, cert))
        refuse(`the roots are left as they are: ${why ?? 'the signing certificate is none of them'}`);
      replaceFile(path('roots'), cert, 0o644);
    }
  }
}
