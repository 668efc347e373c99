/**
 * The program that the Gateway API's conformance suite runs in its mesh pods, with the interface that the suite expects: servers that respond
 * with the request that they have received, and a client, run by exec in a pod, that prints the responses.
 *
 *   echo.js server [--port 8080]... [--tls 8443 --crt FILE --key FILE] [--grpc 7070]... [--tcp 9090]...
 *   echo.js client URL [--method GET] [-H NAME:VALUE]... [--count N]      URL: http://..., https://... or grpc://...
 */
import { existsSync, readFileSync, realpathSync } from 'node:fs';
import * as http from 'node:http';
import * as https from 'node:https';
import * as net from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { hostname } from 'node:os';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import type { sendUnaryData, ServerUnaryCall } from '@grpc/grpc-js';

export interface Ports {
  readonly http: readonly number[];
  readonly tls: readonly number[];
  readonly grpc: readonly number[];
  readonly tcp: readonly number[];
  readonly pair?: { readonly cert: Buffer; readonly key: Buffer };
}

interface Asked {
  readonly host: string;
  readonly url: string;
  readonly method: string;
  readonly proto: string;
  readonly headers: readonly (readonly [string, string])[];
}

const withoutMapping = (address: string | undefined): string => (address ?? '').replace(/^::ffff:/, '');

function answer(asked: Asked, port: number | undefined, ip: string): string {
  const fields: [string, string | number | undefined][] = [
    ['ServiceVersion', process.env['SERVICE_VERSION'] ?? ''],
    ['ServicePort', port],
    ['Host', asked.host],
    ['URL', asked.url],
    ['Method', asked.method],
    ['Proto', asked.proto],
    ['IP', ip],
    ...asked.headers.map(([name, value]): [string, string] => ['RequestHeader', `${name}:${value}`]),
    ['Hostname', hostname()],
  ];
  return fields.map(([name, value]) => `${name}=${value}\n`).join('');
}

function pairs(raw: readonly string[]): [string, string][] {
  const found: [string, string][] = [];
  for (let i = 0; i + 1 < raw.length; i += 2) found.push([raw[i] ?? '', raw[i + 1] ?? '']);
  return found;
}

function onRequest(request: http.IncomingMessage, response: http.ServerResponse): void {
  request.resume();
  const asked: Asked = {
    host: request.headers.host ?? '',
    url: request.url ?? '',
    method: request.method ?? '',
    proto: `HTTP/${request.httpVersion}`,
    headers: pairs(request.rawHeaders).filter(([name]) => name.toLowerCase() !== 'host'),
  };
  response.setHeader('content-type', 'text/plain');
  response.end(answer(asked, request.socket.localPort, withoutMapping(request.socket.remoteAddress)));
}

/** A TCP server that responds to the first data with its lines, and echoes all later data. */
function onConnection(socket: Socket): void {
  socket.on('error', () => socket.destroy());
  socket.once('data', (first) => {
    const asked: Asked = { host: '', url: '', method: '', proto: 'TCP', headers: [] };
    socket.write(answer(asked, socket.localPort, withoutMapping(socket.remoteAddress)));
    socket.write(first);
    socket.pipe(socket);
  });
}

async function listen(server: net.Server, port: number): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '::', resolve);
  });
  return (server.address() as AddressInfo).port;
}

/** Request and response: a message with one string, field 1. */
interface Message {
  readonly text: string;
}

/** gRPC is loaded only if it is needed: the suite starts an HTTP client a thousand times. */
async function grpcParts() {
  const [grpc, { BinaryReader, BinaryWriter, WireType }] = await Promise.all([
    import('@grpc/grpc-js'),
    import('@bufbuild/protobuf/wire'),
  ]);
  const encode = ({ text }: Message): Buffer => {
    const writer = new BinaryWriter();
    if (text !== '') writer.tag(1, WireType.LengthDelimited).string(text);
    return Buffer.from(writer.finish());
  };
  const decode = (bytes: Buffer): Message => {
    const reader = new BinaryReader(bytes);
    let text = '';
    while (reader.pos < reader.len) {
      const [field, type] = reader.tag();
      if (field === 1) text = reader.string();
      else reader.skip(type);
    }
    return { text };
  };
  const path = '/proto.EchoTestService/Echo';
  return { grpc, encode, decode, path };
}

async function serveGrpc(port: number): Promise<{ port: number; stop: () => void }> {
  const { grpc, encode, decode, path } = await grpcParts();
  const server = new grpc.Server();
  const definition = {
    echo: {
      path,
      requestStream: false,
      responseStream: false,
      requestSerialize: encode,
      requestDeserialize: decode,
      responseSerialize: encode,
      responseDeserialize: decode,
    },
  };
  let bound = port;
  server.addService(definition, {
    echo: (call: ServerUnaryCall<Message, Message>, done: sendUnaryData<Message>) => {
      const asked: Asked = {
        host: call.getHost(),
        url: path,
        method: 'POST',
        proto: 'GRPC',
        headers: Object.entries(call.metadata.getMap()).flatMap(([name, joined]) =>
          // Node's HTTP/2 joins repeated fields in this way; the suite counts each field.
          String(joined)
            .split(', ')
            .map((value): [string, string] => [name, value]),
        ),
      };
      // The last colon separates the address from the port.
      const ip = call
        .getPeer()
        .replace(/:\d+$/, '')
        .replace(/^\[(.*)\]$/, '$1');
      const echo = call.request.text === '' ? '' : `Echo=${call.request.text}\n`;
      done(null, { text: `StatusCode=200\n${answer(asked, bound, withoutMapping(ip))}${echo}` });
    },
  });
  bound = await new Promise<number>((resolve, reject) =>
    server.bindAsync(`[::]:${port}`, grpc.ServerCredentials.createInsecure(), (error, actual) =>
      error === null ? resolve(actual) : reject(error),
    ),
  );
  return { port: bound, stop: () => server.forceShutdown() };
}

/** The ports that the server listens on, in the order of the options. */
export async function serve(ports: Ports): Promise<Ports & { readonly stop: () => void }> {
  const stops: (() => void)[] = [];
  const open = async <S extends net.Server>(server: S, port: number, end: () => void): Promise<number> => {
    stops.push(end);
    return listen(server, port);
  };
  const plain = ports.http.map((port) => {
    const server = http.createServer(onRequest);
    return open(server, port, () => (server.close(), server.closeAllConnections()));
  });
  const { pair } = ports;
  const encrypted = (pair === undefined ? [] : ports.tls).map((port) => {
    const server = https.createServer({ ...pair }, onRequest);
    return open(server, port, () => (server.close(), server.closeAllConnections()));
  });
  const bytes = ports.tcp.map((port) => {
    const server = net.createServer(onConnection);
    return open(server, port, () => server.close());
  });
  const grpc = await Promise.all(ports.grpc.map(serveGrpc));
  stops.push(...grpc.map(({ stop }) => stop));
  return {
    http: await Promise.all(plain),
    tls: await Promise.all(encrypted),
    tcp: await Promise.all(bytes),
    grpc: grpc.map(({ port }) => port),
    stop: () => stops.forEach((stop) => stop()),
  };
}

export interface Wanted {
  readonly url: string;
  readonly method: string;
  readonly headers: readonly (readonly [string, string])[];
  readonly count: number;
}

const patience = 10_000;

const bodyLines = (index: number, body: string): string[] =>
  body
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => `[${index} body] ${line}`);

function httpCaller(wanted: Wanted): { call: (index: number) => Promise<string[]>; end: () => void } {
  const url = new URL(wanted.url);
  const protocol = url.protocol === 'https:' ? https : http;
  const agent = new protocol.Agent({ keepAlive: true });
  const headers: Record<string, string | string[]> = {};
  for (const [name, value] of wanted.headers) {
    const former = headers[name];
    headers[name] = former === undefined ? value : [former, value].flat();
  }
  const options: https.RequestOptions = {
    agent,
    method: wanted.method,
    headers,
    timeout: patience,
    rejectUnauthorized: false,
  };
  const call = (index: number): Promise<string[]> =>
    new Promise((resolve, reject) => {
      const request = protocol.request(url, options, (response) => {
        let body = '';
        response.setEncoding('utf8');
        response.on('data', (piece: string) => (body += piece));
        response.on('error', reject);
        response.on('end', () =>
          resolve([
            `[${index}] Url=${wanted.url}`,
            `[${index}] StatusCode=${response.statusCode}`,
            ...pairs(response.rawHeaders).map(
              ([name, value]) => `[${index}] ResponseHeader=${name}:${value}`,
            ),
            ...bodyLines(index, body),
          ]),
        );
      });
      request.on('timeout', () => request.destroy(new Error(`no answer within ${patience} ms`)));
      request.on('error', reject);
      request.end();
    });
  return { call, end: () => agent.destroy() };
}

async function grpcCaller(
  wanted: Wanted,
): Promise<{ call: (index: number) => Promise<string[]>; end: () => void }> {
  const { grpc, encode, decode, path } = await grpcParts();
  const metadata = new grpc.Metadata();
  for (const [name, value] of wanted.headers) metadata.add(name, value);
  const authority = new URL(wanted.url).host;
  const client = new grpc.Client(authority, grpc.credentials.createInsecure());
  const call = (index: number): Promise<string[]> =>
    new Promise((resolve, reject) =>
      client.makeUnaryRequest(
        path,
        encode,
        decode,
        { text: '' },
        metadata,
        { deadline: Date.now() + patience },
        (error, message) =>
          error === null
            ? resolve([`[${index}] Url=${wanted.url}`, ...bodyLines(index, message?.text ?? '')])
            : reject(error),
      ),
    );
  return { call, end: () => client.close() };
}

/** The output of the client: the lines of each response and an empty line, by which the suite separates responses. */
export async function ask(wanted: Wanted): Promise<{ text: string; errors: string[] }> {
  const grpc = wanted.url.startsWith('grpc://');
  const { call, end } = grpc ? await grpcCaller(wanted) : httpCaller(wanted);
  const answers: string[] = [];
  const errors: string[] = [];
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < wanted.count) {
      const index = next++;
      await call(index).then(
        (lines) => answers.push(`${lines.join('\n')}\n\n`),
        (error: Error) => errors.push(`[${index}] Error: ${error.message}`),
      );
    }
  };
  try {
    await Promise.all(Array.from({ length: Math.min(8, wanted.count) }, lane));
  } finally {
    end();
  }
  return { text: answers.join(''), errors };
}

const numbers = (values: readonly string[] | undefined): number[] => (values ?? []).map(Number);

export function clientArguments(args: readonly string[]): Wanted {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      method: { type: 'string', default: 'GET' },
      header: { type: 'string', short: 'H', multiple: true, default: [] },
      count: { type: 'string', default: '1' },
    },
  });
  const [url] = positionals;
  if (url === undefined || positionals.length !== 1) throw new Error('client: give exactly one URL');
  const headers = values.header.map((header): [string, string] => {
    const colon = header.indexOf(':');
    if (colon < 1) throw new Error(`client: ${header} is not NAME:VALUE`);
    return [header.slice(0, colon), header.slice(colon + 1).trim()];
  });
  return { url, method: values.method, headers, count: Number(values.count) };
}

export function serverArguments(args: readonly string[]): Ports {
  const port = { type: 'string', multiple: true } as const;
  const { values } = parseArgs({
    args: [...args],
    options: {
      port,
      tls: port,
      grpc: port,
      tcp: port,
      crt: { type: 'string' },
      key: { type: 'string' },
    },
  });
  const tls = numbers(values.tls);
  const { crt, key } = values;
  // `--port` names all HTTP ports, and `--tls` those of them that use TLS.
  const plain = (values.port === undefined ? [8080] : numbers(values.port)).filter(
    (one) => !tls.includes(one),
  );
  const pair =
    crt !== undefined && key !== undefined && existsSync(crt) && existsSync(key)
      ? { cert: readFileSync(crt), key: readFileSync(key) }
      : undefined;
  if (tls.length > 0 && pair === undefined) throw new Error('server: --tls requires --crt and --key');
  return {
    http: plain,
    tls,
    grpc: numbers(values.grpc),
    tcp: numbers(values.tcp),
    ...(pair === undefined ? {} : { pair }),
  };
}

async function main([role, ...args]: readonly string[]): Promise<void> {
  if (role === 'server') {
    const { stop } = await serve(serverArguments(args));
    process.once('SIGTERM', () => (stop(), process.exit(0)));
  } else if (role === 'client') {
    const { text, errors } = await ask(clientArguments(args));
    process.stdout.write(text);
    for (const error of errors) console.error(error);
    if (errors.length > 0) process.exitCode = 1;
  } else {
    throw new Error('give server or client as the first argument');
  }
}

const started = process.argv[1];
if (started !== undefined && import.meta.url === pathToFileURL(realpathSync(started)).href)
  main(process.argv.slice(2)).catch((error: unknown) => {
    console.error(error instanceof Error ? error.message : error);
    process.exit(1);
  });
