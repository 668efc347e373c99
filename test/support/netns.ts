/** Network namespaces for the duration of a test. */
import { sh } from '../../src/cli/run.js';

export interface Pair {
  /** Names below /run/netns. */
  readonly a: string;
  readonly b: string;
  readonly a4: string;
  readonly b4: string;
  readonly a6: string;
  readonly b6: string;
}

export class Namespaces {
  readonly #made: string[] = [];
  #last = 0;

  /** Creates a namespace with loopback up. Its name begins with weft-t- and this process's pid. */
  make(): string {
    const name = `weft-t-${process.pid}-${++this.#last}`;
    sh('ip', ['netns', 'add', name]);
    this.#made.push(name);
    sh('ip', ['-n', name, 'link', 'set', 'lo', 'up']);
    return name;
  }

  /** Creates two namespaces joined by a veth pair, each end named `eth0`, with IPv4 and IPv6 addresses. */
  pair(): Pair {
    const pair: Pair = {
      a: this.make(),
      b: this.make(),
      a4: '192.0.2.1',
      b4: '192.0.2.2',
      a6: '2001:db8::1',
      b6: '2001:db8::2',
    };
    sh('ip', ['-n', pair.a, 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', pair.b]);
    for (const [netns, v4, v6] of [
      [pair.a, pair.a4, pair.a6],
      [pair.b, pair.b4, pair.b6],
    ] as const) {
      sh(
        'ip',
        ['-n', netns, '-batch', '-'],
        `addr add ${v4}/24 dev eth0\naddr add ${v6}/64 dev eth0 nodad\nlink set eth0 up\n`,
      );
    }
    return pair;
  }

  /** For after(): removes all created namespaces with their links. Programs in them must have ended. */
  remove(): void {
    for (const name of this.#made.splice(0).reverse()) sh('ip', ['netns', 'del', name]);
  }
}
