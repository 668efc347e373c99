/** Shapes of plots, in the form that a custom series of ECharts returns, and positions of labels. */
import type { Symbol } from './theme.js';
import { plain } from './view.js';

/** Estimated width of a text in pixels, to reserve space. */
export const textWidth = (text: string, size = 12): number => [...text].length * size * 0.56;

export const font = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif';
/** Shapes of zrender, as a custom series returns them. */
export type Shape = Readonly<Record<string, unknown>>;

export function symbolShape(
  symbol: Symbol,
  x: number,
  y: number,
  r: number,
  color: string,
  paper: string,
): Shape {
  const points = (of: readonly (readonly [number, number])[]): Shape => ({
    type: 'polygon',
    shape: { points: of.map(([dx, dy]) => [x + dx * r, y + dy * r]) },
    style: { fill: color, stroke: paper, lineWidth: 1 },
  });
  switch (symbol) {
    case 'ring':
      return {
        type: 'circle',
        shape: { cx: x, cy: y, r: r * 0.9 },
        style: { fill: paper, stroke: color, lineWidth: 2 },
      };
    case 'rect':
      return points([
        [-0.9, -0.9],
        [0.9, -0.9],
        [0.9, 0.9],
        [-0.9, 0.9],
      ]);
    case 'triangle':
      return points([
        [0, -1.15],
        [1.1, 0.85],
        [-1.1, 0.85],
      ]);
    case 'diamond':
      return points([
        [0, -1.25],
        [1.25, 0],
        [0, 1.25],
        [-1.25, 0],
      ]);
    case 'down':
      return points([
        [0, 1.15],
        [1.1, -0.85],
        [-1.1, -0.85],
      ]);
    case 'cross':
      return points([
        [-1.1, -0.4],
        [-0.4, -0.4],
        [-0.4, -1.1],
        [0.4, -1.1],
        [0.4, -0.4],
        [1.1, -0.4],
        [1.1, 0.4],
        [0.4, 0.4],
        [0.4, 1.1],
        [-0.4, 1.1],
        [-0.4, 0.4],
        [-1.1, 0.4],
      ]);
    default:
      return {
        type: 'circle',
        shape: { cx: x, cy: y, r },
        style: { fill: color, stroke: paper, lineWidth: 1 },
      };
  }
}

export const segment = (
  x1: number,
  y1: number,
  x2: number,
  y2: number,
  color: string,
  lineWidth: number,
  opacity = 1,
): Shape => ({
  type: 'line',
  shape: { x1, y1, x2, y2 },
  style: { fill: 'none', stroke: color, lineWidth, opacity, lineCap: 'round' },
});
export const box = (
  x: number,
  y: number,
  width: number,
  height: number,
  fill: string,
  opacity = 1,
): Shape => ({
  type: 'rect',
  shape: { x, y, width: Math.max(width, 0), height: Math.max(height, 0) },
  style: { fill, opacity },
});
export const label = (
  text: string,
  x: number,
  y: number,
  fill: string,
  align: string,
  size = 12,
  weight = 'normal',
): Shape => ({
  type: 'text',
  style: {
    text: plain(text),
    x,
    y,
    fill,
    textAlign: align,
    textVerticalAlign: 'middle',
    fontSize: size,
    fontFamily: font,
    fontWeight: weight,
  },
});

/** Moves overlapping labels apart, in their order, within the bounds. */
export function spreadOut(wanted: readonly number[], gap: number, from: number, to: number): number[] {
  const order = wanted.map((y, at) => ({ y, at })).sort((a, b) => a.y - b.y);
  let last = from - gap;
  for (const one of order) last = one.y = Math.max(one.y, last + gap);
  let next = to + gap;
  for (const one of [...order].reverse()) next = one.y = Math.min(one.y, next - gap);
  const placed: number[] = [];
  for (const { y, at } of order) placed[at] = y;
  return placed;
}
