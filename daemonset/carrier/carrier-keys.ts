/** Keys that a carrier generates and keeps. The agent sees requests and certificates only. */
import { WeftError } from '../../src/base/errors.js';
import type { SpiffeId } from '../../src/model/identity.js';
import { assembleCertificate } from '../../src/tls/certificate.js';
import type { KeyRequest, KeySource } from '../../src/tls/certificate-manager.js';
import { parseCsr } from '../../src/tls/csr.js';
import type { IssuedCertificate } from '../../src/tls/svid.js';
import type { KeyMade } from './gen/carrier.js';
import { silent } from './protocol.js';
import type { CarrierSession } from './session.js';

const keyMsMax = 10_000;

/** A certificate, and the carrier's key that it is for. */
export interface CarrierCertificate extends IssuedCertificate {
  readonly turn: number;
  readonly session: CarrierSession;
}

interface Waiting {
  readonly id: SpiffeId;
  readonly session: CarrierSession | undefined;
  readonly resolve: (csrPem: string) => void;
  readonly reject: (error: Error) => void;
}

export class CarrierKeys implements KeySource<CarrierCertificate> {
  readonly #waiting = new Map<number, Waiting>();
  /** The carrier that has the latest certificate of an identity. */
  readonly #installed = new Map<SpiffeId, CarrierSession>();
  #turn = 0;
  #session: CarrierSession | undefined;

  async request(id: SpiffeId): Promise<KeyRequest<CarrierCertificate>> {
    const turn = ++this.#turn;
    const session = this.#session;
    const csrPem = await new Promise<string>((resolve, reject) => {
      // Without a carrier the request waits: with the next carrier all certificates are requested again.
      this.#waiting.set(turn, { id, session, resolve, reject });
      if (!session) return;
      session.send({ $case: 'keyWanted', value: { identity: id, turn } });
      setTimeout(() => {
        if (this.#waiting.delete(turn)) reject(silent(`it made no key within ${keyMsMax} ms`));
      }, keyMsMax).unref();
    });
    const csr = parseCsr(csrPem);
    if (!csr.ok) throw invalid(csr.errors.join('; '));
    if (csr.value.uri !== id) throw invalid(`it is for ${csr.value.uri ?? 'no name'}`);
    const { publicKeyPem } = csr.value;
    return {
      csrPem,
      accept: (chain) => ({ ...assembleCertificate(id, publicKeyPem, chain), turn, session: session! }),
    };
  }

  onKeyMade({ identity, turn, csrPem }: KeyMade): void {
    const waiting = this.#waiting.get(turn);
    if (waiting?.id !== identity) return;
    this.#waiting.delete(turn);
    waiting.resolve(csrPem);
  }

  /** Keys come from this carrier from now on. Call it before the certificates are requested again. */
  use(session: CarrierSession | undefined): void {
    this.#session = session;
  }

  /** Ends requests that wait for another carrier. Call it after the certificates were requested again. */
  forgetOthers(): void {
    for (const [turn, { session, reject }] of [...this.#waiting]) {
      if (session === this.#session) continue;
      this.#waiting.delete(turn);
      reject(noCarrier());
    }
  }

  isInstalled(id: SpiffeId, session: CarrierSession): boolean {
    return this.#installed.get(id) === session;
  }

  /** Only identities in `wanted` are kept in mind. */
  keep(wanted: ReadonlySet<SpiffeId>): void {
    for (const id of this.#installed.keys()) if (!wanted.has(id)) this.#installed.delete(id);
  }

  /** Gives the carrier the certificate for its key. */
  install({ id, session, turn, chainPem, rootsPem, serial, notAfterMs }: CarrierCertificate): void {
    this.#installed.set(id, session);
    session.send({
      $case: 'certificate',
      value: { identity: id, turn, chainPem, rootsPem, serial, notAfterMs },
    });
  }
}

const noCarrier = (): WeftError =>
  new WeftError('WEFT_NO_CARRIER', 'the carrier ended before it made a key', { retryable: true });
const invalid = (why: string): WeftError =>
  new WeftError('WEFT_CARRIER_MESSAGE', `the carrier's certificate request is malformed: ${why}`, {
    retryable: true,
  });
