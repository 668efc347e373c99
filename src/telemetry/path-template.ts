/** The template of a request's path: what remains is the same for all objects of a kind, names no user, and is bounded. */

export const segmentsMax = 8;
const segmentCharsMax = 32;
/** Of names with dots, such as those of gRPC services. */
export const nameCharsMax = 128;
/** Less than a report of edges may contain: a client could otherwise keep its requests out of what is observed. */
const templateCharsMax = 400;

const plainSegment = /^[A-Za-z0-9._:-]*$/;
const dottedName = /^[A-Za-z]\w{0,31}(?:\.[A-Za-z]\w{0,31})+$/;
const hex = /^[0-9a-f]{8,}$/i;
const onlyDigits = /^\d+$/;
const someDigits = /\d.*\d.*\d/;

/** Numbers, hex, UUIDs, dates, names with numbers, anything that is escaped or long. `v1beta1` and names of gRPC services are none. */
function isIdentifier(segment: string): boolean {
  if (segment.length > segmentCharsMax)
    return segment.length > nameCharsMax || someDigits.test(segment) || !dottedName.test(segment);
  return (
    !plainSegment.test(segment) || onlyDigits.test(segment) || hex.test(segment) || someDigits.test(segment)
  );
}

/**
 * Replaces segments that look like identifiers by `*`, and those after the eighth, or after 400 characters, by `**`. The query is left out. What is no path (`*` of
 * OPTIONS, the authority of CONNECT) is `**`. Pure.
 */
export function pathTemplate(path: string): string {
  if (!path.startsWith('/')) return '**';
  const end = path.search(/[?#;]/);
  // A path may be very long: what follows the eighth segment is not looked at.
  const segments = (end < 0 ? path : path.slice(0, end)).slice(1).split('/', segmentsMax + 1);
  const kept: string[] = [];
  let chars = 0;
  for (const segment of segments) {
    const one = isIdentifier(segment) ? '*' : segment;
    chars += one.length + 1;
    if (kept.length >= segmentsMax || chars > templateCharsMax) {
      kept.push('**');
      break;
    }
    kept.push(one);
  }
  return `/${kept.join('/')}`;
}
