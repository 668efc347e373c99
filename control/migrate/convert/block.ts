/** What convert makes of one object: documents, and what could not be written. */
import { basename } from 'node:path';
import { Document, isMap, isScalar, isSeq } from 'yaml';
import { errorText } from '../../../src/base/errors.js';
import type { Path } from '../../../src/kubernetes/manifests.js';
import { parseManifests } from '../../source/parse.js';
import type { Fields, SourceObject } from '../load.js';

export interface Note {
  /**
   * `lost`: not in the output. `differs`: the output does the same in another way, which an author should know. `info`: where the object is in
   * the output.
   */
  readonly what: 'lost' | 'differs' | 'info';
  /** The field of the original; empty: the object. */
  readonly field: string;
  readonly message: string;
}
interface Comment {
  readonly path: Path;
  readonly text: string;
}
interface Doc {
  readonly object: Fields;
  readonly comments: Comment[];
}

const words: Readonly<Record<Note['what'], string>> = {
  lost: 'not converted: ',
  differs: 'differs: ',
  info: '',
};
const commentOf = ({ what, field, message }: Note): string =>
  ` ${words[what]}${field === '' ? '' : `${field}: `}${message}`;

export class Block {
  readonly docs: Doc[] = [];
  readonly notes: Note[] = [];
  readonly #head: string[] = [];

  constructor(readonly source: SourceObject) {}

  get isEmpty(): boolean {
    return this.docs.length === 0 && this.notes.length === 0;
  }
  /** Adds a document of the output. Returns its number. */
  add(object: Fields): number {
    return this.docs.push({ object, comments: [] }) - 1;
  }
  /** @param at where in the output the comment is, if there is a place */
  note(note: Note, at?: { readonly doc: number; readonly path: Path }): void {
    this.notes.push(note);
    const doc = at && this.docs[at.doc];
    if (doc) doc.comments.push({ path: at.path, text: commentOf(note) });
    else this.#head.push(commentOf(note));
  }
  lost(field: string, message: string, at?: { readonly doc: number; readonly path: Path }): void {
    this.note({ what: 'lost', field, message }, at);
  }
  info(message: string, at?: { readonly doc: number; readonly path: Path }): void {
    this.note({ what: 'info', field: '', message }, at);
  }
  differs(field: string, message: string, at?: { readonly doc: number; readonly path: Path }): void {
    this.note({ what: 'differs', field, message }, at);
  }

  /** Adds what another block of the same object has. */
  takeOver(other: Block): void {
    this.docs.push(...other.docs);
    this.notes.push(...other.notes);
    this.#head.push(...other.#head);
  }

  remove(object: Fields): void {
    const at = this.docs.findIndex((doc) => doc.object === object);
    if (at >= 0) this.docs.splice(at, 1);
  }

  replace(object: Fields, other: Fields): void {
    const at = this.docs.findIndex((doc) => doc.object === object);
    const { comments = [] } = this.docs[at] ?? {};
    if (at >= 0) this.docs[at] = { object: other, comments };
  }

  get name(): string {
    const { kind, namespace, name } = this.source;
    return `${kind} ${kind === 'Namespace' ? name : `${namespace}/${name}`}`;
  }

  /** The YAML of the block. */
  text(): string {
    const { file, line } = this.source;
    const place = file === undefined ? '' : ` (${basename(file)}:${line})`;
    const head = [` From ${this.name}${place}`, ...this.#head].map((line) => `#${line}\n`).join('');
    return `${head}${this.docs.map((doc) => textOf(doc)).join('---\n')}`;
  }
}

function textOf({ object, comments }: Doc): string {
  const document = new Document(object, { aliasDuplicateObjects: false });
  for (const { path, text } of comments) {
    // The nearest node that exists. The contents of a document are its root.
    for (let length = path.length; length >= 0; length--) {
      const found = length === 0 ? document.contents : document.getIn(path.slice(0, length), true);
      // A comment before a map stands before its first key.
      const node = isMap(found) && length === 0 ? found.items[0]?.key : found;
      if (!isMap(node) && !isSeq(node) && !isScalar(node)) continue;
      node.commentBefore = joined(node.commentBefore, text);
      break;
    }
  }
  return document.toString({ lineWidth: 0 });
}
const joined = (before: string | null | undefined, text: string): string =>
  before ? `${before}\n${text}` : text;

/** Why the control plane would refuse a document of the output; undefined: it reads it. */
export function refusedBecause(object: Fields): string | undefined {
  try {
    const { errors } = parseManifests(
      'converted',
      new Document(object, { aliasDuplicateObjects: false }).toString(),
    );
    return errors.length === 0
      ? undefined
      : errors.map(({ field, message }) => `${field}: ${message}`).join('; ');
  } catch (error) {
    return errorText(error);
  }
}
