/** What the agent does for the carrier in pods' network namespaces and in the kernel's maps: the listeners, and the refusal of retries. */
import type { SocketAddress } from '../../src/model/address.js';
import { closeFd, openNetns, resetOnClose } from '../../native/index.js';
import type { ListenerKind } from '../maps/listeners.js';
import { NodeMaps } from '../maps/node-maps.js';
import { SocketStorage } from '../maps/sock.js';
import { listenAll, neverWait, type PodNetns } from './sockets.js';

export const listenerKinds: readonly ListenerKind[] = ['outbound', 'inbound', 'hbone'];

/** Descriptors for the carrier. The caller closes them once they are sent. */
export interface PodDescriptors {
  readonly netns: number;
  /** In the order of `listenerKinds`. */
  readonly listeners: readonly number[];
}

export class CarrierSockets {
  /** Of the rows of weft_sock. */
  static readonly sockLayout = SocketStorage.layout;
  readonly #maps: NodeMaps;

  /** `pinDir`: where the maps are pinned. Error: NativeError, a map used here is missing. */
  constructor(readonly pinDir: string) {
    this.#maps = new NodeMaps(pinDir);
    for (const name of ['weft_sock', 'weft_listeners', 'weft_negative'] as const) this.#maps.get(name);
  }

  /** The map weft_sock, whose descriptor stays this object's. */
  get sockMap(): number {
    return this.#maps.sock.fd;
  }

  /**
   * Listens in the pod's network namespace and enters the listeners in weft_listeners: connections wait from then on. A process that dies
   * resets its applications' connections instead of ending them, because a truncated stream must not look complete: the accepted sockets
   * inherit that. Error: WEFT_LISTEN.
   */
  listen(netns: PodNetns): PodDescriptors {
    const listeners = listenAll(netns, listenerKinds);
    let own: number | undefined;
    try {
      own = openNetns(netns.path);
      for (const [i, kind] of listenerKinds.entries()) {
        const fd = listeners[i]!;
        if (kind === 'hbone') neverWait(fd);
        else resetOnClose(fd, true);
      }
      for (const [i, kind] of listenerKinds.entries())
        this.#maps.listeners.put(netns.cookie, kind, listeners[i]!);
      return { netns: own, listeners };
    } catch (error) {
      CarrierSockets.close({ netns: own, listeners });
      throw error;
    }
  }

  static close({ netns, listeners }: { netns: number | undefined; listeners: readonly number[] }): void {
    for (const fd of [...(netns === undefined ? [] : [netns]), ...listeners]) closeFd(fd);
  }

  /** Whether weft_listeners has all listeners of the pod. */
  hasListeners({ cookie }: PodNetns): boolean {
    return listenerKinds.every((kind) => this.#maps.listeners.has(cookie, kind));
  }

  /** Makes the kernel refuse connect() to this destination for a short time. */
  rememberFailure(netns: PodNetns, to: SocketAddress): void {
    this.#maps.negative.remember(netns.cookie, to);
  }

  close(): void {
    this.#maps.close();
  }
}
