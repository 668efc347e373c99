/** Marks on the lines of the graph: a lock, an open lock, a bolt, a cross. They are drawn over it, because lines cannot have pictures. */
import type { Core, EdgeSingular } from 'cytoscape';
import type { GraphEdge } from '../view/graph-input.js';
import type { Colors } from './graph-style.js';

const shapes = {
  lock: new Path2D('M-3.5 -0.5h7v5h-7zM-2 -0.5v-1.8a2 2 0 0 1 4 0v1.8'),
  open: new Path2D('M-3.5 -0.5h7v5h-7zM-2 -0.5v-2.4a2 2 0 0 1 3.8 -0.9'),
  bolt: new Path2D('M1 -5 -3 1h3l-1 4 4 -6h-3z'),
  cross: new Path2D('M-3 -3 3 3M3 -3 -3 3'),
} as const;
type Shape = keyof typeof shapes;

function marksOf({ line, security }: GraphEdge): readonly Shape[] {
  if (line === 'denied') return ['cross'];
  const marks: Shape[] = [];
  if (security === 'mutual-tls') marks.push('lock');
  else if (security === 'none' || line === 'plain') marks.push('open');
  if (line === 'kernel') marks.push('bolt');
  return marks;
}

/** Below it the marks would only be dots. */
const zoomLeast = 0.7;
const radius = 7;

/** Draws onto the canvas, which has the size of the graph's container. */
export function drawMarks(cy: Core, canvas: HTMLCanvasElement, colors: Colors): void {
  const context = canvas.getContext('2d');
  if (!context) return;
  const ratio = window.devicePixelRatio;
  const [width, height] = [cy.width(), cy.height()];
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, canvas.width, canvas.height);
  if (cy.zoom() < zoomLeast) return;
  const size = Math.min(1.3, cy.zoom());
  cy.edges().forEach((edge: EdgeSingular) => {
    if (edge.hasClass('hidden') || edge.hasClass('faded')) return;
    const { x, y } = edge.renderedMidpoint();
    if (!(x > -20 && y > -20 && x < width + 20 && y < height + 20)) return;
    const marks = marksOf(edge.data('state') as GraphEdge);
    marks.forEach((mark, index) => {
      const shift = (index - (marks.length - 1) / 2) * 2 * radius * size;
      const color =
        mark === 'lock'
          ? colors.good
          : mark === 'bolt'
            ? colors.kernel
            : mark === 'open'
              ? colors.warn
              : colors.bad;
      context.setTransform(ratio * size, 0, 0, ratio * size, (x + shift) * ratio, y * ratio);
      context.beginPath();
      context.arc(0, 0, radius, 0, 2 * Math.PI);
      context.fillStyle = colors.surface;
      context.strokeStyle = color;
      context.lineWidth = 1.2;
      context.fill();
      context.stroke(shapes[mark]);
      if (mark !== 'cross') {
        context.fillStyle = color;
        if (mark === 'bolt') context.fill(shapes.bolt);
        else context.fillRect(-3.5, -0.5, 7, 5);
      }
    });
  });
}
