/** AccessPolicies are in force within seconds, and invalid ones are refused. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sleep, until } from '../../../src/base/wait.js';
import { applyText, connectionRecords } from '../../support/cluster.js';
import { denyWeb, shop, since, traffic } from './shop.js';

test('an AccessPolicy denies within seconds, on one node and between nodes, and no longer once it is deleted', async () => {
  await applyText(denyWeb);
  await until('every request fails', 15_000, async () => {
    const before = await traffic();
    await sleep(500);
    const now = await traffic();
    return now.good === before.good && now.bad > before.bad;
  });
  const denied = (await connectionRecords(3)).filter(({ policy }) => policy === 'shop/no-web');
  assert.ok(denied.length > 0);
  await shop('delete', 'accesspolicy', 'no-web');
  await since(await traffic());
});

test('the API server refuses an invalid policy and names the field', async () => {
  await assert.rejects(applyText(denyWeb.replace('shop/web', 'web')), /serviceAccounts\[0\]/);
  await assert.rejects(applyText(denyWeb.replace('DENY', 'MAYBE')), /spec\.action/);
});
