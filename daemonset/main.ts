/** The agent's program: options, signals, exit codes. agent.ts is the agent itself. */
import { errorText } from '../src/base/errors.js';
import { Agent } from './agent.js';
import { parseOptions } from './options.js';

async function main(): Promise<void> {
  let isStopping = false;
  const starting = Agent.start(parseOptions(process.argv));
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      if (isStopping) return;
      isStopping = true;
      void starting
        .then((agent) => agent.stop())
        .then(
          () => process.exit(0),
          () => process.exit(1),
        );
    });
  }
  await starting;
}

if (process.argv[1] && import.meta.url === `file://${process.argv[1]}`) {
  main().catch((error: unknown) => {
    console.error(errorText(error));
    process.exit(1);
  });
}
