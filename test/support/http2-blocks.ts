/** HPACK in every form that a peer may choose, by chance. */
import { huffmanBits } from '../../src/http2/hpack/huffman.js';
import { fieldBytes, staticEntries, staticNames, staticValues } from '../../src/http2/hpack/static-table.js';

type Random = (below: number) => number;

const codes: bigint[] = [];
for (let bits = 5, code = 0n; bits <= 30; bits++, code <<= 1n) {
  for (const [octet, length] of huffmanBits.entries()) if (length === bits) codes[octet] = code++;
}
export function huffmanEncode(bytes: Buffer): Buffer {
  let all = 0n;
  let count = 0;
  for (const octet of bytes) {
    const bits = huffmanBits[octet] as number;
    all = (all << BigInt(bits)) | (codes[octet] as bigint);
    count += bits;
  }
  const padding = (8 - (count % 8)) % 8;
  all = (all << BigInt(padding)) | ((1n << BigInt(padding)) - 1n);
  const length = (count + padding) / 8;
  return Buffer.from(all.toString(16).padStart(length * 2, '0'), 'hex').subarray(0, length);
}

function hpackInteger(value: number, prefixBits: number, first: number): Buffer {
  const most = (1 << prefixBits) - 1;
  if (value < most) return Buffer.from([first | value]);
  const bytes = [first | most];
  for (value -= most; value >= 128; value = Math.floor(value / 128)) bytes.push((value % 128) | 128);
  return Buffer.from([...bytes, value]);
}

/** An encoder with a table of its own, which chooses each representation by chance. */
export class RandomEncoder {
  /** The newest first. */
  private table: [string, string][] = [];
  private bytesMax = 4096;

  constructor(private readonly random: Random) {}

  encode(fields: readonly string[]): Buffer {
    const { random } = this;
    const parts: Buffer[] = [];
    if (random(20) === 0) {
      this.bytesMax = random(2) === 0 ? 4096 : random(200);
      this.evict();
      parts.push(hpackInteger(this.bytesMax, 5, 0x20));
    }
    for (let i = 0; i < fields.length; i += 2) {
      const [name, value] = [fields[i] as string, fields[i + 1] as string];
      const whole = this.find((n, v) => n === name && v === value);
      if (whole > 0 && random(4) > 0) {
        parts.push(hpackInteger(whole, 7, 0x80));
        continue;
      }
      const index = random(4) > 0 ? this.find((n) => n === name) : 0;
      const kind = random(4);
      if (kind <= 1) {
        parts.push(hpackInteger(index, 6, 0x40));
        this.table.unshift([name, value]);
        this.evict();
      } else parts.push(hpackInteger(index, 4, kind === 2 ? 0 : 0x10));
      if (index === 0) parts.push(this.string(name));
      parts.push(this.string(value));
    }
    return Buffer.concat(parts);
  }

  private find(matches: (name: string, value: string) => boolean): number {
    for (let index = 1; index <= staticEntries; index++)
      if (matches(staticNames[index] as string, staticValues[index] as string)) return index;
    const place = this.table.findIndex(([name, value]) => matches(name, value));
    return place < 0 ? 0 : staticEntries + 1 + place;
  }

  private evict(): void {
    const size = (): number => this.table.reduce((sum, [name, value]) => sum + fieldBytes(name, value), 0);
    while (size() > this.bytesMax) this.table.pop();
  }

  private string(text: string): Buffer {
    const bytes = Buffer.from(text, 'latin1');
    if (this.random(2) === 0) return Buffer.concat([hpackInteger(bytes.length, 7, 0), bytes]);
    const coded = huffmanEncode(bytes);
    return Buffer.concat([hpackInteger(coded.length, 7, 0x80), coded]);
  }
}
