/** Reads an archive of `weft bug-report`, and searches it. */
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { extract } from 'tar-stream';

/** Texts by path in the archive, without the folder of the report. */
export async function readArchive(path: string): Promise<ReadonlyMap<string, string>> {
  const files = new Map<string, string>();
  const archive = extract();
  archive.end(gunzipSync(readFileSync(path)));
  for await (const entry of archive) {
    const parts: Buffer[] = [];
    for await (const part of entry) parts.push(part as Buffer);
    files.set(
      entry.header.name.slice(entry.header.name.indexOf('/') + 1),
      Buffer.concat(parts).toString('utf8'),
    );
  }
  return files;
}

/** The secret itself, and what base64 makes of it at each of three positions, in both alphabets. */
export function formsOf(secret: string): string[] {
  const shifted = [0, 1, 2].map((shift) => {
    const encoded = Buffer.from(' '.repeat(shift) + secret)
      .toString('base64')
      .replaceAll('=', '');
    // The ends depend on what is beside the secret.
    return encoded.slice(shift === 0 ? 0 : 4, -2);
  });
  return [
    ...new Set([secret, ...shifted, ...shifted.map((one) => one.replaceAll('+', '-').replaceAll('/', '_'))]),
  ];
}

/** `file: form` of each secret that is in a file. */
export const leaksIn = (files: ReadonlyMap<string, string>, secrets: readonly string[]): string[] =>
  [...files].flatMap(([file, text]) =>
    secrets
      .flatMap(formsOf)
      .filter((form) => text.includes(form))
      .map((form) => `${file}: ${form}`),
  );
