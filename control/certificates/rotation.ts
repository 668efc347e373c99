/**
 * Root rotation. Each step writes its files in an order such that after any prefix of it, the authority either works or refuses to start.
 * Each step can be repeated: after a step was killed, running it again completes it.
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
 * Runs one step: `begin` trusts a new root beside the old one, `switch` signs with the new one, `finish` drops the old one. Each step has to
 * reach all nodes before the next one.
 * Error: WEFT_ROTATION, if the step is not the next one, or the step before is incomplete.
 */
export function rotateRoot(state: string, trustDomain: TrustDomain, phase: RotationPhase): void {
  const path = (file: keyof typeof caFiles): string => join(state, caFiles[file]);
  const read = (file: keyof typeof caFiles): string =>
    existsSync(path(file)) ? readFileSync(path(file), 'utf8') : '';
  const refuse = (what: string): never => {
    throw new WeftError('WEFT_ROTATION', what);
  };
  const [cert, roots] = [read('cert'), read('roots')];
  if (cert === '') refuse(`${state} has no CA: give the directory of the control plane's --state`);
  const next = { key: read('nextKey'), cert: read('nextCert') };
  // State of the next root. No node has ever trusted a next root whose key and certificate do not match: begin replaces it.
  const begun = next.key !== '';
  const whole = begun && isPair(next.cert, next.key);
  const trusted = whole && holds(roots, next.cert);
  switch (phase) {
    case 'begin': {
      if (trusted) refuse('a rotation is in progress: run --phase switch next');
      if (splitPem(roots).length > 1) refuse('a rotation is in progress: run --phase finish first');
      const made = whole ? undefined : createRoot(trustDomain, rootTtlS);
      if (made) {
        replaceFile(path('nextKey'), made.keyPem, 0o600);
        replaceFile(path('nextCert'), made.certPem, 0o644);
      }
      replaceFile(path('roots'), roots + (made?.certPem ?? next.cert), 0o644);
      return;
    }
    case 'switch':
      if (!begun) refuse('no rotation is in progress: run --phase begin first');
      if (!trusted)
        refuse(
          'phase begin is incomplete, so no node trusts the new root yet: run --phase begin again, and wait until all nodes have the new root',
        );
      // If the process is killed between the two writes, key and certificate do not match: nothing is issued until this step is repeated.
      replaceFile(path('cert'), next.cert, 0o644);
      replaceFile(path('key'), next.key, 0o600);
      rmSync(path('nextKey'));
      rmSync(path('nextCert'));
      return;
    case 'finish': {
      if (begun || splitPem(roots).length < 2)
        refuse('nothing to finish: run --phase begin and --phase switch first');
      const why = authorityErrorOf(cert, read('key'), cert);
      if (why !== undefined || !holds(roots, cert))
        refuse(`the roots are left unchanged: ${why ?? 'the signing certificate is not one of them'}`);
      replaceFile(path('roots'), cert, 0o644);
    }
  }
}
