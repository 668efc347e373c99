/** Key pairs of certificates: P-256, in PEM outside of this folder. */
import { generateKeyPairSync, type KeyObject } from 'node:crypto';

export function newKey(): { publicKey: KeyObject; privateKey: KeyObject } {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' });
}
export const exportKey = (key: KeyObject): string => key.export({ type: 'pkcs8', format: 'pem' }).toString();
