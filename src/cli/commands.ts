/** The commands of `weft`. The code of a command is loaded when it is called, because that of all takes a quarter of a second. */
import type { Command } from 'commander';

interface Entry {
  readonly names: readonly string[];
  readonly load: () => Promise<readonly Command[]>;
}

/** In the order of `weft --help`. */
export const entries: readonly Entry[] = [
  {
    names: [
      ...['control', 'token', 'revoke-token', 'rotate-root', 'migrate', 'agent', 'carrier', 'waypoint-proxy'],
      ...['rate-limiter', 'cleanup'],
    ],
    load: async () => (await import('./programs.js')).programCommands(),
  },
  { names: ['check'], load: async () => [(await import('./check.js')).checkCommand()] },
  {
    names: ['install', 'uninstall', 'waypoint'],
    load: async () => (await import('./cluster/command.js')).clusterCommands(),
  },
  {
    names: ['standalone'],
    load: async () => [(await import('./standalone/command.js')).standaloneCommand()],
  },
  { names: ['status'], load: async () => [(await import('./status.js')).statusCommand()] },
  { names: ['edges'], load: async () => [(await import('./edges/command.js')).edgesCommand()] },
  { names: ['stat'], load: async () => [(await import('./stat/command.js')).statCommand()] },
  { names: ['top'], load: async () => [(await import('./top/command.js')).topCommand()] },
  { names: ['tap'], load: async () => [(await import('./tap/command.js')).tapCommand()] },
  { names: ['explain'], load: async () => [(await import('./explain/command.js')).explainCommand()] },
  { names: ['changes'], load: async () => [(await import('./changes/command.js')).changesCommand()] },
  {
    names: ['dashboard'],
    load: async () => [(await import('./dashboard/command.js')).dashboardCommand()],
  },
  { names: ['dump'], load: async () => [(await import('./dump.js')).dumpCommand()] },
  { names: ['bug-report'], load: async () => [(await import('./bug-report/command.js')).bugReportCommand()] },
  { names: ['policy'], load: async () => [(await import('./policy/command.js')).policyCommand()] },
  { names: ['demo'], load: async () => [(await import('./demo/command.js')).demoCommand()] },
];

/** The command of this name; all of them, for help and errors, if none has it. */
export async function loadCommands(name: string | undefined): Promise<readonly Command[]> {
  if (name === '--version' || name === '-V') return [];
  const entry = entries.find(({ names }) => name !== undefined && names.includes(name));
  if (entry) return entry.load();
  return (await Promise.all(entries.map(({ load }) => load()))).flat();
}
