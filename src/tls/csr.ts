/** Certificate signing requests: created by clients, parsed by the CA. Source: RFC 2986. */
import { createPublicKey, sign, verify } from 'node:crypto';
import type { Decoded } from '../base/errors.js';
import { errorText } from '../base/errors.js';
import type { SpiffeId } from '../model/identity.js';
import {
  binary,
  bits,
  bytesOf,
  context,
  der,
  extension,
  oid,
  oids,
  oidText,
  parseDer,
  pem,
  sequence,
  set,
  spki,
  Type,
  universal,
  type Node,
} from './der.js';
import { exportKey, newKey } from './keys.js';

const csrBytesMax = 16 * 1024;

/** Creates a new P-256 key and a request for `id` with an empty subject and one URI SAN. Only the request is sent to the CA. */
export function createCsr(id: SpiffeId): { readonly keyPem: string; readonly csrPem: string } {
  const { publicKey, privateKey } = newKey();
  const extensions = sequence(extension(oids.subjectAltName, true, sequence(context(6, false, id))));
  const body = sequence(
    universal(Type.INTEGER, false, '\x00'),
    sequence(),
    parseDer(spki(publicKey)),
    context(0, true, [sequence(oid(oids.extensionRequest), set(extensions))]),
  );
  const signature = sign('sha256', bytesOf(der(body)), privateKey);
  const request = sequence(body, sequence(oid(oids.ecdsaWithSha256)), bits(binary(signature)));
  return { keyPem: exportKey(privateKey), csrPem: pem('CERTIFICATE REQUEST', bytesOf(der(request))) };
}

/** URI names in a request's attributes (RFC 2986, 4.1; RFC 2985, 5.4.2). */
function urisAsked(attributes: Node | undefined): string[] {
  const children = (node: Node | undefined): Node[] => (Array.isArray(node?.value) ? node.value : []);
  const named = (list: Node[], id: string): Node[] =>
    list.filter((item) => {
      const first = children(item)[0];
      return first?.type === Type.OID && oidText(first) === id;
    });
  const uriTag = 6;
  return named(children(attributes), oids.extensionRequest)
    .flatMap((attribute) => children(children(attribute)[1]))
    .flatMap((extensions) => named(children(extensions), oids.subjectAltName))
    .flatMap((found) => {
      const value = children(found).at(-1)?.value;
      return typeof value === 'string' ? children(parseDer(bytesOf(value))) : [];
    })
    .filter((name) => (name.type as number) === uriTag && typeof name.value === 'string')
    .map((name) => name.value as string);
}

/** Parses a request and verifies its signature. The CA, not the request, decides which identity the certificate gets. */
export function parseCsr(csrPem: string): Decoded<{
  readonly publicKeyPem: string;
  /** The requested URI name, if there is exactly one. */ readonly uri?: string;
}> {
  try {
    if (Buffer.byteLength(csrPem) > csrBytesMax)
      return { ok: false, errors: [`the request is longer than ${csrBytesMax} bytes`] };
    const match = /-----BEGIN (?:NEW )?CERTIFICATE REQUEST-----([A-Za-z0-9+/=\s]+)-----END/.exec(csrPem);
    if (!match?.[1]) return { ok: false, errors: ['the text is not a PEM certificate request'] };
    const [body, algorithm, signature] = parseDer(Buffer.from(match[1], 'base64')).value as Node[];
    if (!body || !algorithm || !signature) return { ok: false, errors: ['the request is incomplete'] };
    const algorithmOid = oidText((algorithm.value as Node[])[0]);
    if (algorithmOid !== oids.ecdsaWithSha256) {
      return { ok: false, errors: [`signature algorithm ${algorithmOid} is not ECDSA with SHA-256`] };
    }
    const keyNode = (body.value as Node[])[2];
    if (!keyNode) return { ok: false, errors: ['the request has no public key'] };
    const key = createPublicKey({ key: bytesOf(der(keyNode)), format: 'der', type: 'spki' });
    if (key.asymmetricKeyType !== 'ec' || key.asymmetricKeyDetails?.namedCurve !== 'prime256v1') {
      return { ok: false, errors: ['the key is not ECDSA P-256'] };
    }
    const raw =
      (signature as Node & { bitStringContents?: string }).bitStringContents ?? (signature.value as string);
    if (!verify('sha256', bytesOf(der(body)), key, bytesOf(raw.slice(1)))) {
      return { ok: false, errors: ['the signature does not match the key'] };
    }
    const uris = urisAsked((body.value as Node[])[3]);
    return {
      ok: true,
      value: {
        publicKeyPem: key.export({ type: 'spki', format: 'pem' }).toString(),
        ...(uris.length === 1 && uris[0] !== undefined ? { uri: uris[0] } : {}),
      },
    };
  } catch (error) {
    return { ok: false, errors: [errorText(error)] };
  }
}
