import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseCidr, parseIp } from '../../src/model/address.js';
import { pod } from '../../test/support/mesh.js';
import type { PodConnection } from '../pod/sockets.js';
import { preexistingOf } from './preexisting.js';

let cookies = 0n;
const one = (
  local: string,
  localPort: number,
  remote: string,
  remotePort: number,
  inode = 1,
): PodConnection => ({
  local: { ip: parseIp(local), port: localPort },
  remote: { ip: parseIp(remote), port: remotePort },
  inode,
  cookie: ++cookies,
});
const subject = pod('web', '10.0.1.1', {
  excludeInboundPorts: [9090],
  excludeOutboundPorts: [3306],
  excludeOutboundCidrs: [parseCidr('192.0.2.0/24')],
});

test('connections from before capture are told apart from later ones', () => {
  const older = [
    one('10.0.1.1', 40000, '10.0.2.1', 8080),
    one('10.0.1.1', 8080, '10.0.2.1', 40000),
    one('fd00::1', 8080, 'fd00::2', 40000),
  ];
  const kernelFlow = one('10.0.1.1', 40001, '10.0.1.2', 8080);
  const later = [
    one('127.0.0.1', 40000, '127.0.0.1', 8080),
    one('::1', 40000, '::1', 8080),
    one('10.0.1.1', 40002, '10.0.1.1', 15001),
    one('10.0.1.1', 15001, '10.0.1.1', 40002, 7),
    one('10.0.1.1', 40003, '10.0.2.1', 15008, 7),
    one('10.0.1.1', 15008, '10.0.2.1', 40000, 7),
    one('10.0.1.1', 8080, '10.0.3.1', 40000, 7),
    one('10.0.1.1', 9090, '10.0.3.1', 40000),
    one('10.0.1.1', 40004, '10.0.3.1', 3306),
    one('10.0.1.1', 40005, '192.0.2.7', 443),
    kernelFlow,
  ];
  assert.deepEqual(
    preexistingOf([...later, ...older], subject, new Set([7]), new Set([kernelFlow.cookie])),
    older,
  );
});
