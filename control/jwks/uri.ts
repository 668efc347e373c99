/** URIs of key sets. Pure. */

const uriCharsMax = 2_048;

/** Why no keys can be fetched from a URI; undefined if they can. */
export function uriProblem(uri: string): string | undefined {
  if (uri.length > uriCharsMax) return `it is longer than ${uriCharsMax} characters`;
  let url: URL;
  try {
    url = new URL(uri);
  } catch {
    return `${JSON.stringify(uri.slice(0, 64))} is no URI`;
  }
  if (url.protocol !== 'https:' && url.protocol !== 'http:') return 'it must begin with https://';
  if (url.username !== '' || url.password !== '') return 'it must not contain a user or a password';
  if (url.hash !== '') return 'it must not contain a fragment';
  return undefined;
}
