import { homedir } from 'node:os';
import { join } from 'node:path';

/** Where programs that the bench alone needs are kept between runs. */
export const kept = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'weft-bench');
