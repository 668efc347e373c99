/** Envoy with the waypoint's job: its configuration. */
import type { SpiffeId } from '../../src/model/identity.js';
import type { Svid } from '../../src/tls/svid.js';
import { trustDomain } from './identities.js';
import { canary, routePath, shares, type Protocol, type Scene } from './scene.js';

/** One worker, nothing shared with another process. */
export const envoyArgs = (configFile: string): string[] => [
  '--config-path',
  configFile,
  '--concurrency',
  '1',
  '--disable-hot-restart',
  '--log-level',
  'warning',
];

export const type = (name: string): { readonly '@type': string } => ({
  '@type': `type.googleapis.com/${name}`,
});
export const endpoint = (port: number): object => ({
  address: { socket_address: { address: '127.0.0.1', port_value: port } },
});
const many = 1_000_000;

// As meshes configure it: its defaults of 1024 would refuse what the other proxy takes.
const breakers = {
  circuit_breakers: {
    thresholds: [
      { max_connections: many, max_pending_requests: many, max_requests: many, max_retries: many },
    ],
  },
};
export const cluster = (name: string, to: object): object => ({
  name,
  type: 'STATIC',
  connect_timeout: '5s',
  load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: [{ endpoint: to }] }] },
  ...breakers,
});

/** Of a cluster whose endpoints speak HTTP/2. */
const http2Cluster = (options: object): object => ({
  typed_extension_protocol_options: {
    'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
      ...type('envoy.extensions.upstreams.http.v3.HttpProtocolOptions'),
      explicit_http_config: { http2_protocol_options: options },
    },
  },
});
const spoken = (protocol: Protocol): object => (protocol === 'http2' ? http2Cluster({}) : {});

const split = {
  weighted_clusters: {
    clusters: [
      { name: 'a', weight: shares.a },
      { name: 'b', weight: shares.b },
    ],
  },
};

const routeConfig = (routes: number): object => ({
  name: 'main',
  validate_clusters: true,
  virtual_hosts: [
    {
      name: 'main',
      domains: ['*'],
      // In the order that the Gateway API gives them: longer paths first.
      routes: [
        ...Array.from({ length: routes - 1 }, (_, at) => ({
          match: { path_separated_prefix: routePath(at) },
          route: { ...split, timeout: '0s' },
        })),
        {
          match: {
            prefix: '/',
            headers: [{ name: canary.name, string_match: { exact: canary.value } }],
          },
          route: { cluster: 'b', timeout: '0s' },
        },
        { match: { prefix: '/' }, route: { ...split, timeout: '0s' } },
      ],
    },
  ],
});

export const router = {
  name: 'envoy.filters.http.router',
  typed_config: {
    ...type('envoy.extensions.filters.http.router.v3.Router'),
    suppress_envoy_headers: true,
  },
};
export const managerType = type(
  'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
);
export const chain = (typed: object, name = 'http_connection_manager'): object => ({
  filters: [{ name: `envoy.filters.network.${name}`, typed_config: typed }],
});
const manager = (routes: number, further: object): object => ({
  ...managerType,
  stat_prefix: 'main',
  codec_type: 'AUTO',
  normalize_path: true,
  merge_slashes: true,
  server_header_transformation: 'PASS_THROUGH',
  http_filters: [router],
  route_config: routeConfig(routes),
  ...further,
});

/**
 * JSON. Beside routing it does what Weft's does: x-forwarded-for, x-forwarded-proto and x-request-id, a normalized path,
 * statistics. No access log, no tracing, no headers of its own on answers. Connections to endpoints are kept, as by default.
 */
export function envoyConfig({ listen, a, b, routes, protocol }: Scene): string {
  return JSON.stringify({
    static_resources: {
      listeners: [
        {
          name: 'main',
          ...endpoint(listen),
          filter_chains: [chain(manager(routes, { use_remote_address: true }))],
        },
      ],
      clusters: [
        { ...cluster('a', endpoint(a)), ...spoken(protocol) },
        { ...cluster('b', endpoint(b)), ...spoken(protocol) },
      ],
    },
  });
}

/** Mutual TLS 1.3 on both sides. `alpn`: what is spoken within. */
function secured(svid: Svid, server: SpiffeId, alpn: readonly string[]): { down: object; up: object } {
  const common = (matcher: object): object => ({
    tls_params: { tls_minimum_protocol_version: 'TLSv1_3', tls_maximum_protocol_version: 'TLSv1_3' },
    tls_certificates: [
      {
        certificate_chain: { inline_string: svid.chainPem },
        private_key: { inline_string: svid.keyPem },
      },
    ],
    validation_context: {
      trusted_ca: { inline_string: svid.rootsPem },
      match_typed_subject_alt_names: [{ san_type: 'URI', matcher }],
    },
    alpn_protocols: alpn,
  });
  const name = 'envoy.transport_sockets.tls';
  const tls = 'envoy.extensions.transport_sockets.tls.v3';
  return {
    down: {
      transport_socket: {
        name,
        typed_config: {
          ...type(`${tls}.DownstreamTlsContext`),
          require_client_certificate: true,
          common_tls_context: common({ prefix: `spiffe://${trustDomain}/` }),
        },
      },
    },
    up: {
      // With handshakes, which the other end makes on a CPU that it shares.
      connect_timeout: '30s',
      transport_socket: {
        name,
        typed_config: { ...type(`${tls}.UpstreamTlsContext`), common_tls_context: common({ exact: server }) },
      },
    },
  };
}

/** The same with mutual TLS in and out, HTTP/1.1 within, as sidecars have it. `a`, `b`: ports of the server's end. */
export function envoyTlsConfig(
  { listen, a, b, routes, protocol }: Scene,
  svid: Svid,
  server: SpiffeId,
): string {
  const { down, up } = secured(svid, server, []);
  return JSON.stringify({
    static_resources: {
      listeners: [
        {
          name: 'main',
          ...endpoint(listen),
          filter_chains: [
            {
              ...chain(
                manager(routes, {
                  use_remote_address: true,
                  forward_client_cert_details: 'SANITIZE_SET',
                  set_current_client_cert_details: { uri: true },
                }),
              ),
              ...down,
            },
          ],
        },
      ],
      clusters: [
        { ...cluster('a', endpoint(a)), ...spoken(protocol), ...up },
        { ...cluster('b', endpoint(b)), ...spoken(protocol), ...up },
      ],
    },
  });
}

const inside = (listener: string): object => ({
  address: { envoy_internal_address: { server_listener_name: listener } },
});
const passedOn = {
  transport_socket: {
    name: 'envoy.transport_sockets.internal_upstream',
    typed_config: {
      ...type('envoy.extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport'),
      transport_socket: {
        name: 'envoy.transport_sockets.raw_buffer',
        typed_config: type('envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer'),
      },
    },
  },
};
const metadataFormat = (object_key: string, format: string): object => ({
  object_key,
  factory_key: 'envoy.string',
  format_string: { text_format_source: { inline_string: format } },
  read_only: true,
  shared_with_upstream: 'ONCE',
});

/**
 * HBONE in and out, laid out as Istio's waypoints are: a listener that ends CONNECT, an internal one that routes, and one more
 * for each way out, where Istio has one for all. `hosts`: addresses at whose port 15008 the backends' tunnels end.
 */
export function envoyHboneConfig(
  { listen, a, b, routes, protocol }: Scene,
  svid: Svid,
  server: SpiffeId,
  hosts: { readonly a: string; readonly b: string },
): string {
  const { down, up } = secured(svid, server, ['h2']);
  const out = (name: 'a' | 'b', port: number): { listener: object; clusters: object[] } => ({
    listener: {
      name: `connect_originate_${name}`,
      internal_listener: {},
      filter_chains: [
        chain(
          {
            ...type('envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy'),
            stat_prefix: `connect_originate_${name}`,
            cluster: `tunnel_${name}`,
            tunneling_config: { hostname: `${hosts[name]}:${port}` },
          },
          'tcp_proxy',
        ),
      ],
    },
    clusters: [
      { ...cluster(name, inside(`connect_originate_${name}`)), ...spoken(protocol), ...passedOn },
      {
        ...cluster(`tunnel_${name}`, {
          address: { socket_address: { address: hosts[name], port_value: 15008 } },
        }),
        ...http2Cluster({ allow_connect: true }),
        ...up,
      },
    ],
  });
  const ways = [out('a', a), out('b', b)];
  const terminate = {
    ...managerType,
    stat_prefix: 'connect_terminate',
    codec_type: 'HTTP2',
    http2_protocol_options: { allow_connect: true },
    upgrade_configs: [{ upgrade_type: 'CONNECT' }],
    use_remote_address: true,
    http_filters: [
      {
        name: 'envoy.filters.http.set_filter_state',
        typed_config: {
          ...type('envoy.extensions.filters.http.set_filter_state.v3.Config'),
          on_request_headers: [
            metadataFormat('bench.principal', '%DOWNSTREAM_PEER_URI_SAN%'),
            metadataFormat('bench.address', '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%'),
          ],
        },
      },
      router,
    ],
    route_config: {
      virtual_hosts: [
        {
          name: 'connect',
          domains: ['*'],
          routes: [
            {
              match: { connect_matcher: {} },
              route: {
                cluster: 'main_internal',
                timeout: '0s',
                upgrade_configs: [{ upgrade_type: 'CONNECT', connect_config: {} }],
              },
            },
          ],
        },
      ],
    },
  };
  const main = manager(routes, {
    // What is on the wire ends at the listener before: its words are what is known of the client.
    use_remote_address: false,
    skip_xff_append: true,
    route_config: {
      ...routeConfig(routes),
      request_headers_to_add: [
        {
          header: { key: 'x-forwarded-for', value: '%FILTER_STATE(bench.address:PLAIN)%' },
          append_action: 'APPEND_IF_EXISTS_OR_ADD',
        },
        {
          header: { key: 'x-forwarded-client-cert', value: 'URI=%FILTER_STATE(bench.principal:PLAIN)%' },
          append_action: 'OVERWRITE_IF_EXISTS_OR_ADD',
        },
      ],
    },
  });
  return JSON.stringify({
    bootstrap_extensions: [
      {
        name: 'envoy.bootstrap.internal_listener',
        typed_config: type('envoy.extensions.bootstrap.internal_listener.v3.InternalListener'),
      },
    ],
    static_resources: {
      listeners: [
        {
          name: 'connect_terminate',
          ...endpoint(listen),
          filter_chains: [{ ...chain(terminate), ...down }],
        },
        { name: 'main_internal', internal_listener: {}, filter_chains: [chain(main)] },
        ...ways.map(({ listener }) => listener),
      ],
      clusters: [
        { ...cluster('main_internal', inside('main_internal')), ...passedOn },
        ...ways.flatMap(({ clusters }) => clusters),
      ],
    },
  });
}
