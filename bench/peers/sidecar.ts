/**
 * A sidecar: Envoy in the pod's network namespace. iptables redirects traffic to it as Istio's init container does. Two sidecars
 * use mutual TLS. There are no further filters: no mesh's sidecar does less, so the measured cost is a lower bound.
 */
import type { SpiffeId } from '../../src/model/identity.js';
import type { Svid } from '../../src/tls/svid.js';

export const outboundPort = 15001;
export const inboundPort = 15006;
export const adminPort = 15000;
/** Group of the Envoy process. Its connections are not redirected. */
export const proxyGroup = 1337;
/** Source address of connections from Envoy to its application. They are not redirected. */
const inboundSource = '127.0.0.6';

/** Rules for `iptables-restore --noflush`. `further`: ports on which the proxy itself listens. */
export const redirectRules = (group = proxyGroup, further: readonly number[] = []): string =>
  [
    '*nat',
    `-A OUTPUT -p tcp -m owner --gid-owner ${group} -j RETURN`,
    '-A OUTPUT -p tcp -d 127.0.0.0/8 -j RETURN',
    `-A OUTPUT -p tcp -j REDIRECT --to-ports ${outboundPort}`,
    `-A PREROUTING -p tcp -m multiport --dports ${[adminPort, 15020, 15021, 15090, ...further].join(',')} -j RETURN`,
    `-A PREROUTING -p tcp -j REDIRECT --to-ports ${inboundPort}`,
    'COMMIT',
    '',
  ].join('\n');

export const sidecarArgs = (configFile: string, concurrency: number): string[] => [
  '--config-path',
  configFile,
  '--concurrency',
  String(concurrency),
  '--disable-hot-restart',
  '--log-level',
  'warning',
];

type Typed = { readonly '@type': string };
const type = (name: string): Typed => ({ '@type': `type.googleapis.com/${name}` });
const many = 1_000_000;

/** Credentials as PEM text, or as files: in a pod, keys are mounted. */
export type Credentials =
  | Pick<Svid, 'chainPem' | 'keyPem' | 'rootsPem'>
  | { readonly chainFile: string; readonly keyFile: string; readonly rootsFile: string };

const source = (given: { inline?: string; file?: string }): object =>
  given.file === undefined ? { inline_string: given.inline } : { filename: given.file };

/** TLS 1.3 with client certificates, as in the whole comparison. `peers`: accepted identities of the other end. */
function tlsContext(of: Credentials, peers: string): object {
  const files = 'chainFile' in of;
  return {
    tls_params: { tls_minimum_protocol_version: 'TLSv1_3', tls_maximum_protocol_version: 'TLSv1_3' },
    tls_certificates: [
      {
        certificate_chain: source(files ? { file: of.chainFile } : { inline: of.chainPem }),
        private_key: source(files ? { file: of.keyFile } : { inline: of.keyPem }),
      },
    ],
    validation_context: {
      trusted_ca: source(files ? { file: of.rootsFile } : { inline: of.rootsPem }),
      match_typed_subject_alt_names: [{ san_type: 'URI', matcher: { prefix: peers } }],
    },
  };
}

const socket = (side: 'Downstream' | 'Upstream', of: Credentials, peers: string): object => ({
  transport_socket: {
    name: 'envoy.transport_sockets.tls',
    typed_config: {
      ...type(`envoy.extensions.transport_sockets.tls.v3.${side}TlsContext`),
      ...(side === 'Downstream' ? { require_client_certificate: true } : {}),
      common_tls_context: tlsContext(of, peers),
    },
  },
});

const cluster = (name: string, further: object): object => ({
  name,
  type: 'ORIGINAL_DST',
  lb_policy: 'CLUSTER_PROVIDED',
  connect_timeout: '10s',
  circuit_breakers: {
    thresholds: [
      { max_connections: many, max_pending_requests: many, max_requests: many, max_retries: many },
    ],
  },
  ...further,
});

/** The upstream uses the HTTP version of the downstream. */
const sameProtocol = {
  typed_extension_protocol_options: {
    'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
      ...type('envoy.extensions.upstreams.http.v3.HttpProtocolOptions'),
      use_downstream_protocol_config: { http_protocol_options: {}, http2_protocol_options: {} },
    },
  },
};
const toApplication = {
  upstream_bind_config: { source_address: { address: inboundSource, port_value: 0 } },
};

interface Chain {
  readonly filters: readonly object[];
}

const tcp = (name: string, to: string): Chain => ({
  filters: [
    {
      name: 'envoy.filters.network.tcp_proxy',
      typed_config: {
        ...type('envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy'),
        stat_prefix: name,
        cluster: to,
      },
    },
  ],
});

const http = (name: string, to: string, further: object): Chain => ({
  filters: [
    {
      name: 'envoy.filters.network.http_connection_manager',
      typed_config: {
        ...type('envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager'),
        stat_prefix: name,
        codec_type: 'AUTO',
        normalize_path: true,
        server_header_transformation: 'PASS_THROUGH',
        http_filters: [
          {
            name: 'envoy.filters.http.router',
            typed_config: type('envoy.extensions.filters.http.router.v3.Router'),
          },
        ],
        route_config: {
          name,
          validate_clusters: true,
          virtual_hosts: [
            {
              name,
              domains: ['*'],
              routes: [{ match: { prefix: '/' }, route: { cluster: to, timeout: '0s' } }],
            },
          ],
        },
        ...further,
      },
    },
  ],
});

/**
 * A client that dials the listener's own port was not redirected: its original destination is the listener itself, and Envoy would
 * connect to itself until no file descriptor is left. This cluster has no endpoint, so such connections end.
 */
const nowhere = 'nowhere';

const listener = (name: string, port: number, chains: readonly object[], fallback: object): object => ({
  name,
  address: { socket_address: { address: '0.0.0.0', port_value: port } },
  use_original_dst: false,
  listener_filters: [
    {
      name: 'envoy.filters.listener.original_dst',
      typed_config: type('envoy.extensions.filters.listener.original_dst.v3.OriginalDst'),
    },
  ],
  filter_chains: [...chains, { filter_chain_match: { destination_port: port }, ...tcp(nowhere, nowhere) }],
  default_filter_chain: fallback,
});

export interface SidecarOptions {
  readonly credentials: Credentials;
  /** Prefix of accepted identities of the other end. */
  readonly peers: `${SpiffeId}` | string;
  /** Destination ports at which Envoy reads HTTP requests. At all other ports it relays bytes. */
  readonly httpPorts: readonly number[];
  /** Identities that may connect: one rule for each, evaluated in this order. Absent: all peers may. */
  readonly allowed?: readonly string[];
}

/** Envoy evaluates policies in the order of their names. */
const accessRules = (allowed: readonly string[]): object => ({
  name: 'envoy.filters.network.rbac',
  typed_config: {
    ...type('envoy.extensions.filters.network.rbac.v3.RBAC'),
    stat_prefix: 'inbound_',
    rules: {
      action: 'ALLOW',
      policies: Object.fromEntries(
        allowed.map((identity, at) => [
          `rule-${String(at).padStart(8, '0')}`,
          {
            permissions: [{ any: true }],
            principals: [{ authenticated: { principal_name: { exact: identity } } }],
          },
        ]),
      ),
    },
  },
});

/** JSON. Pure. */
export function sidecarConfig({ credentials, peers, httpPorts, allowed }: SidecarOptions): string {
  const guarded = (chain: Chain): Chain => ({
    filters: [...(allowed ? [accessRules(allowed)] : []), ...chain.filters],
  });
  const chainsFor = (chain: object, further: object = {}): object[] =>
    httpPorts.map((port) => ({
      filter_chain_match: { destination_port: port },
      ...chain,
      ...further,
    }));
  const down = socket('Downstream', credentials, peers);
  const up = socket('Upstream', credentials, peers);
  return JSON.stringify({
    admin: { address: { socket_address: { address: '127.0.0.1', port_value: adminPort } } },
    static_resources: {
      listeners: [
        listener(
          'outbound',
          outboundPort,
          chainsFor(http('outbound_http', 'outbound_http', {})),
          tcp('outbound_tcp', 'outbound_tcp'),
        ),
        listener(
          'inbound',
          inboundPort,
          chainsFor(
            guarded(
              http('inbound_http', 'inbound_http', {
                forward_client_cert_details: 'SANITIZE_SET',
                set_current_client_cert_details: { uri: true },
              }),
            ),
            down,
          ),
          { ...guarded(tcp('inbound_tcp', 'inbound_tcp')), ...down },
        ),
      ],
      clusters: [
        cluster('outbound_http', { ...sameProtocol, ...up }),
        cluster('outbound_tcp', up),
        cluster('inbound_http', { ...sameProtocol, ...toApplication }),
        cluster('inbound_tcp', toApplication),
        { name: nowhere, type: 'STATIC', connect_timeout: '1s' },
      ],
    },
  });
}

/** Counters of `/stats` that show what it carried, and under what. Pure. */
export function readStats(text: string): ReadonlyMap<string, number> {
  return new Map(
    text.split('\n').flatMap((line) => {
      const found = /^([^:]+): (\d+)$/.exec(line.trim());
      return found ? [[found[1] as string, Number(found[2])] as const] : [];
    }),
  );
}

/** Of the inbound side: handshakes, connections of bytes, requests. */
export const provingStats = [
  'listener.0.0.0.0_15006.ssl.handshake',
  'tcp.inbound_tcp.downstream_cx_total',
  'http.inbound_http.downstream_rq_completed',
] as const;
