// Writes daemonset/maps/rows.generated.ts from the BTF of a built object: the maps' names, the constants, and a class of typed
// rows for each struct that the eBPF programs and the agent share (bpf/lib/abi.h). native/build.sh runs it.
// usage: node native/generate-rows.mjs [--print] [OBJECT]
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const output = join(root, 'daemonset', 'maps', 'rows.generated.ts');
const ringBuffer = 27; // BPF_MAP_TYPE_RINGBUF

const capitalized = (name) => name.charAt(0).toUpperCase() + name.slice(1);
const camel = (name) => name.toLowerCase().replace(/_(\w)/g, (_, letter) => letter.toUpperCase());
const plural = (name) => (name.endsWith('s') ? name : `${name}s`);
/** Structs with another name in TypeScript. C keeps the old name, since struct names are part of a layout's identity. */
const renamed = { weft_note: 'HandoffRow', weft_note_key: 'HandoffKey' };
/** weft_pod -> PodRow, weft_pod_addr_key -> PodAddrKey */
const className = (struct) => {
  if (renamed[struct]) return renamed[struct];
  const name = capitalized(camel(struct.slice('weft_'.length)));
  return name.endsWith('Key') ? name : `${name}Row`;
};
const fieldsName = (struct) => `${className(struct).replace(/Row$/, '')}Fields`;

/** C type -> TypeScript type of the field, code that reads it, code that writes it. `at`: an offset. */
const scalars = {
  __u16: ['U16', (at) => `getUint16(${at}, little)`, (at, v) => `setUint16(${at}, ${v}, little)`],
  __be16: ['Be16', (at) => `getUint16(${at}, false)`, (at, v) => `setUint16(${at}, ${v}, false)`],
  __u32: ['U32', (at) => `getUint32(${at}, little)`, (at, v) => `setUint32(${at}, ${v}, little)`],
  __be32: ['Be32', (at) => `getUint32(${at}, false)`, (at, v) => `setUint32(${at}, ${v}, false)`],
  __u64: ['U64', (at) => `getBigUint64(${at}, little)`, (at, v) => `setBigUint64(${at}, ${v}, little)`],
};

/** One field: its types for reading and for writing, and the code for both. */
function fieldCode(struct, [field, offset, size, type, count]) {
  const name = camel(field);
  if (type === 'weft_ip' && count === 0)
    return {
      name,
      read: 'IpAddress',
      write: 'IpAddress | undefined',
      get: `readIp(this.raw, ${offset})`,
      put: `writeIp(bytes, ${offset}, row.${name});`,
    };
  if (type === '__u8' && count > 0)
    return {
      name,
      read: 'Uint8Array',
      write: 'Uint8Array',
      get: `this.raw.subarray(${offset}, ${offset + size})`,
      put: `bytes.set(row.${name}, ${offset});`,
    };
  const scalar = scalars[type];
  if (scalar) {
    const [alias, get, set] = scalar;
    if (count === 0)
      return {
        name,
        read: alias,
        write: alias,
        get: `this.view.${get(offset)}`,
        put: `view.${set(offset, `row.${name}`)};`,
      };
    const at = Array.from({ length: count }, (_, i) => offset + (i * size) / count);
    const tuple = `readonly [${at.map(() => alias).join(', ')}]`;
    return {
      name,
      read: tuple,
      write: tuple,
      get: `[${at.map((one) => `this.view.${get(one)}`).join(', ')}]`,
      put: at.map((one, i) => `view.${set(one, `row.${name}[${i}]`)};`).join('\n    '),
    };
  }
  if (type.startsWith('weft_') && count === 0)
    return {
      name,
      read: className(type),
      write: fieldsName(type),
      get: `new ${className(type)}(this.raw.subarray(${offset}, ${offset + size}))`,
      put: `bytes.set(${className(type)}.encode(row.${name}), ${offset});`,
    };
  throw new Error(`${struct}.${field}: type ${type}[${count}] is not supported: add it to fieldCode()`);
}

function structCode(struct, size, fields) {
  const code = fields.filter(([field]) => !field.startsWith('pad')).map((field) => fieldCode(struct, field));
  const needsView = code.some(({ put }) => put.includes('view.'));
  return `/** Fields of struct ${struct}, for writing. Padding is omitted. */
export interface ${fieldsName(struct)} {
${code.map(({ name, write }) => `  readonly ${name}: ${write};`).join('\n')}
}
/** struct ${struct}, ${size} bytes, read in place. */
export class ${className(struct)} extends Row implements ${fieldsName(struct)} {
${code.map(({ name, read, get }) => `  get ${name}(): ${read} {\n    return ${get};\n  }`).join('\n')}
  static encode(row: ${fieldsName(struct)}): Uint8Array {
    const bytes = new Uint8Array(${size});
${needsView ? '    const view = new DataView(bytes.buffer);\n' : ''}${code.map(({ put }) => `    ${put}`).join('\n')}
    return bytes;
  }
}
`;
}

/** The common prefix of the enumerators' names, up to the last underscore. */
function commonPrefix(names) {
  let prefix = names[0] ?? '';
  for (const name of names) while (!name.startsWith(prefix)) prefix = prefix.slice(0, -1);
  return prefix.slice(0, prefix.lastIndexOf('_') + 1);
}

/** An enum with a _COUNT enumerator becomes an array of names by value; every other one becomes a record. */
function enumCode(name, enumerators) {
  const isClosing = ([enumerator]) => /_(COUNT|SLOTS)$/.test(enumerator);
  const values = enumerators.filter((one) => !isClosing(one));
  const prefix = commonPrefix(values.map(([enumerator]) => enumerator));
  const short = (enumerator) => enumerator.slice(prefix.length);
  const constant = plural(camel(name.slice('weft_'.length)));
  if (enumerators.some(([enumerator]) => enumerator.endsWith('_COUNT'))) {
    if (values.some(([, value], index) => value !== index))
      throw new Error(`${name} has gaps: values must be consecutive from 0`);
    const items = values.map(
      ([enumerator]) => `  '${short(enumerator).toLowerCase().replaceAll('_', '-')}',`,
    );
    return `/** enum ${name}: names by value. */\nexport const ${constant} = [\n${items.join('\n')}\n] as const;\n`;
  }
  const items = values.map(([enumerator, value]) => `  ${camel(short(enumerator))}: ${value},`);
  return `/** enum ${name} */\nexport const ${constant} = {\n${items.join('\n')}\n} as const;\n`;
}

/** The source of the generated module, from the types of an object. */
function moduleCode(addon, object) {
  const layout = addon.objectLayout(object);
  const { structs, enums } = addon.objectTypes(object);
  const own = Object.entries(structs)
    .filter(([name]) => name !== 'weft_ip' && name in layout.structs && name !== 'weft_layout')
    .sort(([a], [b]) => (a < b ? -1 : 1));
  const names = (isRing) =>
    Object.entries(layout.maps)
      .filter(([, { type }]) => (type === ringBuffer) === isRing)
      .map(([name]) => `\n  | '${name}'`)
      .sort()
      .join('');
  const table = own.map(([name, fields]) => {
    const places = fields.map(([field, offset, size]) => `${field}: [${offset}, ${size}]`);
    return `  ${name}: [${layout.structs[name][0]}, { ${places.join(', ')} }],`;
  });
  const classes = own.map(([name, fields]) => structCode(name, layout.structs[name][0], fields)).join('\n');
  const aliases = Object.values(scalars)
    .map(([alias]) => alias)
    .filter((alias) => classes.includes(`: ${alias}`))
    .sort();
  return `// Generated by native/generate-rows.mjs from the BTF of bpf/build/sockops.bpf.o. Do not edit: change bpf/lib/abi.h, npm run build.
import type { IpAddress } from '../../src/model/address.js';
import { Row, little, readIp, writeIp, ${aliases.map((alias) => `type ${alias}`).join(', ')} } from './row.js';

/** Pinned maps that have rows. */
export type MapName =${names(false)};
/** Pinned ring buffers. */
export type RingName =${names(true)};

${Object.entries(enums)
  .sort(([a], [b]) => (a < b ? -1 : 1))
  .map(([name, enumerators]) => enumCode(name, enumerators))
  .join('\n')}
/** struct -> [size, {field: [offset, size]}], bytes. */
export const structs = {
${table.join('\n')}
} as const;

${classes}`;
}

const print = process.argv.includes('--print');
const object = resolve(
  process.argv.slice(2).find((argument) => !argument.startsWith('--')) ??
    join(root, 'bpf', 'build', 'sockops.bpf.o'),
);
const addon = createRequire(import.meta.url)(join(root, 'native', 'build', 'Release', 'weft.node'));
const text = moduleCode(addon, object);
if (print) process.stdout.write(text);
// Written only if it differs: tsc goes by the file's modification time.
else if (!existsSync(output) || readFileSync(output, 'utf8') !== text) writeFileSync(output, text);
