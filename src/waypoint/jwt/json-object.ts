/**
 * Reads the JSON of tokens. Unlike JSON.parse it refuses duplicate names, because two readers of one token could take different ones, and
 * bounds what a reader has to walk. Never throws.
 */

/** Levels of objects and lists. */
export const depthMax = 16;
/** Objects, lists and other values, together. */
export const valuesMax = 1_000;

/** Objects and lists, and all values, those included. */
export interface JsonSize {
  readonly containers: number;
  readonly values: number;
}
export type JsonObject = Readonly<Record<string, unknown>>;
export type JsonResult =
  | { readonly object: JsonObject; readonly size: JsonSize }
  | { readonly object?: undefined; readonly why: string };

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Reads an object. @param bytes of at most a token's length */
export function readObject(bytes: Uint8Array): JsonResult {
  let text: string;
  let object: unknown;
  try {
    text = utf8.decode(bytes);
    object = JSON.parse(text);
  } catch {
    return { why: 'is no JSON' };
  }
  if (typeof object !== 'object' || object === null || Array.isArray(object)) return { why: 'is no object' };
  const counted = inspect(text);
  return typeof counted === 'string' ? { why: counted } : { object: object as JsonObject, size: counted };
}

/** The size, or what is wrong. `json` is valid, so that only brackets, strings and commas have to be distinguished. */
function inspect(json: string): JsonSize | string {
  /** The names of each open object; undefined for a list. */
  const open: (Set<string> | undefined)[] = [];
  let values = 1;
  let containers = 0;
  let takesName = false;
  for (let at = 0; at < json.length; at++) {
    switch (json.charCodeAt(at)) {
      case 0x7b: // {
      case 0x5b: {
        // [
        const isObject = json.charCodeAt(at) === 0x7b;
        if (open.length >= depthMax) return `is nested more than ${depthMax} levels deep`;
        open.push(isObject ? new Set() : undefined);
        takesName = isObject;
        containers++;
        // The first member of a list follows no comma.
        if (!isObject) values++;
        break;
      }
      case 0x7d: // }
      case 0x5d: // ]
        open.pop();
        takesName = false;
        break;
      case 0x2c: // ,
        takesName = open.at(-1) !== undefined;
        if (!takesName) values++;
        break;
      case 0x3a: // :
        values++;
        break;
      case 0x22: {
        // "
        const end = endOfString(json, at);
        const names = open.at(-1);
        if (takesName && names) {
          // Names are compared without their escapes.
          const name = JSON.parse(json.slice(at, end + 1)) as string;
          if (names.has(name)) return `has the name ${JSON.stringify(name.slice(0, 64))} twice`;
          names.add(name);
          takesName = false;
        }
        at = end;
      }
    }
    if (values > valuesMax) return `has more than ${valuesMax} values`;
  }
  return { containers, values };
}

function endOfString(json: string, from: number): number {
  for (let at = from + 1; at < json.length; at++) {
    const code = json.charCodeAt(at);
    if (code === 0x5c) at++;
    else if (code === 0x22) return at;
  }
  return json.length;
}
