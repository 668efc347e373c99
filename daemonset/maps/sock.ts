/** weft_sock: what the kernel remembers of a socket. The agent writes that a socket is its own, and reads what was dialed. */
import type { SocketAddress } from '../../src/model/address.js';
import type { PinnedMaps } from './pinned.js';
import { encodeU32 } from './row.js';
import { SockRow, sockKinds } from './rows.generated.js';

export interface Dialed {
  readonly dialled: SocketAddress;
  /** The endpoint that connect() picked from the dialed service's. */
  readonly picked: SocketAddress | undefined;
}

export class SocketStorage {
  constructor(private readonly maps: PinnedMaps) {}

  /** Marks a socket as the agent's, before it connects; `client` is whom it speaks for. */
  markOwn(fd: number, client: SocketAddress | undefined): void {
    const row = SockRow.encode({
      ip: client?.ip,
      port: client?.port ?? 0,
      kind: sockKinds.own,
      chosen: undefined,
      chosenPort: 0,
      live: 0n,
      flags: 0,
    });
    this.maps.get('weft_sock').update(encodeU32(fd), row);
  }

  /** Of a captured connection's accepted socket: what the application dialed. Undefined where the kernel has no record of that. */
  dialedBy(fd: number): Dialed | undefined {
    const bytes = this.maps.get('weft_sock').lookup(encodeU32(fd));
    if (!bytes) return undefined;
    const row = new SockRow(bytes);
    if (row.kind !== sockKinds.dialed) return undefined;
    const { chosenPort } = row;
    return {
      dialled: { ip: row.ip, port: row.port },
      picked: chosenPort === 0 ? undefined : { ip: row.chosen, port: chosenPort },
    };
  }
}
