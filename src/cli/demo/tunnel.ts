/**
 * A peer with a certificate of the mesh that opens its own tunnel to a node or a waypoint. Prints the response as one JSON line.
 *
 *   node tunnel.js SVID.json EXPECTED IP AUTHORITY [CLAIMED-IDENTITY]
 */
import { readFileSync } from 'node:fs';
import net from 'node:net';
import { errorText, WeftError } from '../../base/errors.js';
import { sourceIdentityHeader } from '../../hbone/headers.js';
import { TunnelPool } from '../../hbone/pool.js';
import { parseIp } from '../../model/address.js';
import type { SpiffeId } from '../../model/identity.js';
import type { Svid } from '../../tls/svid.js';

const [file = '', expected = '', ip = '', authority = '', claimed] = process.argv.slice(2);
const say = (event: object): void => void process.stdout.write(`${JSON.stringify(event)}\n`);
const pool = new TunnelPool();
pool
  .open({
    svid: JSON.parse(readFileSync(file, 'utf8')) as Svid,
    expected: [expected as SpiffeId],
    destination: { ip: parseIp(ip), port: 15008 },
    authority,
    source: 'own',
    headers: claimed === undefined ? {} : { [sourceIdentityHeader]: claimed },
    connect: () =>
      new Promise((resolve, reject) => {
        const socket = net.connect(15008, ip, () => resolve(socket)).once('error', reject);
      }),
  })
  .then(({ stream }) => {
    stream.write('PING\r\n');
    stream.once('data', (bytes: Buffer) => {
      say({ opened: true, answer: bytes.toString('latin1').slice(0, 200) });
      pool.close();
    });
    stream.once('error', () => undefined);
    stream.once('close', () => pool.close());
  })
  .catch((error: unknown) => {
    say({ opened: false, code: error instanceof WeftError ? error.code : '', why: errorText(error) });
    pool.close();
  });
