/** Parts of a testbed, or of the agent of this machine: what a state directory, log files and admin ports say. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { errorText } from '../../base/errors.js';
import { isRecord } from '../../base/record.js';
import { isManifest, manifestBytesMax, readManifests } from '../../kubernetes/manifests.js';
import { edgesKeptMs } from '../../model/edge.js';
import { adminGet, adminPort } from '../admin.js';
import { changesQuestion } from '../changes/command.js';
import { askState } from '../control-admin.js';
import { edgesQuestion } from '../edges/edges-question.js';
import { agentProcess, readReadiness, runDirOf } from '../standalone/agent.js';
import { carrierProcess } from '../standalone/carrier.js';
import { readLedger, type Ledger } from '../standalone/ledger.js';
import { statusOf } from '../status.js';
import { fileName, type Content, type Part } from './collect.js';
import { machineParts, tailOf, versions } from './machine.js';
import { pickedKindOf, pickedObject } from './picked-objects.js';

const metricsPort = 15020;
const filesMax = 10_000;

/** JSON of a program, which is text if it is not JSON. */
export function jsonContent(text: string): Content {
  try {
    return { value: JSON.parse(text) as unknown };
  } catch {
    return { text };
  }
}

/** What a program says at its admin and metrics ports. */
const programParts = (folder: string, netns: string | undefined, paths: readonly string[]): Part[] => [
  ...paths.map((path) => ({
    file: `${folder}/${path}.json`,
    read: async () => jsonContent(await adminGet(netns, adminPort, `/${path}`)),
  })),
  {
    file: `${folder}/metrics.txt`,
    read: async () => ({ text: await adminGet(netns, metricsPort, '/metrics') }),
  },
];

const logPart = (name: string, path: string): Part => ({
  file: `logs/${fileName(name)}.log`,
  read: () => tailOf(path),
});

/** Logs of Weft's own programs: those of applications in the testbed are not collected. */
function logParts(state: string, { nodes, waypoints }: Ledger): Part[] {
  const own = [
    'control',
    'rate-limiter',
    ...nodes.flatMap(({ name }) => [agentProcess(name), carrierProcess(name)]),
    ...waypoints.flatMap(({ process }) => [process, `${process}.requests`]),
  ];
  const files = own.map((name): [string, string] => [name, join(state, `${name}.log`)]);
  const connections = nodes.map(({ name }): [string, string] => [
    `connections-${name}`,
    join(runDirOf(state, name), 'connections.log'),
  ]);
  // A program that has not run has no log.
  return [...files, ...connections]
    .filter(([, path]) => existsSync(path))
    .map(([name, path]) => logPart(name, path));
}

/** Objects of manifests that Weft reads, by kind. `note`: what could not be read. */
export function objectsOf(dirs: readonly string[]): Content {
  const byKind: Record<string, unknown[]> = {};
  const notes: string[] = [];
  const files = dirs.filter(existsSync).flatMap((dir) =>
    statSync(dir).isDirectory()
      ? readdirSync(dir)
          .filter(isManifest)
          .map((name) => join(dir, name))
      : [dir],
  );
  if (files.length > filesMax) notes.push(`${filesMax} of ${files.length} files`);
  for (const file of files.slice(0, filesMax)) {
    try {
      if (statSync(file).size > manifestBytesMax) throw new Error(`larger than ${manifestBytesMax} bytes`);
      const { manifests, errors } = readManifests(readFileSync(file, 'utf8'));
      // A message may quote the text.
      for (const { line } of errors) notes.push(`${file}:${line}: not a manifest`);
      for (const { value } of manifests) {
        if (!isRecord(value)) continue;
        const kind = pickedKindOf(value['apiVersion'], value['kind']);
        if (!kind) continue;
        const name = kind.group === '' ? kind.plural : `${kind.plural}.${kind.group}`;
        (byKind[name] ??= []).push({ file, ...pickedObject(kind, value) });
      }
    } catch (error) {
      notes.push(`${file}: ${errorText(error)}`);
    }
  }
  return { value: byKind, ...(notes.length === 0 ? {} : { note: notes.join('; ') }) };
}

const controlParts = (state: string): Part[] => {
  const problems = join(state, 'control', 'problems.json');
  return [
    {
      file: 'control/edges.json',
      read: async () => ({
        value: await askState(state, edgesQuestion({ sinceMs: Date.now() - edgesKeptMs })),
      }),
    },
    {
      file: 'control/changes.json',
      read: async () => ({ value: await askState(state, changesQuestion(0)) }),
    },
    ...(existsSync(problems)
      ? [
          {
            file: 'control/problems.json',
            read: () => jsonContent(readFileSync(problems, 'utf8')),
          },
        ]
      : []),
  ];
};

/** All parts of the testbed at `state`; without one, of the agent of this machine. */
export function standaloneParts(state: string): Part[] {
  const ledger = readLedger(state);
  const common: Part[] = [
    { file: 'versions.json', read: () => ({ value: versions() }) },
    { file: 'status.json', read: async () => ({ value: await statusOf(state) }) },
    ...machineParts(),
  ];
  const agent = ['status', 'dump', 'certificates'];
  if (!ledger)
    return [
      ...common,
      ...programParts('nodes/this-node', undefined, agent),
      ...(existsSync(state) ? controlParts(state) : []),
    ];
  return [
    ...common,
    {
      file: 'testbed.json',
      read: () => ({
        value: {
          nodes: ledger.nodes,
          netns: ledger.netns,
          waypoints: ledger.waypoints,
          processes: ledger.processes,
        },
      }),
    },
    { file: 'objects.json', read: () => objectsOf([ledger.from, join(state, 'rendered')]) },
    ...controlParts(state),
    ...ledger.nodes.flatMap(({ name, netns }) => [
      ...programParts(`nodes/${fileName(name)}`, netns, agent),
      {
        file: `nodes/${fileName(name)}/readiness.json`,
        read: () => ({ value: readReadiness(runDirOf(state, name)) }),
      },
    ]),
    ...ledger.waypoints.flatMap(({ netns, process }) =>
      programParts(`waypoints/${fileName(process)}`, netns, ['status', 'dump', 'clusters']),
    ),
    ...logParts(state, ledger),
  ];
}
