/**
 * Program for succession.test.ts: `succession.child.js DIR NAME [CERTIFICATE | die=STEP | former-build | unheard]...`. The active agent
 * also holds a lock of the test's own, which detects two active agents.
 */
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { sleep } from '../../src/base/wait.js';
import { Lock } from '../datapath/lock.js';
import { Succession } from './succession.js';

const [dir = '', name = '', ...flags] = process.argv.slice(2);
const say = (what: string): void => void process.stdout.write(`${what}\n`);
const die = flags.find((flag) => flag.startsWith('die='))?.slice(4);
const certificates = flags.filter((flag) => flag.startsWith('spiffe:'));
let formerBuild = flags.includes('former-build');
const names = ['a', 'b', 'c'];

const activeLock = new Lock(join(dir, 'active-lock'));
let times = 0;
const succession = new Succession({
  dir: join(dir, 'handover'),
  marker: join(dir, `${name}-marker`),
  formerBuild: () => Promise.resolve(formerBuild ? 'present' : 'absent'),
  certificates: () => certificates,
  isHeard: () => !flags.includes('unheard'),
  activate: async (inherited) => {
    if (!activeLock.tryTake()) {
      say('TWO ACTIVE');
      process.exit(3);
    }
    if (inherited && die === 'in-activate') process.kill(process.pid, 'SIGKILL');
    if (inherited && die === 'stops') {
      say('stops');
      await sleep(600_000);
    }
    const [from] = [...(inherited?.preexisting.keys() ?? [])];
    const after = from === undefined ? 'alone' : `after ${names[Number(from)]}`;
    say(`active ${after}${times++ > 0 ? ' again' : ''}`);
  },
  deactivate: () => {
    say('deactivates');
    if (die === 'in-deactivate') process.kill(process.pid, 'SIGKILL');
    activeLock.release();
    return Promise.resolve({ preexisting: new Map([[BigInt(names.indexOf(name)), new Set([1n])]]) });
  },
  onHandedOver: () => say('is former'),
  onFatal: (error) => {
    say(`fatal ${String(error)}`);
    process.exit(1);
  },
  ...(flags.includes('impatient') ? { silentMsMax: 2_500 } : {}),
  onLimit: (limit) => say(`limit ${limit}`),
  log: {
    info: (fields, text) => {
      if (text === 'this agent takes the node over' && die === 'after-yours')
        process.kill(process.pid, 'SIGKILL');
      const { why } = fields as { readonly why?: string };
      if (why !== undefined) say(`refused: ${why}`);
    },
    warn: (_fields, text) => {
      if (text.includes('without hand-over')) say('waits for a former build');
    },
    error: () => undefined,
  },
});
createInterface({ input: process.stdin }).on('line', (line) => {
  const [word, argument = ''] = line.split(' ');
  if (word === 'end') succession.ending();
  if (word === 'certificate') certificates.push(argument);
  if (word === 'former-build-ended') formerBuild = false;
});
say('starts');
await succession.start();
