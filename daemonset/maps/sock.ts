/** weft_sock: the programs' state of a socket. The agent marks its own sockets, and reads dialed addresses. */
import type { SocketAddress } from '../../src/model/address.js';
import type { PinnedMaps } from './pinned.js';
import { encodeU32 } from './row.js';
import { SockRow, sockKinds, structs } from './rows.generated.js';

export interface Dialed {
  readonly dialed: SocketAddress;
  /** The endpoint of the dialed Service that connect() picked. */
  readonly picked: SocketAddress | undefined;
}

export class SocketStorage {
  constructor(private readonly maps: PinnedMaps) {}

  /** The map itself, for a process that marks its own sockets. */
  get fd(): number {
    return this.maps.get('weft_sock').fd;
  }

  /** For a process of another build: size and offsets, bytes, and values of `kind`. */
  static readonly layout = {
    rowBytes: structs.weft_sock[0],
    kind: structs.weft_sock[1].kind[0],
    ip: structs.weft_sock[1].ip[0],
    port: structs.weft_sock[1].port[0],
    chosen: structs.weft_sock[1].chosen[0],
    chosenPort: structs.weft_sock[1].chosen_port[0],
    dialed: sockKinds.dialed,
    own: sockKinds.own,
  };

  /** Marks a socket as the agent's, before it connects. `client`: the client on whose behalf it connects. Error: NativeError. */
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

  /** The address that the application dialed, for an accepted socket of a captured connection; undefined if the kernel has no record. */
  dialedBy(fd: number): Dialed | undefined {
    const bytes = this.maps.get('weft_sock').lookup(encodeU32(fd));
    if (!bytes) return undefined;
    const row = new SockRow(bytes);
    if (row.kind !== sockKinds.dialed) return undefined;
    const { chosenPort } = row;
    return {
      dialed: { ip: row.ip, port: row.port },
      picked: chosenPort === 0 ? undefined : { ip: row.chosen, port: chosenPort },
    };
  }
}
