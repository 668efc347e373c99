/**
 * An application that sends a request every few milliseconds over persistent connections, until its input ends. It prints a dot
 * per response, and at the end one JSON line with the number of responses and the errors of the other requests.
 *
 *   node load.js URL EVERY-MS CONNECTIONS-MAX [HEADERS-AS-JSON]
 */
import http from 'node:http';

const [url = '', every = '10', connectionsMax = '8', headers = '{}'] = process.argv.slice(2);
const options = { headers: JSON.parse(headers) as Record<string, string>, timeout: 10_000 };
const agent = new http.Agent({ keepAlive: true, maxSockets: Number(connectionsMax) });
let answered = 0;
let waiting = 0;
let over = false;
const failures: Record<string, number> = {};
const by: Record<string, number> = {};
const fail = (what: string): void => void (failures[what] = (failures[what] ?? 0) + 1);

function finish(): void {
  if (!over || waiting > 0) return;
  process.stdout.write(`\n${JSON.stringify({ answered, failures, by })}\n`);
  agent.destroy();
}

function ask(): void {
  waiting++;
  let done = false;
  const end = (): void => {
    if (done) return;
    done = true;
    waiting--;
    finish();
  };
  const request = http.get(url, { agent, ...options }, (response) => {
    response.resume();
    response.once('end', () => {
      if (response.statusCode === 200) {
        answered++;
        process.stdout.write('.');
        const pod = String(response.headers['x-served-by']);
        by[pod] = (by[pod] ?? 0) + 1;
      } else fail(String(response.statusCode));
      end();
    });
    response.once('error', (error) => {
      fail(error.message);
      end();
    });
  });
  request.once('timeout', () => request.destroy(new Error('timeout')));
  request.once('error', (error: NodeJS.ErrnoException) => {
    if (!done) fail(error.code ?? error.message);
    end();
  });
}

const timer = setInterval(ask, Number(every));
process.stdin.on('end', () => {
  clearInterval(timer);
  over = true;
  finish();
});
process.stdin.resume();
