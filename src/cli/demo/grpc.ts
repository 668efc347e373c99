/**
 * A gRPC client: unary calls of a method, and one bidirectional stream that waits for the response to each message before it
 * sends the next one.
 *
 *   node grpc.js HOST:PORT [CALLS]
 */
import { Client, credentials, type Metadata } from '@grpc/grpc-js';

const [target = '', calls = '1'] = process.argv.slice(2);
const client = new Client(target, credentials.createInsecure());
const bytes = (text: string): Buffer => Buffer.from(text);
const text = (buffer: Buffer): string => buffer.toString();
const trailerOf = (trailer: Metadata, name: string): string => String(trailer.get(name)[0] ?? '');

const call = (): Promise<{ answer?: string | undefined; code: number; by: string }> =>
  new Promise((resolve) => {
    let by = '';
    const one = client.makeUnaryRequest('/demo.Echo/Say', bytes, text, 'hello', (error, answer) =>
      // The trailers arrive with the status, after the response message.
      setImmediate(() => resolve({ answer, code: error?.code ?? 0, by })),
    );
    one.on('status', (status) => (by = trailerOf(status.metadata, 'served-by')));
  });
const stream = new Promise<object>((resolve) => {
  const answers: string[] = [];
  const call = client.makeBidiStreamRequest('/demo.Echo/Chat', bytes, text);
  const next = (): void => void (answers.length < 3 ? call.write(`message ${answers.length}`) : call.end());
  call.on('data', (answer: string) => {
    answers.push(answer);
    next();
  });
  call.on('error', () => undefined);
  call.on('status', ({ code, metadata }) =>
    resolve({ answers, code, by: trailerOf(metadata, 'served-by'), seen: trailerOf(metadata, 'seen-x-set') }),
  );
  next();
});
const counts: Record<string, number> = {};
let unary = await call();
for (let i = 1; i < Number(calls); i++) {
  counts[unary.by] = (counts[unary.by] ?? 0) + 1;
  unary = await call();
}
counts[unary.by] = (counts[unary.by] ?? 0) + 1;
process.stdout.write(`${JSON.stringify({ unary, counts, stream: await stream })}\n`);
client.close();
