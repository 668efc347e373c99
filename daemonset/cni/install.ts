/**
 * The plugin in the node's CNI configuration: put at the end of the list that the runtime uses, kept there whoever writes that file
 * anew, and taken out again without a trace. Files appear whole: each is written beside and renamed.
 */
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { WeftError } from '../../src/base/errors.js';

const pluginType = 'weft-cni';
/** A single plugin's configuration that was made a list: what it was is kept under this ending, which no runtime reads. */
const savedSuffix = '.weft-saved';

export interface CniPaths {
  /** The plugin as it was built. */
  readonly program: string;
  readonly binDir: string;
  readonly confDir: string;
  readonly socket: string;
  readonly namespaces: string;
  readonly whenAgentIsAway: 'wait' | 'start';
}

interface Plugin {
  readonly type?: string;
}
interface ConfList {
  readonly name?: string;
  readonly cniVersion?: string;
  readonly plugins?: readonly Plugin[];
  readonly type?: string;
}

const stampOf = (path: string): string => {
  const { ino, size, mtimeMs } = statSync(path);
  return `${ino} ${size} ${mtimeMs}`;
};

function replace(path: string, text: string): void {
  const temporary = join(dirname(path), `.${basename(path)}.weft-new`);
  writeFileSync(temporary, text, { mode: 0o644 });
  renameSync(temporary, path);
}

/** The configuration that the runtime uses: the first by name (libcni). Undefined where there is none yet. */
export function activeConf(names: readonly string[]): string | undefined {
  return names.filter((name) => /\.(conflist|conf|json)$/.test(name) && !name.startsWith('.')).sort()[0];
}

/** With the plugin at its end, where it is not there as it should be; undefined where nothing is to be done. Pure. */
export function withPlugin(conf: ConfList, entry: Plugin): ConfList | undefined {
  const list: ConfList = conf.plugins
    ? conf
    : { cniVersion: conf.cniVersion ?? '0.3.1', name: conf.name ?? 'network', plugins: [conf] };
  const others = (list.plugins ?? []).filter(({ type }) => type !== pluginType);
  const wanted = [...others, entry];
  return JSON.stringify(list.plugins) === JSON.stringify(wanted) ? undefined : { ...list, plugins: wanted };
}

/** Without it; undefined where it is not there. Pure. */
export function withoutPlugin(conf: ConfList): ConfList | undefined {
  const others = conf.plugins?.filter(({ type }) => type !== pluginType);
  return !others || others.length === conf.plugins?.length ? undefined : { ...conf, plugins: others };
}

function read(path: string): ConfList {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as ConfList;
  } catch (error) {
    throw new WeftError(
      'WEFT_CNI_CONFIG',
      `${path} cannot be read as a CNI configuration: pods that start now are in the mesh only once the agent has found them`,
      { cause: error, retryable: true },
    );
  }
}

export class CniInstall {
  /** The program as it was last seen to be right: its content is not read again each second. */
  #seen = '';
  #namespaces: string | undefined;

  constructor(private readonly paths: CniPaths) {}

  /** Puts right what is not; tells whether something was. Errors: WEFT_CNI_CONFIG. */
  keep(): boolean {
    const { binDir, confDir, program, socket, namespaces, whenAgentIsAway } = this.paths;
    const name = activeConf(existsSync(confDir) ? readdirSync(confDir) : []);
    if (name === undefined) {
      throw new WeftError('WEFT_CNI_CONFIG', `${confDir} holds no CNI configuration yet`, {
        retryable: true,
      });
    }
    let changed = this.#copyProgram(program, binDir);
    const path = join(confDir, name);
    const list = withPlugin(read(path), { type: pluginType, socket, namespaces, whenAgentIsAway } as Plugin);
    if (!list) return changed;
    changed = true;
    const text = `${JSON.stringify(list, null, 2)}\n`;
    if (name.endsWith('.conflist') || (name.endsWith('.json') && read(path).plugins)) replace(path, text);
    else {
      // The list first: for a moment both are there, and the runtime goes on with the one that it knows.
      replace(join(confDir, name.replace(/\.(conf|json)$/, '.conflist')), text);
      renameSync(path, `${path}${savedSuffix}`);
    }
    return changed;
  }

  /** Takes it out again: the entry first, so that no runtime looks for a program that is gone. */
  remove(): void {
    const { binDir, confDir } = this.paths;
    for (const name of existsSync(confDir) ? readdirSync(confDir) : []) {
      const path = join(confDir, name);
      if (name.endsWith(savedSuffix)) {
        const original = path.slice(0, -savedSuffix.length);
        if (!existsSync(original)) renameSync(path, original);
        rmSync(original.replace(/\.(conf|json)$/, '.conflist'), { force: true });
        continue;
      }
      if (!name.endsWith('.conflist') && !name.endsWith('.json')) continue;
      if (!existsSync(path)) continue;
      const list = withoutPlugin(read(path));
      if (list) replace(path, `${JSON.stringify(list, null, 2)}\n`);
    }
    rmSync(join(binDir, pluginType), { force: true });
    rmSync(dirname(this.paths.namespaces), { recursive: true, force: true });
  }

  /** What writeNamespaces() last put there, also in a former life of the agent; nothing on a new node. Throws where that is not known. */
  readNamespaces(): ReadonlySet<string> {
    try {
      return new Set(readFileSync(this.paths.namespaces, 'utf8').split('\n').filter(Boolean));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return new Set();
      throw error;
    }
  }

  /** Namespaces whose pods wait while no agent answers; it outlives the agent and a reboot. */
  writeNamespaces(names: Iterable<string>): void {
    const path = this.paths.namespaces;
    const text = [...names]
      .sort()
      .map((name) => `${name}\n`)
      .join('');
    if (text === this.#namespaces && existsSync(path)) return;
    mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
    replace(path, text);
    this.#namespaces = text;
  }

  #copyProgram(from: string, binDir: string): boolean {
    const to = join(binDir, pluginType);
    if (existsSync(to)) {
      const seen = stampOf(to);
      if (seen === this.#seen) return false;
      if (readFileSync(to).equals(readFileSync(from))) {
        this.#seen = seen;
        return false;
      }
    }
    mkdirSync(binDir, { recursive: true });
    const temporary = join(binDir, `.${pluginType}.new`);
    copyFileSync(from, temporary);
    chmodSync(temporary, 0o755);
    // It may be running: its file is replaced, never written.
    renameSync(temporary, to);
    return true;
  }
}
