import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sidecarConfig } from '../../peers/sidecar.js';
import { accessPolicies, allowedAccounts, policiesPlan } from './policies.js';

interface Policy {
  readonly metadata: { readonly name: string };
  readonly spec: { readonly rules: readonly { readonly from: readonly { serviceAccounts: string[] }[] }[] };
}

test('the client is allowed by the last of all rules and by no other', () => {
  for (const count of [1, 100, 2500]) {
    const policies = accessPolicies('weft', 'near', count) as Policy[];
    const names = policies.map(({ metadata }) => metadata.name);
    assert.deepEqual(names, [...names].sort());
    const accounts = policies.flatMap(({ spec }) =>
      spec.rules.flatMap(({ from }) => from.flatMap(({ serviceAccounts }) => serviceAccounts)),
    );
    assert.equal(accounts.length, count);
    assert.equal(new Set(accounts).size, count);
    assert.equal(accounts.indexOf('weft/client'), count - 1);
    assert.ok(policies.every(({ spec }) => spec.rules.length <= 1000));
  }
});

test('no rules are no policy', () => {
  assert.deepEqual(accessPolicies('weft', 'near', 0), []);
  assert.deepEqual(allowedAccounts(0), []);
  assert.equal(policiesPlan(['none', 'weft'], [0]).further?.length, 0);
});

test('a sidecar tries its rules in the given order, before all else of each inbound chain', () => {
  const credentials = { chainFile: 'chain', keyFile: 'key', rootsFile: 'roots' };
  const allowed = Array.from({ length: 11 }, (_, at) => `spiffe://cluster.local/ns/d/sa/${10 - at}`);
  interface Filter {
    readonly name: string;
    readonly typed_config: { readonly rules: { readonly policies: Record<string, object> } };
  }
  const listeners = (
    JSON.parse(sidecarConfig({ credentials, peers: 'spiffe://', httpPorts: [8080], allowed })) as {
      static_resources: {
        listeners: {
          name: string;
          filter_chains: { filters: Filter[]; filter_chain_match: { destination_port: number } }[];
          default_filter_chain: { filters: Filter[] };
        }[];
      };
    }
  ).static_resources.listeners;
  for (const { name, filter_chains, default_filter_chain } of listeners)
    // The chain of the listener's own port leads to nobody.
    for (const { filters } of [
      ...filter_chains.filter((chain) => chain.filter_chain_match.destination_port === 8080),
      default_filter_chain,
    ]) {
      const at = filters.findIndex((filter) => filter.name === 'envoy.filters.network.rbac');
      assert.equal(at, name === 'inbound' ? 0 : -1);
      if (at < 0) continue;
      const { policies } = (filters[at] as Filter).typed_config.rules;
      assert.deepEqual(Object.keys(policies), Object.keys(policies).sort());
      assert.deepEqual(
        Object.values(policies).map((policy) => /sa\/\d+/.exec(JSON.stringify(policy))?.[0]),
        allowed.map((identity) => /sa\/\d+/.exec(identity)?.[0]),
      );
    }
});
