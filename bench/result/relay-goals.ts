/** Goals for what a relay carries: across nodes, and on one node where it is encrypted. Weft beside ztunnel and sidecars. */
import type { Wanted } from './wanted.js';

type Place = Pick<Wanted, 'placement' | 'variant'> & { readonly title: string; readonly before: string };

const places: readonly Place[] = [
  { title: 'across nodes', placement: 'cross-node', variant: 'weft', before: 'weft-typescript' },
  {
    title: 'same node, encrypted',
    placement: 'same-node',
    variant: 'weft-encrypted',
    before: 'weft-encrypted-typescript',
  },
];

const requests = [
  { workload: 'http1', title: 'HTTP/1.1' },
  { workload: 'http2', title: 'HTTP/2' },
  { workload: 'grpc', title: 'gRPC' },
];

function ofPlace({ title, before, ...place }: Place): Wanted[] {
  const ztunnel = { ...place, bases: ['ztunnel'] };
  const peers = { ...place, bases: ['ztunnel', 'sidecar'] };
  const all = { ...place, bases: ['ztunnel', 'sidecar', before] };
  const alone = { ...place, bases: [] };
  const trips = { ...ztunnel, workload: 'ping-pong' };
  const mixed = { ...ztunnel, workload: 'mixed', point: '' };
  const churn = { ...ztunnel, workload: 'churn', point: '' };
  const toZtunnel = `${title}, Weft / ztunnel`;
  const toBoth = `${title}, Weft / the better of ztunnel and sidecars`;
  const toAll = `${title}, Weft / the best of ztunnel, sidecars and the TypeScript relay`;
  return [
    ...['64 B', '128 B'].map((point): Wanted => ({
      ...trips,
      point,
      what: `${toZtunnel}: ${point} round trip, p50`,
      metric: 'p50',
      atMost: 0.75,
    })),
    ...['128 B', '64 KiB'].map((point): Wanted => ({
      ...trips,
      point,
      what: `${toZtunnel}: ${point} round trip, p99`,
      metric: 'p99',
      atMost: 1,
    })),
    {
      ...trips,
      point: '128 B',
      what: `${toZtunnel}: CPU of proxies per 128 B round trip`,
      metric: 'proxyUs',
      atMost: 0.7,
    },
    ...['1 stream', '16 streams'].flatMap((point): Wanted[] => [
      {
        ...peers,
        workload: 'bulk',
        point,
        what: `${toBoth}: ${point}`,
        metric: 'gbit',
        atLeast: 1.5,
      },
      {
        ...ztunnel,
        workload: 'bulk',
        point,
        what: `${toZtunnel}: CPU of proxies per GB, both ends, ${point}`,
        metric: 'proxySecondsPerGb',
        atMost: 0.7,
      },
    ]),
    { ...churn, what: `${toZtunnel}: new connections`, metric: 'perSecond', atLeast: 1.2 },
    {
      ...churn,
      what: `${toZtunnel}: CPU of proxies per new connection`,
      metric: 'proxyUs',
      atMost: 0.8,
    },
    {
      ...mixed,
      what: `${toZtunnel}: 128 B beside 15 bulk streams, round trips a second`,
      metric: 'perSecond',
      atLeast: 2,
    },
    { ...mixed, what: `${toZtunnel}: 128 B beside 15 bulk streams, p99`, metric: 'p99', atMost: 0.5 },
    ...requests.flatMap(({ workload, title: protocol }): Wanted[] => [
      {
        ...all,
        workload: `${workload}-max`,
        point: '',
        what: `${toAll}: ${protocol}, full speed`,
        metric: 'perSecond',
        atLeast: 1,
      },
      {
        ...all,
        workload,
        point: '50 %',
        what: `${toAll}: ${protocol} at half load, p50`,
        metric: 'p50',
        atMost: 1,
      },
    ]),
    {
      ...alone,
      workload: 'memory',
      point: '',
      what: `${title}: memory of a carrier with its broker after all load`,
      metric: 'carrierMegabytes',
      atMost: 30,
      unit: 'MB',
    },
    {
      ...alone,
      workload: 'memory',
      point: '',
      what: `${title}: memory of an agent after all load`,
      metric: 'agentMegabytes',
      atMost: 90,
      unit: 'MB',
    },
    {
      ...alone,
      workload: 'idle-connections',
      what: `${title}: memory of a carrier with its broker per idle connection`,
      metric: 'carrierKilobytesPerConnection',
      atMost: 12,
      unit: 'KB',
    },
    {
      ...alone,
      workload: 'idle-connections',
      what: `${title}: memory of all proxies, both ends, per idle connection`,
      metric: 'kilobytesPerConnection',
      atMost: 12,
      unit: 'KB',
    },
  ];
}

export const relayGoals: readonly Wanted[] = places.flatMap(ofPlace);
