/** The response of `/api/explain`: what `weft explain --json` prints, by the program itself, which compiles the mesh beside this one. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { isOfCluster, stateOf, type PlaceFlags } from '../place.js';
import { distRoot } from '../run.js';
import { errorResponse, type ApiResponse } from './server.js';

const atOnceMax = 2;
const explainMsMax = 60_000;
const outputBytesMax = 16 << 20;
const valueCharactersMax = 2_048;
const portPattern = /^[0-9]{1,5}$/;
/** What of a query `weft explain` takes as it is. */
const optional = ['method', 'path', 'host', 'header', 'sni'] as const;

/** The arguments of `weft explain`, or why there are none. Values cannot be taken for options. Pure. */
export function explainArguments(query: URLSearchParams, place: PlaceFlags): readonly string[] | string {
  for (const [name, value] of query)
    if (value.length > valueCharactersMax) return `${name} has more than ${valueCharactersMax} characters`;
  const [source = '', destination = '', port = ''] = ['source', 'destination', 'port'].map(
    (name) => query.get(name) ?? undefined,
  );
  if (source === '' || destination === '') return 'say source and destination';
  if (port !== '' && !portPattern.test(port)) return 'port is not a number';
  return [
    'explain',
    '--json',
    `--root-namespace=${place.rootNamespace}`,
    ...(isOfCluster(place) ? ['--kubernetes'] : [`--state=${stateOf(place)}`]),
    ...optional.flatMap((name) => query.getAll(name).map((value) => `--${name}=${value}`)),
    '--',
    source,
    port === '' ? destination : `${destination}:${port}`,
  ];
}

/** Asks at most two at once, because each compiles a mesh. */
export class Explainer {
  #open = 0;

  constructor(private readonly place: PlaceFlags) {}

  async ask(query: URLSearchParams): Promise<ApiResponse> {
    const args = explainArguments(query, this.place);
    if (typeof args === 'string') return errorResponse(400, args);
    if (this.#open >= atOnceMax)
      return errorResponse(503, `${atOnceMax} explanations are being made: ask again`);
    this.#open++;
    try {
      return await run(args);
    } finally {
      this.#open--;
    }
  }
}

function run(args: readonly string[]): Promise<ApiResponse> {
  const options = { encoding: 'utf8' as const, timeout: explainMsMax, maxBuffer: outputBytesMax };
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [join(distRoot, 'src', 'cli', 'weft.js'), ...args],
      options,
      (error, stdout, stderr) => {
        // The exit code says the outcome, or that the query cannot be used.
        if (stdout.startsWith('{')) return resolve({ status: 200, body: stdout.trim() });
        const why = stderr.trim().replace(/^weft: /, '') || String(error);
        resolve(errorResponse(error?.code === 2 ? 400 : 502, why));
      },
    );
  });
}
