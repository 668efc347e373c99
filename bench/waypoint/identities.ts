/** Certificates of one run: an identity for each who takes part. */
import { parseSpiffeId } from '../../src/model/identity.js';
import type { Svid } from '../../src/tls/svid.js';
import { issuer, trustDomain } from '../peers/issuer.js';

export { trustDomain };
export const namespace = 'bench';

export interface Identities {
  readonly client: Svid;
  readonly waypoint: Svid;
  readonly server: Svid;
}

export function makeIdentities(): Identities {
  const issue = issuer();
  const make = (account: keyof Identities): Svid =>
    issue(parseSpiffeId(`spiffe://${trustDomain}/ns/${namespace}/sa/${account}`));
  return { client: make('client'), waypoint: make('waypoint'), server: make('server') };
}
