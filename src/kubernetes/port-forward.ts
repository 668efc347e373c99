/** HTTP to a port of a pod through the API server's port forwarding: the port need not be reachable on the network. */
import { PassThrough, Writable } from 'node:stream';
import type { KubeConfig } from '@kubernetes/client-node';
import { errorText } from '../base/errors.js';

const responseTimeoutMsMax = 10_000;
const responseBytesMax = 64 << 20;

interface PodPort {
  readonly namespace: string;
  readonly pod: string;
  /** Port on the pod's localhost. */
  readonly port: number;
}

/** The body of a response to GET. Rejects with an Error if there is no response or its status is not 200. */
export async function getThroughPortForward(
  config: KubeConfig,
  { namespace, pod, port }: PodPort,
  path: string,
): Promise<string> {
  const { PortForward } = await import('./kube-port-forward.js');
  return new Promise((resolve, reject) => {
    const input = new PassThrough();
    const parts: Buffer[] = [];
    let size = 0;
    let socket: { close(): void } | undefined;
    const end = (error?: Error): void => {
      clearTimeout(late);
      socket?.close();
      if (error) return reject(error);
      const text = Buffer.concat(parts).toString('utf8');
      const at = text.indexOf('\r\n\r\n');
      if (at < 0 || !/^HTTP\/1\.[01] 200 /.test(text))
        reject(new Error(text.split('\r\n')[0] || 'no response'));
      else resolve(text.slice(at + 4));
    };
    const late = setTimeout(
      () => end(new Error(`no response in ${responseTimeoutMsMax} ms`)),
      responseTimeoutMsMax,
    );
    const output = new Writable({
      write: (part: Buffer, _encoding, done) => {
        size += part.length;
        if (size > responseBytesMax) end(new Error(`the response has more than ${responseBytesMax} bytes`));
        else parts.push(part);
        done();
      },
      final: (done) => {
        end();
        done();
      },
    });
    // With HTTP/1.0 the response is not chunked and ends with the connection.
    input.write(`GET ${path} HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n`);
    new PortForward(config, true)
      .portForward(namespace, pod, [port], output, null, input)
      .then((made) => {
        socket = made as { close(): void };
        (made as { on?: (event: string, on: () => void) => void }).on?.('close', () => end());
      })
      .catch((error: unknown) => end(new Error(errorText(error))));
  });
}
