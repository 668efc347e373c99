/**
 * A decision service of the demo: Envoy's API envoy.service.auth.v3 on PORT, and plain HTTP on the next port.
 *
 *   node decide.js PORT
 *
 * A request needs the header x-user. eve is denied, and so is a body with the word `virus`. A path with /hang gets no decision. The endpoint
 * learns the user from x-checked-user, and the number of the decision from x-decision.
 */
import http from 'node:http';
import { Server, ServerCredentials, type sendUnaryData, type ServerUnaryCall } from '@grpc/grpc-js';
import { AuthorizationService, CheckResponse, type CheckRequest } from '../../discovery/gen/ext_authz.js';

const port = Number(process.argv[2] ?? '9191');
let decisions = 0;

interface Verdict {
  readonly status: number;
  readonly body: string;
  readonly headers: readonly (readonly [string, string])[];
}

/** Undefined: there is no decision. */
function decide(path: string, user: string | undefined, body: string): Verdict | undefined {
  if (path.includes('/hang')) return undefined;
  const number: readonly [string, string] = ['x-decision', String(++decisions)];
  if (user === undefined)
    return { status: 401, body: 'who are you?\n', headers: [['www-authenticate', 'Demo'], number] };
  if (user === 'eve' || body.includes('virus')) return { status: 403, body: 'no\n', headers: [number] };
  return { status: 200, body: '', headers: [['x-checked-user', user], number] };
}

function check(
  { request }: ServerUnaryCall<CheckRequest, CheckResponse>,
  respond: sendUnaryData<CheckResponse>,
): void {
  const asked = request.attributes?.request?.http;
  const found = decide(asked?.path ?? '', asked?.headers['x-user'], asked?.body ?? '');
  if (!found) return;
  const headers = found.headers.map(([key, value]) => ({ header: { key, value } }));
  respond(
    null,
    CheckResponse.fromPartial(
      found.status === 200
        ? { status: { code: 0 }, httpResponse: { $case: 'okResponse', value: { headers } } }
        : {
            status: { code: 7 },
            httpResponse: {
              $case: 'deniedResponse',
              value: { status: { code: found.status }, headers, body: found.body },
            },
          },
    ),
  );
}

const server = new Server();
server.addService(AuthorizationService, { check });
server.bindAsync(`0.0.0.0:${port}`, ServerCredentials.createInsecure(), (error) => {
  if (error) throw error;
});

http
  .createServer((request, response) => {
    const { 'x-user': user } = request.headers;
    const parts: Buffer[] = [];
    request.on('data', (bytes: Buffer) => parts.push(bytes));
    request.on('end', () => {
      const one = Array.isArray(user) ? user[0] : user;
      const found = decide(request.url ?? '', one, Buffer.concat(parts).toString());
      if (!found) return;
      response.writeHead(found.status, Object.fromEntries(found.headers));
      response.end(found.body);
    });
  })
  .listen(port + 1);
