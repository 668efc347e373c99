/** Packets and descriptors to and from a carrier. */
import { closeFd } from '../../native/index.js';

export { connectChannel, packetBytesMax, type Channel } from '../../native/index.js';

export function closeDescriptors(fds: readonly number[]): void {
  for (const fd of fds) closeFd(fd);
}
