/** Settings of the control plane that decide what objects compile to. */
import type { TrustDomain } from '../../src/model/identity.js';

/**
 * The stages of an uninstall. `open`: policies are suspended. `untunneled`: in addition, no pod is dialed by tunnel. `release`: in addition,
 * no pod is in the mesh, regardless of labels. If all were one step, the first node to release its pods would send plaintext to nodes that
 * still require identities, and nodes that have not received the release would dial its pods by tunnel.
 */
export type Removal = 'open' | 'untunneled' | 'release';

export interface CompileSettings {
  readonly trustDomain: TrustDomain;
  readonly rootsVersion: string;
  /** The namespace whose policies, ExternalServices and Workloads count for the whole mesh; absent: `rootNamespace` of policies.ts. */
  readonly rootNamespace?: string;
  /** The stage of an uninstall (control/removal.ts); absent: none. */
  readonly removal?: Removal;
}
