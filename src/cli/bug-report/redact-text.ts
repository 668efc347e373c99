/**
 * Removes secrets from text: private keys, tokens, credentials in headers, URLs and assignments, and the same in base64. Pure. A pattern
 * that also hides harmless text is acceptable, one that misses a secret is not. All quantifiers are bounded or consume what they match, so
 * that a log line written by a tenant costs linear time.
 */

/** Replaces a secret. */
export const redacted = '[redacted]';

const pemBodyMax = 20_000;
const gap = String.raw`(?:[ +]|%20)`;
const pemLabel = String.raw`(?:[A-Z0-9]{1,20}${gap}){0,4}`;
const pemBegin = new RegExp(`-----BEGIN${gap}${pemLabel}PRIVATE${gap}KEY`, 'g');
const pemEnd = new RegExp(`-----END${gap}${pemLabel}PRIVATE${gap}KEY-{0,5}`, 'g');
/** Base64 lines, their line ends (also escaped ones), and the headers of an encrypted key. */
const pemBody = /^[A-Za-z0-9+/=\s\\:,.%-]*/;

/** Index after the key that begins at `from`. A key whose end is missing ends with the characters that a key can have. */
function pemEndAfter(text: string, from: number): number {
  const part = text.slice(from, from + pemBodyMax);
  pemEnd.lastIndex = 0;
  if (pemEnd.test(part)) return from + pemEnd.lastIndex;
  return from + (pemBody.exec(part)?.[0].length ?? 0);
}

function withoutPrivateKeys(text: string): string {
  const parts: string[] = [];
  let at = 0;
  for (;;) {
    pemBegin.lastIndex = at;
    const begin = pemBegin.exec(text);
    if (!begin) break;
    const end = Math.max(pemEndAfter(text, begin.index), pemBegin.lastIndex);
    parts.push(withoutKeyEnds(text.slice(at, begin.index)), redacted);
    at = end;
  }
  parts.push(withoutKeyEnds(text.slice(at)));
  return parts.join('');
}

/** Index, from `first` on, at which the lines of a key begin that ends at `end`. Lines may have a prefix, such as a time. */
function keyBegin(text: string, first: number, end: number): number {
  const lines = text.slice(first, end).split('\n');
  // The end is on a line of its own, after one that may be short.
  let kept = Math.max(0, lines.length - 2);
  while (kept > 0 && /[A-Za-z0-9+/]{32}/.test(lines[kept - 1] ?? '')) kept--;
  return first + lines.slice(0, kept).reduce((sum, line) => sum + line.length + 1, 0);
}

/** Removes keys of which only the end is in the text, because the text begins in the middle of a log. */
function withoutKeyEnds(text: string): string {
  const parts: string[] = [];
  let at = 0;
  pemEnd.lastIndex = 0;
  for (let end = pemEnd.exec(text); end; end = pemEnd.exec(text)) {
    const first = Math.max(at, end.index - pemBodyMax);
    parts.push(text.slice(at, keyBegin(text, first, end.index)), redacted);
    at = pemEnd.lastIndex;
  }
  parts.push(text.slice(at));
  return parts.join('');
}

const secretHeaderName = String.raw`(?:(?:proxy-|x-forwarded-)?authorization|(?:set-)?cookie2?|x-[\w-]{0,40}(?:token|key|secret|auth)[\w-]{0,40})`;
const secretName = String.raw`(?:password|passwd|passphrase|secret|token|api[-_]?key|access[-_]?key|private[-_]?key|credential)[\w-]{0,64}`;
/** A member of JSON, which may be a string of JSON itself. */
const member = new RegExp(
  String.raw`((?:${secretHeaderName}|${secretName})\\?["']\s{0,8}:\s{0,8}\\?["'])(?:[^"\\\r\n]|\\.)*`,
  'gi',
);
/** A header, of which the value is secret to the end of the line. */
const headerLine = new RegExp(
  String.raw`(?<![A-Za-z])(${secretHeaderName}\s{0,8}(?:[:=]|%3[AD]))[^\r\n]+`,
  'gi',
);
const assignment = new RegExp(
  String.raw`(${secretName}\s{0,8}(?:[=:]|%3[AD])\s{0,8}["']?)[^\s"'&,;}\\]+`,
  'gi',
);
const scheme =
  /(?<![A-Za-z])(Bearer|Basic|Negotiate|NTLM|Digest)((?:\s|%20|\+){1,8}|["']?[:=]["']?)[^\s"',;\\]+/gi;
/** JSON in base64url begins with these letters. A token that was cut off counts, too. */
const jwt = /eyJ[\w-]{6,}(?:\.[\w-]*){0,4}/g;
const userInfo = /([a-z][a-z0-9+.-]{1,30}:\/\/)[^\s/@"']{1,512}@/gi;
const queryValue = /([?&][\w.~%[\]-]{1,128}=)[^&\s"'#]+/g;
const knownToken =
  /\b(?:A[KS]IA[0-9A-Z]{16}|gh[opsur]_\w{20,255}|github_pat_\w{20,255}|xox[abposr]-[\w-]{10,255}|glpat-[\w-]{16,255})/g;

function withoutTokens(text: string): string {
  return text
    .replace(member, `$1${redacted}`)
    .replace(headerLine, `$1 ${redacted}`)
    .replace(scheme, `$1 ${redacted}`)
    .replace(jwt, redacted)
    .replace(userInfo, `$1${redacted}@`)
    .replace(queryValue, `$1${redacted}`)
    .replace(assignment, `$1${redacted}`)
    .replace(knownToken, redacted);
}

const base64Run = /[A-Za-z0-9+/_-]{16,}={0,2}/g;
const secretInside = new RegExp(
  `${pemBegin.source}|${pemEnd.source}|eyJ[\\w-]{6,}|(?:Bearer|Basic|Negotiate)(?: |%20|\\+)+[\\w.~+/=-]{4,}|(?:authorization|cookie) {0,4}(?::|%3A)|://[^\\s/@]{1,512}@`,
  'i',
);
/** Also base64 in base64, as an encoded Secret in an annotation. */
const nestedMax = 3;

/** PKCS#8, PKCS#1 and SEC1 keys in DER: a sequence whose first element is the version, the integer 0 or 1. A certificate begins with another sequence. */
function isPrivateKeyDer(bytes: Buffer): boolean {
  if (bytes[0] !== 0x30 || bytes.length < 16) return false;
  const length = bytes[1] ?? 0;
  const at = length < 0x80 ? 2 : 2 + (length & 0x7f);
  return bytes[at] === 2 && bytes[at + 1] === 1 && (bytes[at + 2] === 0 || bytes[at + 2] === 1);
}

function hidesSecret(run: string, depth: number): boolean {
  // Letters before the base64 text shift its groups of four.
  for (let offset = 0; offset < 4; offset++) {
    const bytes = Buffer.from(run.slice(offset), 'base64');
    if (isPrivateKeyDer(bytes)) return true;
    const inside = bytes.toString('latin1');
    if (secretInside.test(inside)) return true;
    if (depth < nestedMax)
      for (const [nested] of inside.matchAll(base64Run))
        if (nested.length >= 24 && hidesSecret(nested, depth + 1)) return true;
  }
  return false;
}

const withoutEncodedSecrets = (text: string): string =>
  text.replace(base64Run, (run) => (hidesSecret(run, 1) ? redacted : run));

/** The text without secrets. Never throws. */
export const redactText = (text: string): string =>
  withoutEncodedSecrets(withoutTokens(withoutPrivateKeys(text)));
