/** Plots of a result as SVG files. */
import type { BenchResult } from '../result/result.js';
import { drawPlot } from './draw.js';
import { plotsIn } from './plots.js';
import type { Theme } from './theme.js';

/** Files for documents: each plot light and dark, `<name>.svg` and `<name>-dark.svg`. */
export function plotFiles(result: BenchResult): { readonly name: string; readonly svg: string }[] {
  const taken = new Set<string>();
  return plotsIn(result).flatMap((plot) => {
    const isFree = (of: string): boolean => !taken.has(of) && !taken.has(`${of}-dark`);
    let name = plot.name;
    for (let next = 2; !isFree(name); next++) name = `${plot.name}-${next}`;
    taken.add(name).add(`${name}-dark`);
    const draw = (theme: Theme): string => drawPlot(plot, { variants: result.variants, width: 720, theme });
    return [
      { name: `${name}.svg`, svg: draw('light') },
      { name: `${name}-dark.svg`, svg: draw('dark') },
    ];
  });
}
