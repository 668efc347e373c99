/** An AccessPolicy is in force within seconds, and one that is wrong is not accepted. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sleep, until } from '../../../src/base/wait.js';
import { applyText, connectionRecords } from '../../support/cluster.js';
import { denyWeb, shop, since, traffic } from './shop.js';

test('an AccessPolicy denies within seconds, on both ways, and no longer once it is gone', async () => {
  await applyText(denyWeb);
  await until('nothing gets through', 15_000, async () => {
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

test('a policy that is wrong is refused as it is applied, by the field that is wrong', async () => {
  await assert.rejects(applyText(denyWeb.replace('shop/web', 'web')), /serviceAccounts\[0\]/);
  await assert.rejects(applyText(denyWeb.replace('DENY', 'MAYBE')), /spec\.action/);
});
