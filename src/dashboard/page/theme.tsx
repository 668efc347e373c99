/** Light or dark: as the system says, until the reader chooses. */
import { useEffect, useState } from 'preact/hooks';

type Theme = 'light' | 'dark';
const key = 'weft-theme';
const system = matchMedia('(prefers-color-scheme: dark)');

/** Pages of files may have no storage. */
function chosenTheme(): Theme | undefined {
  try {
    const kept = localStorage.getItem(key);
    return kept === 'light' || kept === 'dark' ? kept : undefined;
  } catch {
    return undefined;
  }
}

let chosen = chosenTheme();
const themeNow = (): Theme => chosen ?? (system.matches ? 'dark' : 'light');
const changed = new EventTarget();
const apply = (): void => {
  document.documentElement.dataset.theme = themeNow();
  changed.dispatchEvent(new Event('change'));
};
apply();
system.addEventListener('change', apply);

export function useTheme(): Theme {
  const [theme, setTheme] = useState(themeNow);
  useEffect(() => {
    const update = (): void => setTheme(themeNow());
    changed.addEventListener('change', update);
    return () => changed.removeEventListener('change', update);
  }, []);
  return theme;
}

export function ThemeButton() {
  const other = useTheme() === 'dark' ? 'light' : 'dark';
  const choose = (): void => {
    chosen = other;
    try {
      localStorage.setItem(key, other);
    } catch {
      // It is for this page only, then.
    }
    apply();
  };
  return (
    <button
      type="button"
      class="theme"
      aria-label={`Use ${other} colors`}
      title={`Use ${other} colors`}
      onClick={choose}
    >
      <svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
        <circle cx="8" cy="8" r="6" />
        <path d="M8 2a6 6 0 0 0 0 12z" class="half" />
      </svg>
    </button>
  );
}
