import { instances, removeInstance } from './datapath/loader.js';
import { errorText } from '../src/base/errors.js';

/** Removes what agents left in the kernel: of one instance, or of all. Returns the instances removed. */
export function cleanup(instance?: string): string[] {
  return (instance === undefined ? instances() : [instance]).filter((name) => removeInstance(name));
}

if (process.argv[1] && import.meta.url === `file://${process.argv[1]}`) {
  const at = process.argv.indexOf('--instance');
  try {
    const removed = cleanup(at < 0 ? undefined : process.argv[at + 1]);
    console.log(removed.length === 0 ? 'nothing of Weft is in the kernel' : `removed: ${removed.join(', ')}`);
  } catch (error) {
    console.error(errorText(error));
    process.exitCode = 1;
  }
}
