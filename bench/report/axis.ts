/** Ticks and labels of axes. */

/** Three significant digits. From 10 000 on in thousands: `12k`. */
export const counted = (value: number): string => {
  const text = Number(value.toPrecision(3));
  return text >= 10_000 ? `${Number((text / 1000).toPrecision(3))}k` : String(text);
};

/** Label of a value with its unit: `250 µs`, `1 ms`, `12k`. */
export function valueText(value: number, unit: string): string {
  if (unit === 'x') return `${Number(value.toPrecision(2))}×`;
  if (unit === 'us') {
    if (value >= 1e6) return `${counted(value / 1e6)} s`;
    return value >= 1000 ? `${counted(value / 1000)} ms` : `${counted(value)} µs`;
  }
  if (unit === 'ms' && value >= 1000) return `${counted(value / 1000)} s`;
  if (unit === 'MB' && value >= 1000) return `${counted(value / 1000)} GB`;
  return unit === '1/s' ? counted(value) : `${counted(value)} ${unit}`;
}

/** Ticks of a logarithmic axis: 1, 2 and 5 times powers of ten, at most 8. */
export function logTicks(from: number, to: number): number[] {
  const all = (of: readonly number[]): number[] => {
    const ticks: number[] = [];
    for (let power = Math.floor(Math.log10(from)); power <= Math.ceil(Math.log10(to)); power++) {
      for (const digit of of) {
        const tick = Number((digit * 10 ** power).toPrecision(6));
        if (tick >= from * 0.999 && tick <= to * 1.001) ticks.push(tick);
      }
    }
    return ticks;
  };
  return [[1, 2, 5], [1, 3], [1]].map(all).find((ticks) => ticks.length <= 8) ?? all([1]);
}

/** Ticks of a linear axis: from zero, in steps of 1, 2 or 5 times a power of ten, to just above the maximum. */
export function linearTicks(to: number, count = 5): number[] {
  if (!(to > 0)) return [0, 1];
  const raw = to / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = ([1, 2, 5, 10].find((one) => one * power >= raw) ?? 10) * power;
  return Array.from({ length: Math.ceil(to / step - 1e-9) + 1 }, (_, at) =>
    Number((at * step).toPrecision(6)),
  );
}
