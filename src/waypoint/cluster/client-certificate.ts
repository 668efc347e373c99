/** The certificate that a waypoint shows to an endpoint. The key is in private fields: no log line and no dump has it. */
import tls from 'node:tls';
import type { SecretName } from '../../model/client-certificate.js';

/** What the main process sends to workers about one Secret: a usable pair, or why there is none. */
export type ClientCertificateState = {
  readonly name: SecretName;
} & (
  | {
      /** Leaf first, then intermediates. */
      readonly chainPem: string;
      readonly keyPem: string;
      /** Equal for equal pairs. */
      readonly fingerprint: string;
    }
  | { readonly problem: string }
);

export class ClientCertificate {
  /** Equal for equal pairs; empty: there is none. */
  readonly fingerprint: string;
  /** Why there is no pair; undefined: there is one. */
  readonly problem: string | undefined;
  readonly #pair: Pick<tls.SecureContextOptions, 'cert' | 'key'>;
  readonly #contexts = new WeakMap<object, tls.SecureContext>();

  constructor(state: ClientCertificateState) {
    const isUsable = 'keyPem' in state;
    this.fingerprint = isUsable ? state.fingerprint : '';
    this.problem = isUsable ? undefined : state.problem;
    this.#pair = isUsable ? { cert: state.chainPem, key: state.keyPem } : {};
  }

  /**
   * The context of connections with these settings, made once. Errors: those of tls.createSecureContext.
   * @param settings are replaced and never changed
   */
  context(settings: object, options: tls.SecureContextOptions): tls.SecureContext {
    let context = this.#contexts.get(settings);
    if (!context) {
      context = tls.createSecureContext({ ...options, ...this.#pair });
      this.#contexts.set(settings, context);
    }
    return context;
  }
}

/** What policies get that name a Secret of which nothing is known. */
const unknown = (problem: string): ClientCertificate =>
  new ClientCertificate({ name: '' as SecretName, problem });
export const notRead = unknown('the waypoint has not read it yet');
/** What Services of other namespaces get, whatever the control plane sends. */
export const notOwn = unknown("only Services of the waypoint's own namespace may use its certificates");
