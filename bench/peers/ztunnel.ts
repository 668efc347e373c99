/**
 * Istio's ztunnel in the pod's own namespace (its dedicated mode), with Weft's control plane: it speaks the same discovery
 * and takes certificates the same way. No package registry has the program: one on PATH is used.
 */
import { execFileSync } from 'node:child_process';
import { errorText } from '../../src/base/errors.js';

export const hbonePort = 15008;
export const metricsPort = 15020;
export const readinessPort = 15021;
/** Also of Weft's agents: both have Istio's names. */
export const openedTotal = 'istio_tcp_connections_opened_total';

export type FoundZtunnel = { readonly version: string } | { readonly missing: string };

const versionMsMax = 20_000;

/** Of what `ztunnel version` prints: Istio's version, else the revision it was built from; and how, where not for release. Pure. */
export function readVersion(said: string): string | undefined {
  const of = (name: string): string | undefined => new RegExp(`\\b${name}:"([^"]+)"`).exec(said)?.[1];
  const istio = of('IstioVersion');
  const version = istio === undefined || istio === 'unknown' ? of('GitRevision') : istio;
  const profile = of('BuildProfile') ?? 'release';
  return version === undefined || profile === 'release' ? version : `${version} (built as ${profile})`;
}

/** Never throws. */
export function findZtunnel(): FoundZtunnel {
  try {
    const said = execFileSync('ztunnel', ['version'], {
      encoding: 'utf8',
      timeout: versionMsMax,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const version = readVersion(said);
    return version === undefined ? { missing: 'what is on PATH by that name is not ztunnel' } : { version };
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT'
      ? { missing: 'not on PATH: put a ztunnel binary there and run again' }
      : { missing: `ztunnel does not run: ${errorText(error).split('\n')[0] ?? ''}` };
  }
}

export const linkerdMissing = (onPath: boolean): string =>
  onPath
    ? "it is on PATH, but serves nothing without Linkerd's destination, identity and policy controllers, which are not here"
    : 'not on PATH';

export interface ControlPlane {
  readonly url: string;
  readonly rootFile: string;
  /** Of the pod's node. */
  readonly tokenFile: string;
}
interface Pod {
  readonly namespace: string;
  /** Also of its service account. */
  readonly name: string;
  readonly node: string;
  readonly ip: string;
}

/** What it takes its whole configuration from. Pure. */
export const ztunnelEnvironment = (
  { namespace, name, node, ip }: Pod,
  { url, rootFile, tokenFile }: ControlPlane,
): Record<string, string> => ({
  XDS_ADDRESS: url,
  XDS_ROOT_CA: rootFile,
  CA_ADDRESS: url,
  CA_ROOT_CA: rootFile,
  AUTH_TOKEN: tokenFile,
  NODE_NAME: node,
  INSTANCE_IP: ip,
  POD_NAME: name,
  POD_NAMESPACE: namespace,
  PROXY_MODE: 'dedicated',
  PROXY_WORKLOAD_INFO: `${namespace}/${name}/${name}`,
  // Else it needs marks and policy routing in the pod.
  ENABLE_ORIG_SRC: 'false',
  // It writes a line for each connection otherwise, which Envoy here does not either.
  RUST_LOG: 'warn',
});
