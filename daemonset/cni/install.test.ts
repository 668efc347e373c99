import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { activeConf, CniInstall } from './install.js';

let dir = '';
let install: CniInstall;
const conf = (name: string): string => join(dir, 'net.d', name);
const write = (name: string, value: object): void => writeFileSync(conf(name), JSON.stringify(value));
const typesOf = (name: string): (string | undefined)[] =>
  (JSON.parse(readFileSync(conf(name), 'utf8')) as { plugins: { type?: string }[] }).plugins.map(
    ({ type }) => type,
  );
const bridge = { cniVersion: '0.4.0', name: 'net', plugins: [{ type: 'bridge' }, { type: 'portmap' }] };

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'weft-cni-'));
  mkdirSync(join(dir, 'net.d'));
  writeFileSync(join(dir, 'program'), 'binary');
  install = new CniInstall({
    program: join(dir, 'program'),
    binDir: join(dir, 'bin'),
    confDir: join(dir, 'net.d'),
    socket: '/run/weft/agent/cni/socket',
    namespaces: join(dir, 'state', 'cni', 'namespaces'),
    whenAgentIsAway: 'wait',
  });
});
afterEach(() => rmSync(dir, { recursive: true }));

test('installs the program and one entry at the end of the configuration that the runtime uses', () => {
  write('10-net.conflist', bridge);
  write('20-other.conflist', bridge);
  assert.equal(install.keep(), true);
  assert.deepEqual(typesOf('10-net.conflist'), ['bridge', 'portmap', 'weft-cni']);
  assert.deepEqual(typesOf('20-other.conflist'), ['bridge', 'portmap']);
  assert.equal(statSync(join(dir, 'bin', 'weft-cni')).mode & 0o777, 0o755);
  assert.equal(install.keep(), false, 'nothing is written if nothing has changed');
});

test('adds the entry again after the owner of the configuration has rewritten it', () => {
  write('10-net.conflist', bridge);
  install.keep();
  write('10-net.conflist', { ...bridge, plugins: [{ type: 'calico' }] });
  assert.equal(install.keep(), true);
  assert.deepEqual(typesOf('10-net.conflist'), ['calico', 'weft-cni']);
});

test('converts a single plugin to a list, and back on removal', () => {
  write('10-net.conf', { cniVersion: '0.3.1', name: 'net', type: 'bridge', bridge: 'cni0' });
  const before = readFileSync(conf('10-net.conf'), 'utf8');
  install.keep();
  assert.equal(activeConf(readdirSync(join(dir, 'net.d'))), '10-net.conflist');
  assert.deepEqual(typesOf('10-net.conflist'), ['bridge', 'weft-cni']);
  assert.equal(install.keep(), false);
  install.remove();
  assert.deepEqual(readdirSync(join(dir, 'net.d')), ['10-net.conf']);
  assert.equal(readFileSync(conf('10-net.conf'), 'utf8'), before);
});

test('removal leaves the other entries and nothing of its own', () => {
  write('10-net.conflist', bridge);
  install.writeNamespaces(['b', 'a']);
  assert.equal(readFileSync(join(dir, 'state', 'cni', 'namespaces'), 'utf8'), 'a\nb\n');
  assert.deepEqual([...install.readNamespaces()], ['a', 'b']);
  install.keep();
  install.remove();
  assert.deepEqual(JSON.parse(readFileSync(conf('10-net.conflist'), 'utf8')), bridge);
  assert.deepEqual(readdirSync(join(dir, 'bin')), []);
  assert.ok(!existsSync(join(dir, 'state', 'cni')));
});

test('a missing or unreadable configuration is not changed, and the error says so', () => {
  assert.throws(() => install.keep(), /holds no CNI configuration yet/);
  writeFileSync(conf('10-net.conflist'), '{');
  assert.throws(() => install.keep(), /cannot be read/);
  assert.equal(readFileSync(conf('10-net.conflist'), 'utf8'), '{');
});

test('the runtime uses the first configuration by name, whatever its suffix', () => {
  assert.equal(activeConf(['z.conf', 'b.conflist', 'a.txt', '.c.conflist.weft-new']), 'b.conflist');
  assert.equal(activeConf([]), undefined);
});

test('an unreadable list of namespaces does not count as empty', () => {
  const places = (namespaces: string) =>
    new CniInstall({
      program: '',
      binDir: '',
      confDir: '',
      socket: '',
      namespaces,
      whenAgentIsAway: 'wait',
    });
  assert.deepEqual([...places(join(dir, 'none')).readNamespaces()], []);
  writeFileSync(join(dir, 'names'), 'shop\nbank\n');
  assert.deepEqual([...places(join(dir, 'names')).readNamespaces()], ['shop', 'bank']);
  assert.throws(() => places(dir).readNamespaces(), { code: 'EISDIR' });
});
