/** Reads the fields of an object and remembers which were read, so that what convert passes over is reported. */
import { usedFields } from '../../dialects/fields.js';
import { type Fields } from '../load.js';
import { isRecord } from '../../../src/base/record.js';

export class Reader {
  constructor(
    readonly value: Fields,
    /** In the form of usedFields: `http[0].match[1]`. */
    readonly path = '',
    private readonly taken: Set<string> = new Set(),
  ) {}

  pathOf(key: string): string {
    return this.path === '' ? key : `${this.path}.${key}`;
  }
  has(key: string): boolean {
    return this.value[key] !== undefined;
  }
  get keys(): readonly string[] {
    return Object.keys(this.value);
  }
  /** Marks a field, and all that is in it, as read. */
  take(key: string): unknown {
    this.taken.add(this.pathOf(key));
    return this.value[key];
  }
  takeAll(): void {
    this.taken.add(this.path);
  }
  text(key: string): string | undefined {
    const value = this.take(key);
    return typeof value === 'string' ? value : undefined;
  }
  number(key: string): number | undefined {
    const value = this.take(key);
    return typeof value === 'number' ? value : undefined;
  }
  flag(key: string): boolean | undefined {
    const value = this.take(key);
    return typeof value === 'boolean' ? value : undefined;
  }
  texts(key: string): readonly string[] {
    const value = this.take(key);
    return Array.isArray(value) ? value.filter((one) => typeof one === 'string') : [];
  }
  /** The texts of a map. */
  map(key: string): Readonly<Record<string, string>> {
    const value = this.take(key);
    const entries = Object.entries(isRecord(value) ? value : {});
    return Object.fromEntries(
      entries.filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
    );
  }
  /** The fields of a field; without any if it is absent. */
  child(key: string): Reader {
    const value = this.value[key];
    if (isRecord(value) && Object.keys(value).length === 0) this.take(key);
    return new Reader(isRecord(value) ? value : {}, this.pathOf(key), this.taken);
  }
  children(key: string): readonly Reader[] {
    const value = this.value[key];
    if (!Array.isArray(value)) return [];
    return value.map((one: unknown, index) => {
      const path = `${this.pathOf(key)}[${index}]`;
      if (!isRecord(one) || Object.keys(one).length === 0) this.taken.add(path);
      return new Reader(isRecord(one) ? one : {}, path, this.taken);
    });
  }

  /** The paths of the fields that nothing read. */
  rest(): string[] {
    const isTaken = (path: string): boolean => {
      for (let at = path; at !== ''; at = at.replace(/\[\d+\]$|\.[^.[\]]*$|^[^.[\]]*$|.$/, ''))
        if (this.taken.has(at)) return true;
      return false;
    };
    return usedFields(this.value, {})
      .map(({ path }) => path)
      .filter((path) => !isTaken(path));
  }
}
