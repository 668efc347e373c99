/** TLS to endpoints that speak it themselves (BackendTLSPolicy), inside of the tunnel. A connection is never plain in its place. */
import { createHash, X509Certificate } from 'node:crypto';
import type { Duplex } from 'node:stream';
import tls from 'node:tls';
import { errorText, WeftError } from '../../base/errors.js';
import type { EndpointTls } from '../../discovery/gen/weft.js';
import { formatSocketAddress, type SocketAddress } from '../../model/address.js';
import type { AppProtocol } from '../../model/workload.js';
import { dnsNames, uriNames } from '../../tls/certificate.js';
import type { ClientCertificate } from './client-certificate.js';

/** The settings of a port are replaced and never changed, so one object needs one context. */
const contexts = new WeakMap<EndpointTls, tls.SecureContext>();
function contextOf(settings: EndpointTls, certificate: ClientCertificate | undefined): tls.SecureContext {
  const { caCertificates } = settings;
  const options: tls.SecureContextOptions = {
    minVersion: 'TLSv1.2',
    // Without certificates of its own: the public roots that Node.js has.
    ...(caCertificates === '' ? {} : { ca: caCertificates }),
  };
  if (certificate) return certificate.context(settings, options);
  let context = contexts.get(settings);
  if (!context) contexts.set(settings, (context = tls.createSecureContext(options)));
  return context;
}

/** Why a connection must not be opened: the certificate that the settings name is not there. Undefined: it may. */
export function certificateProblem(
  { clientCertificate: name }: EndpointTls,
  certificate: ClientCertificate | undefined,
): WeftError | undefined {
  if (name === undefined || (certificate && certificate.problem === undefined)) return undefined;
  const why = certificate?.problem ?? 'it is unknown';
  return new WeftError(
    'WEFT_CLIENT_CERTIFICATE',
    `no client certificate of Secret ${name}: ${why}; see the waypoint's log`,
    { retryable: true },
  );
}

const digests = new WeakMap<EndpointTls, string>();
/** Equal for equal settings. */
export function digestOf(settings: EndpointTls): string {
  let digest = digests.get(settings);
  if (digest === undefined) {
    const { hostname, caCertificates, dnsNames: names, uris, clientCertificate } = settings;
    const text = JSON.stringify([hostname, caCertificates, names, uris, clientCertificate]);
    digest = createHash('sha256').update(text).digest('base64url').slice(0, 22);
    digests.set(settings, digest);
  }
  return digest;
}

/** Whether a name of the certificate is the wanted one. A wanted wildcard stands for one label. */
function isName(wanted: string, given: string): boolean {
  const name = given.toLowerCase();
  if (name === wanted) return true;
  const [suffix, other] = wanted.startsWith('*.') ? [wanted.slice(1), name] : [name.slice(1), wanted];
  if (!(wanted.startsWith('*.') || name.startsWith('*.')) || !other.endsWith(suffix)) return false;
  const label = other.slice(0, -suffix.length);
  return label !== '' && !/[.*]/.test(label);
}

/** Why the names of a certificate are not those of the settings; undefined: one of them is. The hostname counts only without other names. */
export function nameProblem(settings: EndpointTls, certificate: tls.PeerCertificate): Error | undefined {
  const { hostname, dnsNames: names, uris } = settings;
  if (names.length + uris.length === 0) return tls.checkServerIdentity(hostname, certificate);
  const { subjectAltName } = new X509Certificate(certificate.raw);
  const given = dnsNames(subjectAltName) ?? [];
  const ids = uriNames(subjectAltName) ?? [];
  if (names.some((wanted) => given.some((name) => isName(wanted, name)))) return undefined;
  if (uris.some((wanted) => ids.includes(wanted))) return undefined;
  return new Error(`the certificate has none of the names ${[...names, ...uris].join(', ')}`);
}

interface TlsEndpoint {
  readonly target: SocketAddress;
  readonly protocol: AppProtocol;
  readonly clientCertificate?: ClientCertificate | undefined;
}

const isHttp2 = ({ protocol }: TlsEndpoint): boolean => protocol === 'http2' || protocol === 'grpc';

/** HTTP/2 only where the Service's port declares it. */
function alpnOf(endpoint: TlsEndpoint): string[] {
  if (isHttp2(endpoint)) return ['h2'];
  return endpoint.protocol === 'http1' ? ['http/1.1'] : [];
}

/**
 * A TLS connection over a connection to the endpoint, which belongs to it from now on. Error: WEFT_UPSTREAM_TLS.
 * @param timeoutMs for the handshake
 */
export function startTls(
  stream: Duplex,
  endpoint: TlsEndpoint,
  settings: EndpointTls,
  timeoutMs: number,
): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    const fail = (why: string, cause?: unknown): void => {
      clearTimeout(timer);
      stream.destroy();
      reject(
        new WeftError('WEFT_UPSTREAM_TLS', `no TLS with ${formatSocketAddress(endpoint.target)}: ${why}`, {
          source: 'upstream',
          retryable: true,
          cause,
        }),
      );
    };
    const timer = setTimeout(() => fail('the handshake timed out'), timeoutMs);
    let socket: tls.TLSSocket;
    try {
      socket = tls.connect({
        socket: stream,
        servername: settings.hostname,
        secureContext: contextOf(settings, endpoint.clientCertificate),
        ALPNProtocols: alpnOf(endpoint),
        checkServerIdentity: (_host, certificate) => nameProblem(settings, certificate),
      });
    } catch (error) {
      return fail(errorText(error), error);
    }
    const onError = (error: Error): void => fail(errorText(error), error);
    const onClose = (): void => fail('the endpoint closed the connection');
    socket.once('error', onError);
    socket.once('close', onClose);
    socket.once('secureConnect', () => {
      if (isHttp2(endpoint) && socket.alpnProtocol !== 'h2') {
        socket.destroy();
        return fail('the endpoint does not speak HTTP/2 (ALPN)');
      }
      clearTimeout(timer);
      socket.removeListener('error', onError);
      socket.removeListener('close', onClose);
      // The owner adds its own listeners. Until then an error is handled by the close that follows it.
      socket.on('error', () => undefined);
      resolve(socket);
    });
  });
}
