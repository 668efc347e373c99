/** The template of a request's path: what remains is the same for all objects of a kind, names no user, and is bounded. */

const segmentsMax = 8;
const segmentCharsMax = 32;
/** Of names with dots, such as those of gRPC services. */
const nameCharsMax = 128;

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
 * Replaces segments that look like identifiers by `*`, and those after the eighth by `**`. The query is left out. What is no path (`*` of
 * OPTIONS, the authority of CONNECT) is `**`. Pure.
 */
export function pathTemplate(path: string): string {
  if (!path.startsWith('/')) return '**';
  const end = path.search(/[?#;]/);
  // A path may be very long: what follows the eighth segment is not looked at.
  const segments = (end < 0 ? path : path.slice(0, end)).slice(1).split('/', segmentsMax + 1);
  const kept = segments.slice(0, segmentsMax).map((segment) => (isIdentifier(segment) ? '*' : segment));
  if (segments.length > segmentsMax) kept.push('**');
  return `/${kept.join('/')}`;
}
