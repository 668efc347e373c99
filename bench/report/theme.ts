/** Colors and symbols of plots and of the page, light and dark. */
import type { Variant } from '../result/result.js';

export type Theme = 'light' | 'dark';

/** Colors of plots and of the page. Each light color is unique, because the page replaces it by a variable. */
export const inks: Readonly<Record<Theme, Readonly<Record<string, string>>>> = {
  light: {
    ink: '#1b1f27',
    soft: '#596273',
    line: '#c9cfd9',
    grid: '#e9ecf1',
    band: '#8d97a8',
    paper: '#fefefe',
  },
  dark: {
    ink: '#eceff5',
    soft: '#a3adbe',
    line: '#4a5364',
    grid: '#2a313d',
    band: '#7c879a',
    paper: '#161a21',
  },
};

/** Colors that people with color blindness can distinguish too (after Okabe and Ito), in this order. No mesh has the last one. */
const colors: Readonly<Record<Theme, readonly string[]>> = {
  light: ['#d55e00', '#0072b2', '#009e73', '#b9579a', '#a67c00', '#4ba3d6', '#5d6675'],
  dark: ['#f58a3c', '#4aa8e8', '#2cc79a', '#e08cc2', '#e3b53c', '#8fd0f5', '#b4bdcb'],
};
const symbols = ['circle', 'rect', 'triangle', 'diamond', 'down', 'cross'] as const;
export type Symbol = (typeof symbols)[number] | 'ring';

export interface Look {
  readonly color: string;
  readonly symbol: Symbol;
}

/** Color and symbol of a variant, the same in every plot. */
export function lookOf(variants: readonly Variant[], name: string, theme: Theme): Look {
  const palette = colors[theme];
  const at = variants
    .filter(({ kind }) => kind !== 'none' && kind !== 'noise')
    .findIndex((one) => one.name === name);
  const pick = (of: number): string => palette[of] ?? '';
  return at < 0
    ? { color: pick(palette.length - 1), symbol: 'ring' }
    : { color: pick(at % (palette.length - 1)), symbol: symbols[at % symbols.length] ?? 'circle' };
}

/** Each color of the light theme, with the name of its variable in a page. */
export const variables: readonly { readonly name: string; readonly light: string; readonly dark: string }[] =
  [
    ...Object.entries(inks.light).map(([name, light]) => ({ name, light, dark: inks.dark[name] ?? light })),
    ...colors.light.map((light, at) => ({ name: `v${at}`, light, dark: colors.dark[at] ?? light })),
  ];
