/**
 * Installs the plugin in the node's CNI configuration: at the end of the list that the runtime uses. It is added again if another program
 * rewrites that file, and removed without a trace. Files appear whole: each is written under another name and renamed.
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
/** Suffix of a single plugin's configuration that was converted to a list. No runtime reads files with this suffix. */
const savedSuffix = '.weft-saved';

export interface CniPaths {
  /** Path of the built plugin. */
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

/** Name of the configuration that the runtime uses: the first by name, as in libcni. Undefined if there is none yet. Pure. */
export function activeConf(names: readonly string[]): string | undefined {
  return names.filter((name) => /\.(conflist|conf|json)$/.test(name) && !name.startsWith('.')).sort()[0];
}

/** The configuration with the plugin's entry at the end; undefined if it is already there. Pure. */
function withPlugin(conf: ConfList, entry: Plugin): ConfList | undefined {
  const list: ConfList = conf.plugins
    ? conf
    : { cniVersion: conf.cniVersion ?? '0.3.1', name: conf.name ?? 'network', plugins: [conf] };
  const others = (list.plugins ?? []).filter(({ type }) => type !== pluginType);
  const wanted = [...others, entry];
  return JSON.stringify(list.plugins) === JSON.stringify(wanted) ? undefined : { ...list, plugins: wanted };
}

/** The configuration without the plugin's entry; undefined if there is none. Pure. */
function withoutPlugin(conf: ConfList): ConfList | undefined {
  const others = conf.plugins?.filter(({ type }) => type !== pluginType);
  return !others || others.length === conf.plugins?.length ? undefined : { ...conf, plugins: others };
}

function read(path: string): ConfList {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as ConfList;
  } catch (error) {
    throw new WeftError(
      'WEFT_CNI_CONFIG',
      `${path} cannot be read as a CNI configuration: pods that start now are enrolled only once the agent has found them; correct the file`,
      { cause: error, retryable: true },
    );
  }
}

export class CniInstall {
  /** Stamp of the installed program when its content was last compared, so that it is not read again each second. */
  #seen = '';
  #namespaces: string | undefined;

  constructor(private readonly paths: CniPaths) {}

  /** Installs the plugin, or repairs its installation. Returns whether anything changed. Errors: WEFT_CNI_CONFIG. */
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
      // The list is written first. For a moment both files exist, and the runtime continues with the one that it knows.
      replace(join(confDir, name.replace(/\.(conf|json)$/, '.conflist')), text);
      renameSync(path, `${path}${savedSuffix}`);
    }
    return changed;
  }

  /** Removes the plugin: its entry first, so that no runtime looks for a program that is gone. */
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

  /**
   * The namespaces that writeNamespaces() last wrote, also in a previous agent process; empty on a new node. Throws if the file cannot be
   * read.
   */
  readNamespaces(): ReadonlySet<string> {
    try {
      return new Set(readFileSync(this.paths.namespaces, 'utf8').split('\n').filter(Boolean));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return new Set();
      throw error;
    }
  }

  /** Writes the namespaces whose pods wait while no agent responds. The file outlives the agent and a reboot. */
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
    // The program may be running, so its file is replaced and never written in place.
    renameSync(temporary, to);
    return true;
  }
}
