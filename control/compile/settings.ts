/** Settings of the control plane that decide what objects compile to. */
import type { TrustDomain } from '../../src/model/identity.js';

/**
 * The stages of an uninstall: no policy is in force; then nobody is dialed by tunnel either; then nobody is in the mesh, whatever labels
 * say. In one step, a node that releases its pods first would send plaintext to a node that still asks for identities, and would be dialed
 * by tunnel by a node that has not heard of the release.
 */
export type Removal = 'open' | 'untunneled' | 'release';

export interface CompileSettings {
  readonly trustDomain: TrustDomain;
  readonly rootsVersion: string;
  /** The namespace whose policies, ExternalServices and Workloads count for the whole mesh; absent: that of policies.ts. */
  readonly rootNamespace?: string;
  /** The stage of an uninstall (control/removal.ts); absent: none. */
  readonly removal?: Removal;
}
