/**
 * A program: compiles a large installation's objects, then changes single ones, and writes what it took as JSON. A process of its own, so that
 * its memory is that of the work.
 */
import { performance } from 'node:perf_hooks';
import { compile } from '../../control/compile/compile.js';
import { objectKey } from '../../control/objects/object-key.js';
import { Resources } from '../../control/serve/resources.js';
import { parseTrustDomain } from '../../src/model/identity.js';
import { accepted, objectsOf, virtualService } from './objects.js';

const [virtualServices = 0, destinationRules = 0, changes = 0] = process.argv.slice(2).map(Number);
const size = { virtualServices, destinationRules };
const raw = [...objectsOf(size)];

const beganMs = performance.now();
const objects = raw.map(accepted);
const readMs = performance.now();
const compiler = compile(objects, { trustDomain: parseTrustDomain('cluster.local'), rootsVersion: '1' });
const compiledMs = performance.now();
const resources = new Resources(compiler.all());
const encodedMs = performance.now();

const changeMs: number[] = [];
for (let i = 0; i < changes; i++) {
  const at = (i * 7919) % destinationRules;
  const object = accepted(virtualService(at, 20 + (i % 50), true));
  const from = performance.now();
  resources.apply(compiler.apply(new Map([[objectKey(object), object]])));
  changeMs.push(performance.now() - from);
}
changeMs.sort((a, b) => a - b);
const problems = [...compiler.problems()];
console.log(
  JSON.stringify({
    objects: objects.length,
    resources: [...compiler.all()].length,
    problems: problems.length,
    firstProblem: problems[0]?.[1].message ?? '',
    readMs: readMs - beganMs,
    compileMs: compiledMs - readMs,
    encodeMs: encodedMs - compiledMs,
    coldMs: encodedMs - beganMs,
    changeMsMedian: changeMs[changeMs.length >> 1] ?? 0,
    changeMsMax: changeMs.at(-1) ?? 0,
    residentBytes: process.memoryUsage().rss,
  }),
);
