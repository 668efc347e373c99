/**
 * Reads the client certificates that policies name, from the directory where the kubelet mounts their Secrets, and again when they change.
 * Runs in the main process: workers get the pairs, and replaced workers get them again.
 *
 * A new pair that cannot be used leaves the last good one in use. A pair that is gone is no longer used: its owner has removed it.
 */
import { createHash, createPrivateKey, X509Certificate } from 'node:crypto';
import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
  realpathSync,
} from 'node:fs';
import { join } from 'node:path';
import { createSecureContext } from 'node:tls';
import { errorText } from '../base/errors.js';
import {
  certificateFile,
  clientCertificatesMax,
  keyFile,
  type SecretName,
} from '../model/client-certificate.js';
import { splitPem } from '../tls/certificate.js';
import type { ClientCertificateState } from './cluster/client-certificate.js';

/** Larger files are not read. */
export const fileBytesMax = 64 * 1024;

interface Pair {
  readonly chainPem: string;
  readonly keyPem: string;
  readonly fingerprint: string;
  readonly notAfterMs: number;
}
interface Held {
  pair: Pair | undefined;
  /** Why the files cannot be used; undefined: they are in use. */
  problem: string | undefined;
}

/** As `/status` of a waypoint has it. */
export interface ClientCertificateProblem {
  readonly name: SecretName;
  readonly problem: string;
  /** An older pair stays in use. */
  readonly isKept: boolean;
}

interface ClientCertificateFilesOptions {
  /** Has a directory for each Secret. Absent: there are none. */
  readonly directory: string | undefined;
  readonly nowMs: () => number;
  /** All states, after one of them has changed. Names that are not in the list are unknown. */
  readonly onChange: (states: readonly ClientCertificateState[]) => void;
  /** `problem` undefined: the pair is in use. `isKept`: an older pair stays in use. */
  readonly onState: (name: SecretName, problem: string | undefined, isKept: boolean) => void;
  readonly onLimit: () => void;
}

export class ClientCertificateFiles {
  readonly #held = new Map<SecretName, Held>();
  /** The directory cannot be listed: reported once. */
  #failure: string | undefined;

  constructor(private readonly options: ClientCertificateFilesOptions) {}

  /** Sets the names that policies have, and reads those that are new. */
  want(names: ReadonlySet<SecretName>): void {
    const gone = [...this.#held.keys()].filter((name) => !names.has(name));
    for (const name of gone) this.#held.delete(name);
    const added = [...names].filter((name) => !this.#held.has(name));
    for (const name of added) this.#held.set(name, { pair: undefined, problem: undefined });
    if (added.length + gone.length > 0) this.poll(true);
  }

  /** Reads the files again. Call it periodically. `isChanged`: the names have changed. */
  poll(isChanged = false): void {
    let changed = isChanged;
    if (this.#held.size === 0 && !changed) return;
    const present = this.#list();
    let read = 0;
    for (const [name, held] of this.#held) {
      const before = JSON.stringify([held.pair?.fingerprint, held.problem]);
      // Without a list nobody knows whether the pair is gone.
      if (present === undefined) held.problem = this.#failure;
      else if (!present.has(name)) {
        held.pair = undefined;
        held.problem = noFiles(this.options.directory, name);
      } else if (++read > clientCertificatesMax) {
        held.pair = undefined;
        held.problem = `more than ${clientCertificatesMax} client certificates are in use`;
      } else this.#read(name, held);
      if (before === JSON.stringify([held.pair?.fingerprint, held.problem])) continue;
      changed = true;
      this.options.onState(name, held.problem, held.pair !== undefined);
      if (read > clientCertificatesMax) this.options.onLimit();
    }
    if (changed) this.options.onChange(this.states());
  }

  states(): ClientCertificateState[] {
    return [...this.#held].map(([name, { pair, problem }]) =>
      pair
        ? { name, chainPem: pair.chainPem, keyPem: pair.keyPem, fingerprint: pair.fingerprint }
        : { name, problem: problem ?? 'it is not read yet' },
    );
  }

  problems(): ClientCertificateProblem[] {
    return [...this.#held].flatMap(([name, { pair, problem }]) =>
      problem === undefined ? [] : [{ name, problem, isKept: pair !== undefined }],
    );
  }

  /** Certificates by state, for metrics; and when the first of them ends, in milliseconds since 1970. */
  get counts(): { usable: number; kept: number; missing: number; notAfterMs: number | undefined } {
    const counts = { usable: 0, kept: 0, missing: 0, notAfterMs: undefined as number | undefined };
    for (const { pair, problem } of this.#held.values()) {
      counts[pair ? (problem === undefined ? 'usable' : 'kept') : 'missing']++;
      if (pair) counts.notAfterMs = Math.min(counts.notAfterMs ?? Infinity, pair.notAfterMs);
    }
    return counts;
  }

  /** The names in the directory; undefined: it cannot be listed, for another reason than that it does not exist. */
  #list(): ReadonlySet<string> | undefined {
    const { directory } = this.options;
    this.#failure = undefined;
    if (directory === undefined) return new Set();
    try {
      return new Set(unlessAbsent(() => readdirSync(directory)));
    } catch (error) {
      this.#failure = `its directory cannot be read: ${errorText(error)}`;
      return undefined;
    }
  }

  #read(name: SecretName, held: Held): void {
    const { directory = '', nowMs } = this.options;
    try {
      const files = readFiles(directory, name);
      if (!files) {
        held.pair = undefined;
        held.problem = noFiles(directory, name);
        return;
      }
      const { chainPem, keyPem } = files;
      if (chainPem === undefined || keyPem === undefined)
        throw new Error(`it has no ${chainPem === undefined ? certificateFile : keyFile}`);
      held.pair = isPair(held.pair, chainPem, keyPem) ? held.pair : pairOf(chainPem, keyPem, nowMs());
      held.problem = undefined;
    } catch (error) {
      held.problem = errorText(error);
    }
  }
}

const noFiles = (directory: string | undefined, name: SecretName): string =>
  `there are no files of it${directory === undefined ? '' : ` in ${join(directory, name)}`}: the Secret does not exist, or it is beyond the ${clientCertificatesMax} that the waypoints of a namespace mount`;
const isAbsent = (error: unknown): boolean => (error as NodeJS.ErrnoException).code === 'ENOENT';
const isPair = (pair: Pair | undefined, chainPem: string, keyPem: string): boolean =>
  pair?.keyPem === keyPem && pair.fingerprint === fingerprintOf(chainPem, keyPem);
const fingerprintOf = (chainPem: string, keyPem: string): string =>
  createHash('sha256')
    .update(JSON.stringify([chainPem, keyPem]))
    .digest('base64url')
    .slice(0, 22);

interface Files {
  readonly chainPem: string | undefined;
  readonly keyPem: string | undefined;
}
const triesMax = 3;
/**
 * Both files of a Secret as they were at one moment; undefined: there are none. The kubelet replaces a symbolic link to the directory of all
 * Secrets, and removes the former directory afterwards: what is missing counts only if the link has stayed the same. Errors: those of the file
 * system, and that the link changes again and again.
 */
function readFiles(directory: string, name: SecretName): Files | undefined {
  for (let tries = 0; tries < triesMax; tries++) {
    const version = versionOf(directory);
    const at = unlessAbsent(() => realpathSync(join(directory, name)));
    const files = at === undefined ? undefined : filesIn(at);
    const isWhole = files?.chainPem !== undefined && files.keyPem !== undefined;
    if (isWhole || versionOf(directory) === version) return files;
  }
  throw new Error('its files are being replaced again and again');
}
/** The name of the kubelet's current directory; undefined: the directory is not the kubelet's. */
const versionOf = (directory: string): string | undefined =>
  unlessAbsent(() => readlinkSync(join(directory, '..data')));
function filesIn(at: string): Files | undefined {
  const [chainPem, keyPem] = [readFile(join(at, certificateFile)), readFile(join(at, keyFile))];
  return chainPem === undefined && keyPem === undefined ? undefined : { chainPem, keyPem };
}

function unlessAbsent<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

/** The text of a file; undefined: there is none. Errors: those of the file system, and for what is no file or is too large. */
function readFile(path: string): string | undefined {
  // Without O_NONBLOCK, opening a named pipe would wait for a writer.
  const fd = unlessAbsent(() => openSync(path, constants.O_RDONLY | constants.O_NONBLOCK));
  if (fd === undefined) return undefined;
  try {
    if (!fstatSync(fd).isFile()) throw new Error(`${path} is not a file`);
    const bytes = Buffer.alloc(fileBytesMax + 1);
    let length = 0;
    for (let n; length < bytes.length && (n = readSync(fd, bytes, length, bytes.length - length, null)) > 0;)
      length += n;
    if (length > fileBytesMax) throw new Error(`${path} has more than ${fileBytesMax} bytes`);
    return bytes.toString('utf8', 0, length);
  } finally {
    closeSync(fd);
  }
}

/** Errors: why the pair cannot be used. Their text has nothing of the key. */
function pairOf(chainPem: string, keyPem: string, nowMs: number): Pair {
  const chain = splitPem(chainPem);
  const [leafPem] = chain;
  if (leafPem === undefined) throw new Error(`its ${certificateFile} has no certificate in PEM`);
  let leaf: X509Certificate;
  try {
    leaf = new X509Certificate(leafPem);
    for (const pem of chain.slice(1)) new X509Certificate(pem);
  } catch {
    throw new Error(`a certificate of its ${certificateFile} cannot be read`);
  }
  let isOfKey: boolean;
  try {
    isOfKey = leaf.checkPrivateKey(createPrivateKey(keyPem));
  } catch {
    throw new Error(`its ${keyFile} has no private key in PEM without a password`);
  }
  if (!isOfKey) throw new Error(`its ${keyFile} is not the key of its ${certificateFile}`);
  const notAfterMs = Date.parse(leaf.validTo);
  if (!(notAfterMs > nowMs)) throw new Error(`its certificate has expired (${leaf.validTo})`);
  try {
    createSecureContext({ cert: chain.join(''), key: keyPem });
  } catch {
    throw new Error('OpenSSL refuses it: its key may be too small, or its algorithm unknown');
  }
  return { chainPem: chain.join(''), keyPem, fingerprint: fingerprintOf(chainPem, keyPem), notAfterMs };
}
