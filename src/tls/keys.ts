/** P-256 key pairs of certificates. Outside of this folder keys are PEM. */
import { generateKeyPairSync, type KeyObject } from 'node:crypto';

export function newKey(): { publicKey: KeyObject; privateKey: KeyObject } {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' });
}
export const exportKey = (key: KeyObject): string => key.export({ type: 'pkcs8', format: 'pem' }).toString();
