/** The part of a request's target that its template depends on: bounded, whatever the target. */
import { nameCharsMax, segmentsMax } from './path-template.js';

const [slash, question, hash, semicolon] = [47, 63, 35, 59];

export class TemplatePath {
  text = '';
  #segments = 0;
  #inSegment = 0;
  #isOver = false;

  /** One byte of the target: those that are not ASCII make its segment an identifier. */
  add(byte: number): void {
    if (this.#isOver) return;
    if (this.text === '') {
      // What is no path has the same template, whatever follows.
      this.#isOver = byte !== slash;
      this.text = String.fromCharCode(byte);
    } else if (byte === question || byte === hash || byte === semicolon) this.#isOver = true;
    else if (byte === slash) {
      this.#inSegment = 0;
      this.text += '/';
      this.#isOver = ++this.#segments > segmentsMax;
    } else if (this.#inSegment <= nameCharsMax) {
      // A longer segment is an identifier, whatever it contains.
      this.#inSegment++;
      this.text += String.fromCharCode(byte);
    }
  }

  clear(): void {
    this.text = '';
    this.#segments = this.#inSegment = 0;
    this.#isOver = false;
  }
}
