import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import http2 from 'node:http2';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { caFiles } from '../../control/certificates/authority-files.js';
import { runControl } from '../../control/control-plane.js';
import { until } from '../../src/base/wait.js';
import { systemClock } from '../../src/base/clock.js';
import { changesQuestion } from '../../src/cli/changes/command.js';
import { askState } from '../../src/cli/control-admin.js';
import { DiscoveryClient } from '../../src/discovery/client.js';
import { DeltaDiscoveryRequest } from '../../src/discovery/gen/discovery.js';
import { typeUrls } from '../../src/discovery/types.js';
import type { Change } from '../../src/model/change.js';
import { issueToken } from '../support/tokens.js';
import { discoveryPath, frame } from '../threats/support/control.js';
import { manifests } from '../threats/support/two-nodes.js';

const policy = (name: string, account: string, namespace = 'shop'): string => `---
apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: ${name}, namespace: ${namespace} }
spec: { action: ALLOW, rules: [{ from: [{ identities: ['*/sa/${account}'] }] }] }
`;

test('a control plane with files says which file changed what, and which node has acknowledged it and which has not', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'weft-changes-'));
  const [from, state] = [join(dir, 'manifests'), join(dir, 'state')];
  mkdirSync(from);
  /** As an editor that replaces the file. */
  const write = (file: string, text: string): void => {
    writeFileSync(join(dir, file), text);
    renameSync(join(dir, file), join(from, file));
  };
  write('mesh.yaml', manifests);
  const control = await runControl({
    from: [from],
    state,
    listen: '127.0.0.1:0',
    trustDomain: 'cluster.local',
  });
  const roots = readFileSync(join(state, caFiles.roots), 'utf8');
  const token = await issueToken(state, 'n1', 60);
  const read = async (namespace?: string): Promise<readonly Change[]> =>
    (await askState(state, changesQuestion(0, namespace))).changes;
  /** The changes, once there are so many and `holds`. */
  const changes = async (
    count: number,
    holds: (last: Change) => boolean = () => true,
  ): Promise<readonly Change[]> => {
    let found: readonly Change[] = [];
    await until(`${count} changes`, 20_000, async () => {
      found = await read();
      const last = found.at(-1);
      return found.length === count && last !== undefined && holds(last);
    });
    return found;
  };
  let refuses = false;
  let isSynced = false;
  const client = new DiscoveryClient({
    target: `127.0.0.1:${control.port}`,
    rootPem: () => roots,
    token: () => token,
    nodeId: 'ztunnel~10.0.0.1~n1.weft-system~weft-system.svc.cluster.local',
    nodeName: 'n1',
    clock: systemClock,
    subscriptions: [
      {
        typeUrl: typeUrls.authorization,
        decode: () =>
          refuses
            ? { ok: false, errors: ['not understood'], closedForm: undefined }
            : { ok: true, value: () => undefined },
        removed: () => undefined,
      },
    ],
    onChange: () => undefined,
    onSynced: () => (isSynced = true),
    onState: () => undefined,
    onRefused: () => undefined,
  });
  client.start();
  // A node that reads what it is sent, and acknowledges nothing.
  const session = http2.connect(`https://127.0.0.1:${control.port}`, { ca: roots });
  const silent = session.request({
    ':method': 'POST',
    ':path': discoveryPath,
    'content-type': 'application/grpc',
    te: 'trailers',
    authorization: `Bearer ${await issueToken(state, 'n2', 60)}`,
  });
  let bytes = 0;
  silent.on('data', (part: Buffer) => (bytes += part.length));
  silent.write(
    frame(
      DeltaDiscoveryRequest.encode(
        DeltaDiscoveryRequest.fromPartial({ typeUrl: typeUrls.authorization }),
      ).finish(),
    ),
  );
  try {
    await until('both nodes are served', 20_000, () => isSynced && bytes > 0);
    assert.deepEqual(await read(), [], 'what is there at the start is no change');

    write('policy.yaml', policy('only-a', 'a'));
    const isAcknowledged = ({ receivers }: Change): boolean =>
      receivers.some(({ name, acknowledgedMs }) => name === 'n1' && acknowledgedMs !== undefined);
    const [created] = await changes(1, isAcknowledged);
    assert.deepEqual(
      [created?.kind, created?.namespace, created?.name, created?.operation, created?.file],
      ['AccessPolicy', 'shop', 'only-a', 'created', 'policy.yaml'],
    );
    assert.deepEqual(created?.receivers.map(({ name }) => name).sort(), ['n1', 'n2']);
    assert.equal(created?.receivers.find(({ name }) => name === 'n2')?.acknowledgedMs, undefined);

    // Row 6 of docs/security.md: n2 invents acknowledgments, also in the name of n1.
    for (const responseNonce of ['0', '999', '-1', 'x'.repeat(1_000)])
      silent.write(
        frame(
          DeltaDiscoveryRequest.encode(
            DeltaDiscoveryRequest.fromPartial({
              node: { id: 'ztunnel~10.0.0.1~n1.weft-system~weft-system.svc.cluster.local' },
              typeUrl: typeUrls.authorization,
              responseNonce,
            }),
          ).finish(),
        ),
      );

    refuses = true;
    write('policy.yaml', policy('only-a', 'b'));
    const updated = (await changes(2, isAcknowledged)).at(-1);
    assert.equal(updated?.operation, 'updated');
    assert.match(updated?.receivers.find(({ name }) => name === 'n1')?.refused ?? '', /not understood/);
    refuses = false;

    write('policy.yaml', `${policy('only-a', 'b')}# a comment changes nothing\n`);
    write('bank.yaml', policy('only-teller', 'teller', 'bank'));
    await changes(3);
    rmSync(join(from, 'policy.yaml'));
    const last = (await changes(4)).at(-1);
    assert.deepEqual([last?.name, last?.operation, last?.file], ['only-a', 'deleted', 'policy.yaml']);
    const ofSecond = (await read()).flatMap(({ receivers }) => receivers.filter(({ name }) => name === 'n2'));
    assert.equal(ofSecond.length, 4);
    assert.ok(ofSecond.every(({ acknowledgedMs }) => acknowledgedMs === undefined));
    assert.deepEqual(
      (await read('bank')).map(({ name }) => name),
      ['only-teller'],
    );
  } finally {
    client.stop();
    session.destroy();
    await control.close();
    rmSync(dir, { recursive: true });
  }
});
