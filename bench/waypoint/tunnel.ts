/**
 * The waypoint's own worker, tunnels in and tunnels out, without the main process that would tell it of the mesh: that is read
 * from a file. A bench program.
 *
 *   node dist/bench/waypoint/tunnel.js CONFIG.json
 */
import { readFileSync } from 'node:fs';
import type { ToWorker } from '../../src/waypoint/worker/worker-ipc.js';
import { runWorker } from '../../src/waypoint/worker/worker.js';
import { parseWeftConfig, type TunnelConfig } from './config.js';
import { trustDomain } from './identities.js';

const { listen, service, mesh, routes, svid, updates } = parseWeftConfig(
  readFileSync(process.argv[2] ?? '', 'utf8'),
) as TunnelConfig;
runWorker();
const send = (message: ToWorker): void => void process.emit('message', message, undefined);
send({
  type: 'start',
  settings: {
    node: '',
    self: service,
    trustDomain,
    host: listen.ip,
    port: listen.port,
    accessLog: '/dev/null',
    accessLogMode: 'none',
    accessLogTemplate: undefined,
    tracing: undefined,
    logs: undefined,
    program: { service: 'waypoint', namespace: 'bench' },
    limits: {},
    mergeSlashes: true,
  },
  memory: undefined,
  index: 0,
});
send({ type: 'update', update: { mesh, routes } });
send({ type: 'svid', svid });
process.on('SIGTERM', () => process.exit(0));
let applied = 0;
process.on('SIGUSR2', () => {
  const next = updates[applied++ % updates.length];
  if (next) send({ type: 'update', update: { mesh: next } });
});
