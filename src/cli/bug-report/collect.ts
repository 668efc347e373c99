/** Collects the parts of a report. A part that fails or is too slow is a line of errors.txt, and does not affect the others. */
import { WeftError, errorText } from '../../base/errors.js';
import { redactText } from './redact-text.js';
import { redactLog, redactValue } from './redact-value.js';

export type Content =
  /** Of JSON. */
  | { readonly value: unknown; readonly note?: string }
  /** A log, metrics, or a table. `note`: what is missing in it. */
  | { readonly text: string; readonly note?: string };

export interface Part {
  /** Path in the archive. */
  readonly file: string;
  readonly read: () => Promise<Content> | Content;
}

export interface Collected {
  readonly files: readonly { readonly path: string; readonly text: string }[];
  /** `<file>: <why>` */
  readonly errors: readonly string[];
}

export interface CollectLimits {
  readonly partMsMax: number;
  /** Of all parts together. Parts that have not begun by then are errors. */
  readonly totalMsMax: number;
  /** UTF-16 units of one file. */
  readonly partSizeMax: number;
  readonly totalSizeMax: number;
  /** Parts that are read at the same time. */
  readonly parallel: number;
}

export const limits: CollectLimits = {
  partMsMax: 20_000,
  totalMsMax: 120_000,
  partSizeMax: 8 << 20,
  totalSizeMax: 64 << 20,
  parallel: 4,
};
/** Of one program's log, its end. */
export const logBytesMax = 1 << 20;

/** The last segment of a path in the archive, from a name that somebody else chose. */
export const fileName = (name: string): string =>
  name
    .replaceAll(/[^\w.-]/g, '_')
    .replace(/^\.+/, '_')
    .slice(0, 120) || '_';

async function within<T>(ms: number, read: () => Promise<T> | T): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(
      () => reject(new WeftError('WEFT_TIMEOUT', `not read within ${ms} ms`, { retryable: true })),
      ms,
    );
  });
  try {
    return await Promise.race([(async () => read())(), late]);
  } finally {
    clearTimeout(timer);
  }
}

const textOf = (file: string, content: Content, mark: (secret: string) => string): string => {
  if ('value' in content) return `${JSON.stringify(redactValue(content.value, mark), null, 1)}\n`;
  return file.endsWith('.log') ? redactLog(content.text, mark) : redactText(content.text);
};

/** Reads all parts and removes secrets. Never rejects. @param mark replaces values of headers */
export async function collect(
  parts: readonly Part[],
  mark: (secret: string) => string,
  { partMsMax, totalMsMax, partSizeMax, totalSizeMax, parallel }: CollectLimits = limits,
): Promise<Collected> {
  const files: { path: string; text: string }[] = [];
  const errors: string[] = [];
  const end = performance.now() + totalMsMax;
  let size = 0;
  const take = async ({ file, read }: Part): Promise<void> => {
    const leftMs = Math.min(partMsMax, end - performance.now());
    if (leftMs <= 0) return void errors.push(`${file}: not read: the report took ${totalMsMax} ms`);
    try {
      const content = await within(leftMs, read);
      let text = textOf(file, content, mark);
      if (content.note !== undefined) errors.push(`${file}: ${redactText(content.note)}`);
      const max = Math.min(partSizeMax, totalSizeMax - size);
      if (text.length > max) {
        errors.push(`${file}: cut: ${max} of ${text.length} characters`);
        text = text.slice(0, max);
      }
      size += text.length;
      if (text !== '') files.push({ path: file, text });
    } catch (error) {
      errors.push(`${file}: ${redactText(errorText(error))}`);
    }
  };
  const queue = parts.values();
  const worker = async (): Promise<void> => {
    for (const part of queue) await take(part);
  };
  await Promise.all(Array.from({ length: parallel }, worker));
  return { files: files.sort((a, b) => (a.path < b.path ? -1 : 1)), errors: errors.sort() };
}
