/** Draws a plot as SVG with Apache ECharts, on the server's side: no browser is needed. */
import { CustomChart, LineChart } from 'echarts/charts';
import { GridComponent } from 'echarts/components';
import { init, use, type EChartsCoreOption } from 'echarts/core';
import { SVGRenderer } from 'echarts/renderers';
import type { Variant } from '../result/result.js';
import { counted, linearTicks, logTicks, valueText } from './axis.js';
import type { Plot, Series } from './plot.js';
import { box, font, label, segment, spreadOut, symbolShape, textWidth, type Shape } from './shapes.js';
import { inks, lookOf, type Look, type Theme } from './theme.js';
import { plain } from './view.js';

use([CustomChart, LineChart, GridComponent, SVGRenderer]);

export interface Drawing {
  readonly variants: readonly Variant[];
  readonly width: number;
  readonly theme: Theme;
}

/** Below this width, in pixels, a plot has fewer ticks and a legend in place of labels at the ends of lines. */
const smallWidth = 480;

type ToPixel = (at: number, value: number) => [number, number];

/** Plots are drawn as shapes over the axes of ECharts, so that whiskers and noise align exactly with their bar or dot. */
export function drawPlot(plot: Plot, { variants, width, theme }: Drawing): string {
  const ink = inks[theme];
  const of = (name: string): string => ink[name] ?? '';
  const looks = new Map(plot.series.map(({ variant }) => [variant, lookOf(variants, variant, theme)]));
  const lookAt = (variant: string): Look => looks.get(variant) ?? { color: of('ink'), symbol: 'circle' };
  const sideways = plot.shape === 'rows' || plot.shape === 'ratios';
  const small = width < smallWidth;
  const names = (plot.shape === 'rows' ? plot.series.map(({ title }) => title) : (plot.x.names ?? [])).map(
    plain,
  );

  // The value axis.
  const values = [
    ...plot.series.flatMap(({ dots }) => dots.flatMap(({ value }) => [value.min, value.max])),
    ...plot.noise.flatMap(({ from, to }) => [from, to]),
    ...(plot.shape === 'ratios' ? [1] : []),
  ].filter((value) => Number.isFinite(value) && (value > 0 || !plot.y.log));
  const largest = values.length > 0 ? Math.max(...values) : 1;
  const smallest = values.length > 0 ? Math.min(...values) : 1;
  const lowest = plot.y.log ? smallest / 1.15 : 0;
  const ticks = plot.y.log
    ? logTicks(lowest, largest * 1.2)
    : linearTicks(largest, sideways && small ? 3 : 5);
  const highest = plot.y.log ? largest * 1.2 : (ticks.at(-1) ?? 1);

  // The other axis.
  const ats = plot.series.flatMap(({ dots, short }) => [...dots.map(({ at }) => at), ...short]);
  const positionsTo = plot.x.names || plot.shape === 'rows' ? names.length - 0.5 : Math.max(...ats, 1) * 1.04;
  const positionsFrom = plot.x.names || plot.shape === 'rows' ? -0.5 : 0;

  // Margins.
  const legendItems = plot.parts
    ? plot.parts.map(({ title }) => title)
    : plot.shape === 'rows'
      ? []
      : plot.series.map(({ title }) => title);
  const direct = plot.shape === 'line' && !small;
  const legendRows: number[][] = [];
  let used = Infinity;
  (direct ? [] : legendItems).forEach((title, at) => {
    const wide = textWidth(title) + 34;
    if (used + wide > width - 8) {
      legendRows.push([]);
      used = 0;
    }
    legendRows.at(-1)?.push(at);
    used += wide;
  });
  const nameRoom = Math.min(
    Math.max(...names.map((name) => textWidth(name)), 0) + 14,
    width * (small ? 0.4 : 0.36),
  );
  const top = 14 + legendRows.length * 20 + (sideways ? 0 : 22);
  const left = sideways
    ? nameRoom
    : Math.max(...ticks.map((tick) => textWidth(valueText(tick, plot.y.unit)))) + 16;
  const right = direct
    ? Math.min(Math.max(...plot.series.map(({ title }) => textWidth(title))) + 22, width * 0.32)
    : sideways
      ? plot.shape === 'rows'
        ? 58
        : 18
      : 14;
  const rowHeight = plot.shape === 'ratios' ? Math.max(26, 10 + 7 * plot.series.length) : 34;
  const bottom = sideways ? 46 : plot.x.title === '' ? 30 : 48;
  const height = sideways
    ? top + bottom + rowHeight * names.length
    : Math.round(Math.min(width * 0.62, 340)) + legendRows.length * 8;

  const valueAxis = {
    type: plot.y.log ? 'log' : 'value',
    min: lowest,
    max: highest,
    axisLine: { show: false },
    axisTick: { show: false },
    splitLine: { show: false },
    minorTick: { show: false },
    axisLabel: {
      customValues: ticks,
      color: of('soft'),
      fontSize: 12,
      fontFamily: font,
      hideOverlap: true,
      formatter: (value: number) => valueText(value, plot.y.unit),
    },
  };
  const positionAxis = {
    type: 'value',
    min: positionsFrom,
    max: positionsTo,
    inverse: sideways,
    axisLine: { show: !sideways, lineStyle: { color: of('line') }, onZero: false },
    axisTick: { show: false },
    splitLine: { show: false },
    axisLabel: {
      show: true,
      color: sideways ? of('ink') : of('soft'),
      fontSize: 12,
      fontFamily: font,
      hideOverlap: !plot.x.names,
      ...(plot.x.names || plot.shape === 'rows'
        ? { customValues: names.map((_, at) => at), interval: 0 }
        : {
            customValues: linearTicks(positionsTo / 1.04, small ? 3 : 5).filter(
              (tick) => tick <= positionsTo,
            ),
          }),
      formatter: (value: number) =>
        plot.x.names || plot.shape === 'rows' ? (names[Math.round(value)] ?? '') : counted(value),
      width: sideways ? nameRoom - 10 : Math.max(40, (width - left - right) / Math.max(names.length, 1) - 6),
      overflow: plot.x.names || plot.shape === 'rows' ? 'break' : 'none',
      lineHeight: 14,
    },
  };

  const area = { x: left, y: top, width: width - left - right, height: height - top - bottom };
  const layer = (draw: (to: ToPixel) => Shape[]): object => ({
    type: 'custom',
    silent: true,
    clip: false,
    animation: false,
    data: [[positionsFrom, ticks[0] ?? 1]],
    renderItem: (_: unknown, api: { coord(at: readonly number[]): number[] }) => ({
      type: 'group',
      silent: true,
      children: draw((at, value) => {
        const [x = 0, y = 0] = api.coord(sideways ? [value, at] : [at, value]);
        return [x, y];
      }).map((shape) => ({ silent: true, ...shape })),
    }),
    ...(sideways ? { encode: { x: 1, y: 0 }, data: [[ticks[0] ?? 1, positionsFrom]] } : {}),
  });

  const grid = (to: ToPixel): Shape[] =>
    ticks.map((tick) => {
      const [x, y] = to(positionsFrom, tick);
      const stands = tick === 0 || (plot.shape === 'ratios' && tick === 1);
      const color = stands ? of('line') : of('grid');
      return sideways
        ? segment(x, area.y, x, area.y + area.height, color, 1)
        : segment(area.x, y, area.x + area.width, y, color, 1);
    });

  const titles = (): Shape[] => [
    ...(sideways
      ? [label(plot.y.title, area.x + area.width / 2, height - 12, of('soft'), 'center')]
      : [
          label(plot.y.log ? `${plot.y.title} (log scale)` : plot.y.title, 4, top - 20, of('soft'), 'left'),
          label(plot.x.title, area.x + area.width / 2, height - 12, of('soft'), 'center'),
        ]),
    ...legendRows.flatMap((row, line) => {
      let x = 4;
      return row.flatMap((at) => {
        const title = legendItems[at] ?? '';
        const y = 12 + line * 20;
        const series = plot.series[at];
        const mark = plot.parts
          ? box(x, y - 6, 12, 12, of('soft'), partOpacity[at] ?? 0.2)
          : symbolShape(
              lookAt(series?.variant ?? '').symbol,
              x + 6,
              y,
              5,
              lookAt(series?.variant ?? '').color,
              of('paper'),
            );
        const shapes = [mark, label(title, x + 18, y, of('ink'), 'left')];
        x += textWidth(title) + 34;
        return shapes;
      });
    }),
  ];

  const count = plot.series.length;
  const dodge = (index: number): number => (count < 2 ? 0 : index / (count - 1) - 0.5);
  const placed = (series: Series): { at: number; median: number; min: number; max: number }[] =>
    series.dots
      // A logarithmic axis cannot show 0. The data table has the value.
      .filter(({ value }) => value.median > 0 || !plot.y.log)
      .map(({ at, value }) => ({ at, ...value, min: plot.y.log ? Math.max(value.min, lowest) : value.min }));

  const noise = (to: ToPixel): Shape[] => {
    if (plot.shape === 'line') {
      const points = [
        ...plot.noise.map(({ at, to: high }) => to(at, high)),
        ...[...plot.noise].reverse().map(({ at, from }) => to(at, from)),
      ];
      return points.length > 2
        ? [{ type: 'polygon', shape: { points }, style: { fill: of('band'), opacity: 0.28 } }]
        : [];
    }
    return plot.noise.map(({ at, from, to: high }) => {
      const [x1, y1] = to(at - 0.44, from);
      const [x2, y2] = to(at + 0.44, high);
      return box(Math.min(x1, x2), Math.min(y1, y2), Math.abs(x2 - x1), Math.abs(y2 - y1), of('band'), 0.28);
    });
  };

  const whisker = (
    to: ToPixel,
    at: number,
    min: number,
    max: number,
    color: string,
    cap: number,
  ): Shape[] => {
    const [x1, y1] = to(at, min);
    const [x2, y2] = to(at, max);
    return [
      segment(x1, y1, x2, y2, color, 1.5),
      ...(cap > 0
        ? [
            sideways
              ? segment(x1, y1 - cap, x1, y1 + cap, color, 1.5)
              : segment(x1 - cap, y1, x1 + cap, y1, color, 1.5),
            sideways
              ? segment(x2, y2 - cap, x2, y2 + cap, color, 1.5)
              : segment(x2 - cap, y2, x2 + cap, y2, color, 1.5),
          ]
        : []),
    ];
  };

  const missed = (series: Series, to: ToPixel, shift: number): Shape[] =>
    series.short.flatMap((at) => {
      const [x] = to(at + shift, lowest || 1);
      const y = area.y + 4;
      const { color } = lookAt(series.variant);
      return [segment(x - 4, y - 4, x + 4, y + 4, color, 2), segment(x - 4, y + 4, x + 4, y - 4, color, 2)];
    });

  const marks = (to: ToPixel): Shape[] => {
    const shapes: Shape[] = [];
    if (plot.shape === 'rows') {
      plot.series.forEach((series, row) => {
        const { color } = lookAt(series.variant);
        const [dot] = series.dots;
        if (!dot) return;
        const thick = Math.min(rowHeight * 0.6, 20);
        let from = 0;
        for (const [at, value] of (
          plot.parts?.map(({ values: by }) => by[row]?.median) ?? [dot.value.median]
        ).entries()) {
          if (value === undefined) continue;
          const [x1, y] = to(row, from);
          const [x2] = to(row, from + value);
          shapes.push(
            box(
              x1,
              y - thick / 2,
              x2 - x1 - (plot.parts ? 1 : 0),
              thick,
              color,
              plot.parts ? partOpacity[at] : 1,
            ),
          );
          from += value;
        }
        shapes.push(...whisker(to, row, dot.value.min, dot.value.max, of('ink'), 4));
        const [end, y] = to(row, Math.max(dot.value.max, from));
        shapes.push(label(valueText(dot.value.median, plot.y.unit), end + 6, y, of('ink'), 'left'));
      });
      return shapes;
    }
    if (plot.shape === 'bars') {
      const wide = 0.86 / Math.max(count, 1);
      plot.series.forEach((series, index) => {
        const { color } = lookAt(series.variant);
        for (const { at, median, min, max } of placed(series)) {
          const middle = at + (index - (count - 1) / 2) * wide;
          const [x1, y1] = to(middle - wide * 0.45, median);
          const [x2, y2] = to(middle + wide * 0.45, 0);
          shapes.push(box(x1, y1, x2 - x1, y2 - y1, color));
          shapes.push(...whisker(to, middle, min, max, of('ink'), Math.min(3, (x2 - x1) / 3)));
        }
        shapes.push(...missed(series, to, (index - (count - 1) / 2) * wide));
      });
      return shapes;
    }
    plot.series.forEach((series, index) => {
      const { color, symbol } = lookAt(series.variant);
      const shift = plot.shape === 'line' ? 0 : dodge(index) * (plot.shape === 'ratios' ? 0.66 : 0.5);
      const dots = placed(series);
      if (plot.shape !== 'ratios') {
        dots.slice(1).forEach((dot, at) => {
          const before = dots[at];
          if (!before) return;
          const [x1, y1] = to(before.at + shift, before.median);
          const [x2, y2] = to(dot.at + shift, dot.median);
          shapes.push(
            segment(
              x1,
              y1,
              x2,
              y2,
              color,
              plot.shape === 'line' ? 2.2 : 1.2,
              plot.shape === 'line' ? 1 : 0.4,
            ),
          );
        });
      }
      for (const { at, median, min, max } of dots) {
        shapes.push(...whisker(to, at + shift, min, max, color, plot.shape === 'ratios' ? 0 : 3));
        const [x, y] = to(at + shift, median);
        shapes.push(symbolShape(symbol, x, y, small ? 4 : 4.5, color, of('paper')));
      }
      shapes.push(...missed(series, to, shift));
    });
    return shapes;
  };

  const ends = (to: ToPixel): Shape[] => {
    if (!direct) return [];
    const last = plot.series.flatMap((series) => {
      const dot = placed(series).at(-1);
      return dot ? [{ series, place: to(dot.at, dot.median) }] : [];
    });
    const ys = spreadOut(
      last.map(({ place: [, y] }) => y),
      17,
      area.y,
      area.y + area.height,
    );
    return last.flatMap(({ series, place: [x, y] }, at) => {
      const { color } = lookAt(series.variant);
      const edge = area.x + area.width;
      return [
        segment(x + 7, y, edge + 4, ys[at] ?? y, color, 1, 0.5),
        label(series.title, edge + 9, ys[at] ?? y, of('ink'), 'left'),
      ];
    });
  };

  const option: EChartsCoreOption = {
    animation: false,
    backgroundColor: 'transparent',
    textStyle: { fontFamily: font },
    grid: { left, right, top, bottom, containLabel: false },
    xAxis: sideways ? valueAxis : positionAxis,
    yAxis: sideways ? positionAxis : valueAxis,
    series: [grid, noise, marks, ends, titles].map(layer),
  };
  const chart = init(null, null, { renderer: 'svg', ssr: true, width, height });
  try {
    chart.setOption(option);
    return tidy(chart.renderToSVGString());
  } finally {
    chart.dispose();
  }
}

const partOpacity: readonly number[] = [1, 0.55, 0.25];

/** Removes classes and rules for pointers: the plot is not interactive. */
const tidy = (svg: string): string =>
  svg
    .replace(/<style ?>[\s\S]*?<\/style>\s*/g, '')
    .replace(/ (?:class|ecmeta_[a-z_]+|pointer-events)="[^"]*"/g, '')
    .replace(/\n+/g, '\n');
