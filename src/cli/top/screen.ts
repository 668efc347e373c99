/** A screen of a terminal that is drawn again and again. The terminal's own content is back at the end. */
import type { WriteStream } from 'node:tty';

const escape = '\x1b[';
/** The alternate screen, without cursor, and without wrapping: a long line is cut by the terminal. */
const enter = `${escape}?1049h${escape}?25l${escape}?7l`;
const leave = `${escape}?7h${escape}?25h${escape}?1049l`;

/**
 * What draws the lines over those that are there: in one write, without clearing first, so that nothing flickers. Lines that do not fit are
 * left out, the last of `footer` never. Pure.
 */
export function frame(
  lines: readonly string[],
  footer: readonly string[],
  { columns, rows }: { readonly columns: number; readonly rows: number },
): string {
  const shown = [...lines.slice(0, Math.max(0, rows - footer.length)), ...footer].slice(-Math.max(1, rows));
  const drawn = shown.map((line) => `${[...line].slice(0, columns).join('')}${escape}K`);
  return `${escape}H${drawn.join('\r\n')}${escape}J`;
}

export class Screen {
  #last: readonly [lines: readonly string[], footer: readonly string[]] = [[], []];
  readonly #redraw = (): void => this.show(...this.#last);

  constructor(private readonly terminal: WriteStream) {
    terminal.write(enter);
    terminal.on('resize', this.#redraw);
  }

  show(lines: readonly string[], footer: readonly string[]): void {
    this.#last = [lines, footer];
    const { columns, rows } = this.terminal;
    // A terminal without a size says 0.
    this.terminal.write(frame(lines, footer, { columns: columns || 80, rows: rows || 24 }));
  }

  close(): void {
    this.terminal.off('resize', this.#redraw);
    this.terminal.write(leave);
  }
}
