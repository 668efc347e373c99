/**
 * An AuthorizationPolicy of Istio as an AccessPolicy. The result is never wider: an alternative of an ALLOW that has no form is left out, and a
 * condition of a DENY that has no form is taken to hold. Both are said.
 */
import { fieldsOf, textOf, type Fields, type SourceObject } from '../load.js';
import { refusedBecause, type Block } from './block.js';
import { Reader } from './reader.js';
import { principalCondition, tokenCondition, withTokens } from './token-conditions.js';
import type { Services } from './services.js';

export interface PolicyContext {
  readonly services: Services;
  /** Istio's and Weft's root namespaces. */
  readonly istioRoot: string;
  readonly root: string;
  /** The namespaces of all objects that were given. */
  readonly namespaces: readonly string[];
  readonly sources: readonly SourceObject[];
  /** Services that several VirtualServices are for. */
  readonly sharedHosts: ReadonlySet<string>;
}

type Action = 'ALLOW' | 'DENY';
/** Fields of one entry of `from` or `to`. */
type Entry = Record<string, unknown>;
/** Thrown: what holds this has no form in an AccessPolicy. */
class Inexpressible extends Error {}

const text = /^(\*?[^*]*|[^*]+\*)$/;
const pathForm =
  /^(\/([^?#%\\*{}]|%([1-9a-fA-F][0-9a-fA-F]|0[1-9a-fA-F]))*\*?|\*([^?#%\\*{}]|%([1-9a-fA-F][0-9a-fA-F]|0[1-9a-fA-F]))*|(\/(([^?#%\\*{}/]|%([1-9a-fA-F][0-9a-fA-F]|0[1-9a-fA-F]))*|\{\*\}))+(\/\{\*\*\})?|\/\{\*\*\})$/;

/** The value in Weft's form; undefined: it has none. */
type Convert = (value: string, namespace: string) => string | number | undefined;
const when =
  (form: RegExp): Convert =>
  (value) =>
    form.test(value) ? value : undefined;
const account: Convert = (value, namespace) => {
  const full = value.includes('/') ? value : `${namespace}/${value}`;
  return /^[a-z0-9.-]+\/[a-z0-9.-]+$/.test(full) ? full : undefined;
};
const host: Convert = (value) =>
  text.test(value) && value !== '' && !/:\d+$/.test(value) ? value.toLowerCase() : undefined;
const serverName: Convert = (value) =>
  /^(\*|\*?[a-zA-Z0-9._-]*[a-zA-Z0-9_-]|[a-zA-Z0-9._-]+\*)$/.test(value) && !/^[0-9.]+$/.test(value)
    ? value.toLowerCase()
    : undefined;
const port: Convert = (value) =>
  /^\d{1,5}$/.test(value) && Number(value) > 0 && Number(value) < 65_536 ? Number(value) : undefined;

/** Fields of `source` and `operation` with their names in an AccessPolicy, without `not`. */
const sourceFields: Readonly<Record<string, readonly [field: string, convert: Convert]>> = {
  principals: ['identities', when(text)],
  namespaces: ['namespaces', when(/^\*?[a-z0-9-]*$|^[a-z0-9-]+\*$/)],
  serviceAccounts: ['serviceAccounts', account],
  ipBlocks: ['cidrs', when(/^[0-9a-fA-F.:]+(\/\d+)?$/)],
  remoteIpBlocks: ['remoteCidrs', when(/^[0-9a-fA-F.:]+(\/\d+)?$/)],
};
const operationFields: Readonly<Record<string, readonly [field: string, convert: Convert]>> = {
  ports: ['ports', port],
  methods: ['methods', when(/^[0-9A-Z!#$%&'+.^_`|~-]+$/)],
  paths: ['paths', when(pathForm)],
  hosts: ['hosts', host],
};
const attributes: Readonly<Record<string, readonly ['from' | 'to', string, Convert]>> = {
  'source.principal': ['from', 'identities', when(text)],
  'source.namespace': ['from', 'namespaces', when(/^\*?[a-z0-9-]*$|^[a-z0-9-]+\*$/)],
  'source.serviceAccount': ['from', 'serviceAccounts', account],
  'remote.ip': ['from', 'remoteCidrs', when(/^[0-9a-fA-F.:]+(\/\d+)?$/)],
  'source.ip': ['from', 'cidrs', when(/^[0-9a-fA-F.:]+(\/\d+)?$/)],
  'destination.ip': ['to', 'cidrs', when(/^[0-9a-fA-F.:]+(\/\d+)?$/)],
  'destination.port': ['to', 'ports', port],
  'connection.sni': ['to', 'sni', serverName],
};
const negated = (name: string): string => `not${name.charAt(0).toUpperCase()}${name.slice(1)}`;

class RuleConverter {
  constructor(
    private readonly action: Action,
    private readonly namespace: string,
    private readonly say: (field: string, message: string) => void,
  ) {}

  /** The rule; undefined: it allows nothing, and is left out. */
  rule(reader: Reader): Fields | undefined {
    try {
      let from = this.#entries(reader, 'from', 'source', sourceFields);
      let to = this.#entries(reader, 'to', 'operation', operationFields);
      for (const condition of reader.children('when')) {
        try {
          [from, to] = this.#when(condition, from, to);
        } catch (error) {
          if (!(error instanceof Inexpressible)) throw error;
          condition.takeAll();
          this.say(condition.path, error.message);
          if (this.action === 'ALLOW') throw new Inexpressible('', { cause: error });
        }
      }
      return { ...(from ? { from } : {}), ...(to ? { to } : {}) };
    } catch (error) {
      if (!(error instanceof Inexpressible)) throw error;
      reader.takeAll();
      if (error.message !== '') this.say(reader.path, error.message);
      this.say(reader.path, 'closed: the rule was left out, and allows nothing');
      return undefined;
    }
  }

  /** The entries of `from` or `to`; undefined: everything matches. Throws if an ALLOW is left without any. */
  #entries(
    rule: Reader,
    key: 'from' | 'to',
    inner: 'source' | 'operation',
    fields: typeof sourceFields,
  ): Entry[] | undefined {
    if (!rule.has(key) || rule.children(key).length === 0) return undefined;
    const entries: Entry[] = [];
    for (const one of rule.children(key)) {
      const entry = this.#entry(one.child(inner), fields);
      if (this.action === 'ALLOW' && one.child(inner).keys.length === 0)
        throw new Inexpressible(`${one.path} has no condition`);
      if (entry === 'none') continue;
      if (Object.keys(entry).length === 0) return undefined;
      entries.push(entry);
    }
    if (entries.length === 0) throw new Inexpressible('');
    return entries;
  }

  /** An entry; `none`: no form, and left out of an ALLOW. */
  #entry(reader: Reader, fields: typeof sourceFields): Entry | 'none' {
    const entry: Entry = {};
    for (const key of reader.keys) {
      const isNot = key.startsWith('not');
      const name = isNot ? key.charAt(3).toLowerCase() + key.slice(4) : key;
      const known = fields[name];
      const values = reader.texts(key);
      if (values.length === 0) continue;
      const token = name === 'requestPrincipals' ? principalCondition(values, isNot) : undefined;
      if (token) {
        entry['jwt'] = withTokens(entry['jwt'], token);
        continue;
      }
      const made = known ? this.#values(values, known[1], isNot) : undefined;
      if (known && made) {
        entry[isNot ? negated(known[0]) : known[0]] = made;
        if (made.length < values.length)
          this.say(
            reader.pathOf(key),
            `a value of ${values.join(', ')} has no form in an AccessPolicy: closed: it was left out`,
          );
        continue;
      }
      // Any method: any HTTP request, which has a path.
      if (name === 'methods' && !isNot && values.includes('*')) {
        if (!reader.has('paths')) entry['paths'] = ['*'];
        continue;
      }
      this.say(
        reader.pathOf(key),
        `${known ? `a value of ${values.join(', ')}` : 'the condition'} has no form in an AccessPolicy: closed: ${
          this.action === 'ALLOW' ? 'this alternative was left out' : 'whatever it is, access is denied'
        }`,
      );
      if (this.action === 'ALLOW') return 'none';
    }
    return entry;
  }

  /** Values in Weft's form; undefined: the condition has none. A value may be left out only if that closes. */
  #values(
    values: readonly string[],
    convert: Convert,
    isNot: boolean,
  ): readonly (string | number)[] | undefined {
    const made = values.map((value) => convert(value, this.namespace));
    const good = made.filter((one) => one !== undefined);
    if (good.length === made.length) return good.length > 0 ? good : undefined;
    const mayDrop = (this.action === 'ALLOW') !== isNot;
    return mayDrop && good.length > 0 ? good : undefined;
  }

  #when(
    condition: Reader,
    from: Entry[] | undefined,
    to: Entry[] | undefined,
  ): [Entry[] | undefined, Entry[] | undefined] {
    const key = condition.text('key') ?? '';
    const [values, notValues] = [condition.texts('values'), condition.texts('notValues')];
    const header = /^request\.headers\[(.+)\]$/.exec(key)?.[1];
    if (header !== undefined) {
      if (![...values, ...notValues].every((value) => text.test(value)))
        throw new Inexpressible(`${key}: a value has * in its middle`);
      const added = {
        name: header,
        ...(values.length > 0 ? { values } : {}),
        ...(notValues.length > 0 ? { notValues } : {}),
      };
      return [
        from,
        (to ?? [{}]).map((one) => ({
          ...one,
          headers: [...((one['headers'] as object[] | undefined) ?? []), added],
        })),
      ];
    }
    const token = tokenCondition(key, values, notValues);
    if (token) return [(from ?? [{}]).map((one) => ({ ...one, jwt: withTokens(one['jwt'], token) })), to];
    const known = attributes[key];
    if (!known) throw new Inexpressible(`an AccessPolicy has no condition on ${key}`);
    const [where, field, convert] = known;
    const added: Entry = {};
    for (const [name, list, isNot] of [
      [field, values, false],
      [negated(field), notValues, true],
    ] as const) {
      if (list.length === 0) continue;
      const made = this.#values(list, convert, isNot);
      if (!made)
        throw new Inexpressible(`${key}: a value of ${list.join(', ')} has no form in an AccessPolicy`);
      added[name] = made;
    }
    const all = (where === 'from' ? (from ?? [{}]) : (to ?? [{}])).map((one) => {
      const merged: Entry = { ...one };
      for (const [name, list] of Object.entries(added) as [string, readonly unknown[]][]) {
        const before = one[name] as readonly unknown[] | undefined;
        // Both lists are excluded; of two lists of which one value each must match, an entry has no form.
        if (before && !name.startsWith('not'))
          throw new Inexpressible(`${key}: the rule has two conditions of the same kind`);
        merged[name] = before ? [...before, ...list] : list;
      }
      return merged;
    });
    return where === 'from' ? [all, to] : [from, all];
  }
}

/** What the policy is for, as fields of an AccessPolicy. */
interface Scope {
  readonly fields: Fields;
  /** The namespaces to write it in. */
  readonly namespaces: readonly string[];
}

function gatewayServices(name: string, namespace: string, services: Services): string[] {
  return services
    .in(namespace)
    .filter(
      ({ labels }) =>
        (textOf(labels['weft.dev/waypoint']) ?? textOf(labels['istio.io/use-waypoint'])) === name,
    )
    .map((one) => one.name);
}

/** Where the policy applies; undefined: at a gateway that Weft does not run. */
export function scopeOf(block: Block, reader: Reader, context: PolicyContext): Scope | undefined {
  const { namespace } = block.source;
  const isRoot = namespace === context.istioRoot;
  const refs = [
    ...reader.children('targetRefs'),
    ...(reader.has('targetRef') ? [reader.child('targetRef')] : []),
  ];
  const labels = reader.child('selector').map('matchLabels');
  if (refs.length === 0) {
    const selector = Object.keys(labels).length > 0 ? { selector: { matchLabels: labels } } : {};
    if (!isRoot) return { fields: selector, namespaces: [namespace] };
    if (Object.keys(labels).length === 0) return { fields: {}, namespaces: [context.root] };
    block.lost(
      'selector',
      `in Istio's root namespace it selects pods of all namespaces, and in Weft a selector is for its own: the policy is written for each namespace that was given. Other namespaces need a copy`,
    );
    return { fields: selector, namespaces: context.namespaces.filter((one) => one !== context.istioRoot) };
  }
  const names: string[] = [];
  for (const ref of refs) {
    const [kind, name] = [ref.text('kind') ?? '', ref.text('name') ?? ''];
    ref.takeAll();
    if (kind === 'Service') names.push(name);
    else if (kind === 'Gateway') {
      const gateway = context.sources.find(
        (one) =>
          one.kind === 'Gateway' &&
          one.namespace === namespace &&
          one.name === name &&
          one.apiVersion.startsWith('gateway.'),
      );
      const { gatewayClassName } = fieldsOf(gateway?.value['spec']);
      if (gateway && !['istio-waypoint', 'weft-waypoint'].includes(String(gatewayClassName))) {
        block.lost(
          ref.path,
          `the Gateway ${name} is no waypoint: it stays with its controller, and so does the policy`,
        );
        continue;
      }
      const found = gatewayServices(name, namespace, context.services);
      if (found.length > 0) {
        names.push(...found);
        block.differs(
          ref.path,
          `the Services with the waypoint ${name} that were given take the place of the Gateway`,
        );
      } else {
        block.lost(
          ref.path,
          `no Service with the waypoint ${name} was given: closed: the policy denies all access to its namespace`,
        );
        return { fields: { closes: true }, namespaces: [namespace] };
      }
    } else {
      block.lost(
        ref.path,
        `an AccessPolicy has no target of the kind ${kind}: closed: the policy denies all access to its namespace`,
      );
      return { fields: { closes: true }, namespaces: [namespace] };
    }
  }
  if (names.length === 0) return undefined;
  return {
    fields: { targetRefs: [...new Set(names)].map((name) => ({ group: '', kind: 'Service', name })) },
    namespaces: [namespace],
  };
}

const accessPolicy = (name: string, namespace: string, spec: Fields): Fields => ({
  apiVersion: 'weft.dev/v1alpha1',
  kind: 'AccessPolicy',
  metadata: { name, namespace },
  spec,
});

export function convertAuthorizationPolicy(block: Block, context: PolicyContext): void {
  const { name, value, errors } = block.source;
  const reader = new Reader(fieldsOf(value['spec']));
  const given = reader.text('action') ?? 'ALLOW';
  const annotations = fieldsOf(fieldsOf(value['metadata'])['annotations']);
  const isAudit = given === 'AUDIT' || annotations['istio.io/dry-run'] === 'true';
  const action: Action = given === 'ALLOW' ? 'ALLOW' : 'DENY';
  const scope = scopeOf(block, reader, context);
  if (!scope) return;
  const { closes, ...where } = scope.fields as Fields & { closes?: true };
  const notes: { field: string; message: string; index: number | undefined }[] = [];
  const rules: Fields[] = [];
  if (given === 'CUSTOM') {
    reader.take('provider');
    notes.push({
      field: 'action',
      message:
        'Weft has no extension providers: closed: what the provider would decide about is denied. A service decides by externalAuthorization of a TrafficPolicy (external-authorization.md)',
      index: undefined,
    });
  }
  for (const one of reader.children('rules')) {
    const said: { field: string; message: string }[] = [];
    const made = new RuleConverter(action, block.source.namespace, (field, message) =>
      said.push({ field, message }),
    ).rule(one);
    notes.push(...said.map((note) => ({ ...note, index: made ? rules.length : undefined })));
    if (made) rules.push(made);
  }
  for (const path of reader.rest())
    notes.push({ field: path, message: 'an AccessPolicy has nothing of the kind: closed', index: undefined });
  const isUnread = errors.length > 0 || reader.rest().length > 0;
  const closedSpec: Fields = { action: 'DENY', ...where, rules: [{}] };
  let spec: Fields = { action, ...(isAudit ? { mode: 'audit' } : {}), ...where, rules };
  let refusal: string | undefined;
  if (isUnread || closes) spec = closedSpec;
  else if ((refusal = refusedBecause(accessPolicy(name, 'default', spec))) !== undefined) spec = closedSpec;
  for (const message of errors) block.lost('', `${message}: closed: all access is denied`);
  if (refusal !== undefined) block.lost('', `${refusal}: closed: all access is denied`);
  for (const [i, namespace] of scope.namespaces.entries()) {
    const doc = block.add(accessPolicy(name, namespace, spec));
    if (i > 0) continue;
    for (const { field, message, index } of notes)
      block.lost(field, message, {
        doc,
        path: index === undefined ? ['spec', 'rules'] : ['spec', 'rules', index],
      });
  }
}
