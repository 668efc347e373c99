/** What `weft changes` shows. Pure. */
import type { Change } from '../../model/change.js';
import { table } from '../cluster/table.js';

const waitingShown = 3;

/** `3 of 4 in 40 ms; waiting: node-b` */
export function receiversText({ receivers, omitted, timeMs }: Change): string {
  const { acknowledged = 0, waiting: unlisted = 0 } = omitted ?? {};
  const all = receivers.length + acknowledged + unlisted;
  if (all === 0) return 'no node';
  const times = receivers.flatMap(({ acknowledgedMs }) =>
    acknowledgedMs === undefined ? [] : [acknowledgedMs],
  );
  const waiting = receivers.filter(({ acknowledgedMs }) => acknowledgedMs === undefined);
  const refused = receivers.filter((one) => one.refused !== undefined);
  const lastMs = Math.max(0, ...times.map((ms) => ms - timeMs));
  const count = `${times.length + acknowledged} of ${all}${times.length === 0 ? '' : ` in ${lastMs} ms`}`;
  const names = (list: readonly { readonly name: string }[]): string => {
    const more = list.length > waitingShown ? `, ${list.length - waitingShown} more` : '';
    return `${list
      .slice(0, waitingShown)
      .map(({ name }) => name)
      .join(', ')}${more}`;
  };
  return [
    count,
    ...(waiting.length === 0 ? [] : [`waiting: ${names(waiting)}`]),
    ...(refused.length === 0 ? [] : [`refused by: ${names(refused)}`]),
  ].join('; ');
}

// File names and field managers are chosen by others.
const printable = (text: string): string => text.replaceAll(/\p{Cc}/gu, '?');

/** The table of changes with its head. */
export const changeLines = (changes: readonly Change[]): string[] =>
  table([
    ['TIME', 'CHANGE', 'KIND', 'OBJECT', 'BY', 'ACKNOWLEDGED'],
    ...changes.map((change) =>
      [
        new Date(change.timeMs).toISOString(),
        change.operation,
        change.kind,
        change.namespace === '' ? change.name : `${change.namespace}/${change.name}`,
        change.by ?? change.file ?? '-',
        receiversText(change),
      ].map(printable),
    ),
  ]);
