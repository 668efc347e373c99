/** Runs in the server's pod: `/` returns the CPU seconds of the pod's programs so far, `/counters` the counters of its Envoy. */
import { createServer } from 'node:http';
import { errorText } from '../../src/base/errors.js';
import { ports } from './plan.js';
import { cpuByProgram, envoyCounters } from './spent.js';

const answers: Readonly<Record<string, () => object | Promise<object>>> = {
  '/': cpuByProgram,
  '/counters': envoyCounters,
};
const server = createServer((request, answer) => {
  void (async () => {
    const of = answers[request.url ?? ''];
    if (of === undefined) return answer.writeHead(404).end();
    const text = JSON.stringify(await of());
    answer.writeHead(200, { 'content-type': 'application/json', connection: 'close' }).end(text);
  })().catch((error: unknown) => answer.writeHead(500).end(errorText(error)));
});
server.headersTimeout = 5_000;
server.requestTimeout = 5_000;
server.maxConnections = 64;
server.listen(ports.meter);
// The first process of a container has no default handlers of signals.
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => process.exit(0));
