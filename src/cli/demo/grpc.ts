/**
 * A gRPC client: one call of a method, and one that streams in both directions, whose every message is awaited before the next
 * is sent.
 *
 *   node grpc.js HOST:PORT
 */
import { Client, credentials, type Metadata } from '@grpc/grpc-js';

const [target = ''] = process.argv.slice(2);
const client = new Client(target, credentials.createInsecure());
const bytes = (text: string): Buffer => Buffer.from(text);
const text = (buffer: Buffer): string => buffer.toString();
const servedBy = (trailer: Metadata): string => String(trailer.get('served-by')[0] ?? '');

const unary = new Promise<object>((resolve) => {
  let by = '';
  const call = client.makeUnaryRequest('/demo.Echo/Say', bytes, text, 'hello', (error, answer) =>
    // The trailer comes with the status, which is told after the answer.
    setImmediate(() => resolve({ answer, code: error?.code ?? 0, by })),
  );
  call.on('status', (status) => (by = servedBy(status.metadata)));
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
  call.on('status', ({ code, metadata }) => resolve({ answers, code, by: servedBy(metadata) }));
  next();
});
process.stdout.write(`${JSON.stringify({ unary: await unary, stream: await stream })}\n`);
client.close();
