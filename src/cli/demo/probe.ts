/**
 * An application that knows nothing of the mesh and says what it sees of its own connections, one JSON line per event.
 * `probe connect IP PORT`: what comes on stdin is sent. `probe listen PORT`: echoes.
 */
import net from 'node:net';

const say = (event: object): void => void process.stdout.write(`${JSON.stringify(event)}\n`);
const [, , verb, ...rest] = process.argv;

if (verb === 'listen') {
  net
    .createServer((socket) => {
      say({
        event: 'accepted',
        peer: `${socket.remoteAddress}|${socket.remotePort}`,
        local: `${socket.localAddress}|${socket.localPort}`,
      });
      socket.on('error', () => undefined).pipe(socket);
    })
    .listen(Number(rest[0]), '::', () => say({ event: 'listening' }));
} else {
  const socket = net.connect(Number(rest[1]), rest[0]);
  socket.on('connect', () => {
    say({
      event: 'connected',
      peer: `${socket.remoteAddress}|${socket.remotePort}`,
      local: `${socket.localAddress}|${socket.localPort}`,
    });
    process.stdin.on('data', (bytes) => socket.write(bytes));
  });
  socket.on('data', (bytes) => say({ event: 'data', text: bytes.toString() }));
  socket.on('end', () => say({ event: 'end' }));
  socket.on('error', (error: NodeJS.ErrnoException) => say({ event: 'error', code: error.code }));
  // No exit(): what is said on a pipe would be lost with it.
  socket.on('close', () => process.stdin.destroy());
}
