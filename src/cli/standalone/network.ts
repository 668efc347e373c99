/** The network of a testbed: a network namespace per node and pod, and the links between them. */
import { isV6 } from '../../model/address.js';
import { sh } from '../run.js';
import { blockOf, gatewayOf, lengthOf, underlayNetns, type TestbedPod, type Topology } from './topology.js';

type Environment = Readonly<Record<string, string>>;

/** Names of all network namespaces of a topology. */
export const netnsOf = ({ nodes }: Pick<Topology, 'nodes'>): string[] => [
  underlayNetns,
  ...nodes.flatMap((node) => [node.netns, ...node.pods.map((pod) => pod.netns)]),
];

/** Creates and links all namespaces of a topology: one bridge connects the nodes, and each pod is linked to its node. `env`: environment of each command. */
export function makeNetwork({ nodes, controlIp }: Topology, env: Environment): void {
  for (const name of netnsOf({ nodes })) makeNetns(name, env);
  const batch = (netns: string, lines: string[]): void => runBatch(netns, lines, env);
  batch(underlayNetns, [
    'link add br0 type bridge',
    'link set br0 address 02:77:65:66:74:00',
    'link set br0 up',
    `addr add ${controlIp}/24 dev br0`,
  ]);
  nodes.forEach((node, index) => {
    batch(underlayNetns, [
      `link add n${index} type veth peer name eth0 netns ${node.netns}`,
      `link set n${index} master br0`,
      `link set n${index} up`,
    ]);
    const pods = node.pods.flatMap(({ addresses }) => addresses);
    const gateways = new Set(pods.map((ip) => `${gatewayOf(ip)}/${lengthOf(ip)}`));
    batch(node.netns, [
      'link set eth0 up',
      ...node.addresses.map((ip) => `addr add ${ip}/${lengthOf(ip)} dev eth0${isV6(ip) ? ' nodad' : ''}`),
      'link add pods type bridge',
      // A bridge without a fixed address takes the lowest address of its ports, which would change under its neighbors when a pod is removed.
      `link set pods address 02:77:65:66:74:${(index + 1).toString(16).padStart(2, '0')}`,
      'link set pods up',
      ...[...gateways].map(
        (address) => `addr add ${address} dev pods${address.includes(':') ? ' nodad' : ''}`,
      ),
    ]);
    node.pods.forEach((pod, at) => plug(node.netns, pod, `p${at}`, env));
  });
  // The underlay needs routes to pods too, because the control plane responds to waypoints, which are pods.
  for (const from of [underlayNetns, ...nodes.map(({ netns }) => netns)]) {
    for (const other of nodes) {
      if (other.netns === from) continue;
      const blocks = new Map(
        other.pods.flatMap(({ addresses }) => addresses.map((ip) => [blockOf(ip), isV6(ip)] as const)),
      );
      batch(
        from,
        [...blocks].flatMap(([block, v6]) => {
          const via = other.addresses.find((ip) => isV6(ip) === v6);
          if (v6 && from === underlayNetns) return [];
          return via ? [`route add ${block} via ${via}`] : [];
        }),
      );
    }
  }
}

/** Creates the namespace of a pod and links it to its node. `link`: name of the link on the node. */
export function addPodNetns(nodeNetns: string, pod: TestbedPod, link: string, env: Environment): void {
  makeNetns(pod.netns, env);
  plug(nodeNetns, pod, link, env);
}

function makeNetns(name: string, env: Environment): void {
  sh('ip', ['netns', 'add', name], '', env);
  sh('ip', ['-n', name, 'link', 'set', 'lo', 'up'], '', env);
  sh(
    'nsenter',
    [
      `--net=/run/netns/${name}`,
      'sysctl',
      '-qw',
      'net.ipv4.ip_forward=1',
      'net.ipv6.conf.all.forwarding=1',
      'net.ipv6.conf.default.accept_dad=0',
      'net.ipv6.conf.all.accept_dad=0',
    ],
    '',
    env,
  );
}

/** `link`: name of the link on the node. */
function plug(nodeNetns: string, pod: TestbedPod, link: string, env: Environment): void {
  runBatch(
    nodeNetns,
    [
      `link add ${link} type veth peer name eth0 netns ${pod.netns}`,
      `link set ${link} master pods`,
      `link set ${link} up`,
    ],
    env,
  );
  runBatch(
    pod.netns,
    [
      'link set eth0 up',
      ...pod.addresses.map((ip) => `addr add ${ip}/${lengthOf(ip)} dev eth0${isV6(ip) ? ' nodad' : ''}`),
      ...pod.addresses.map((ip) => `route add default via ${gatewayOf(ip)}`),
    ],
    env,
  );
}

function runBatch(netns: string, lines: readonly string[], env: Environment): void {
  sh('ip', ['-n', netns, '-batch', '-'], `${lines.join('\n')}\n`, env);
}
