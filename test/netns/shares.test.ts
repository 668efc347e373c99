/** One pod cannot use up the limits that the pods of its worker share. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { after, before, test } from 'node:test';
import { until } from '../../src/base/wait.js';
import { run } from '../../src/cli/run.js';
import { WatchedMesh, webIp } from '../threats/support/watched-mesh.js';

let mesh: WatchedMesh;
before(async () => {
  mesh = await WatchedMesh.up('/run/weft/test-shares');
});
after(() => mesh.down());

/** How often a limit was reached on node-a. */
const reached = async (limit: string): Promise<number> => {
  const { stdout } = await run('weft-node-a', 'curl', ['-s', 'http://127.0.0.1:15020/metrics']);
  return Number(
    new RegExp(`^weft_limit_reached_total\\{limit="${limit}"\\} (\\d+)`, 'm').exec(stdout)?.[1] ?? 0,
  );
};

test('silent connections of one address to 15008 are kept up to the free share; the rest is closed and counted, and others work', async () => {
  const holder = `
import resource, select, socket, sys, time
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
held = []
for _ in range(900):
    try: held.append(socket.create_connection(('${webIp}', 15008), 3))
    except OSError: pass
for s in held: s.setblocking(False)
def count():
    n = 0
    for s in held:
        try: s.recv(1)
        except BlockingIOError: n += 1
        except OSError: pass
    return n
# What the agent has not yet got to is open as well.
end, open_ = time.time() + 20, count()
while open_ > 512 and time.time() < end:
    time.sleep(0.1)
    open_ = count()
print(open_, flush=True)
time.sleep(60)
`;
  const child = spawn('nsenter', ['--net=/run/netns/weft-node-b', 'python3', '-c', holder], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    let out = '';
    child.stdout.on('data', (bytes: Buffer) => (out += bytes.toString()));
    const kept = Number(await until('the connections are open', 30_000, () => out.trim()));
    assert.ok(kept > 400 && kept <= 512, `${kept} are kept`);
    // A carrier reports limits once a second.
    await until('the rest is counted', 30_000, async () => (await reached('handshakes')) >= 900 - 512);
    assert.equal(await mesh.call('weft-web'), 'here');
  } finally {
    child.kill('SIGKILL');
  }
  assert.deepEqual(mesh.leaks(), []);
});
