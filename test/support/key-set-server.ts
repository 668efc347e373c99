/** A token issuer's key set over HTTP: the content of a file. Usage: FILE HOST PORT. One line of output for each request. */
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';

const [file = '', host, port] = process.argv.slice(2);
createServer((request, response) => {
  process.stdout.write(`requested ${request.url ?? ''}\n`);
  response.setHeader('content-type', 'application/jwk-set+json');
  response.end(readFileSync(file));
}).listen(Number(port), host, () => process.stdout.write('ready\n'));
