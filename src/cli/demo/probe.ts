/**
 * An application that does not know of the mesh. It prints the events of its connections, one JSON line per event.
 * `probe connect IP PORT` sends its stdin. `probe listen PORT` echoes.
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
  // exit() would lose output that is still buffered for a pipe.
  socket.on('close', () => process.stdin.destroy());
}
