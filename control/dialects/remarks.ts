/**
 * What of an object in force is not carried out, or differs from what its own mesh does: a list, from which statuses, `weft check` and
 * `weft migrate check` each write their own text. Pure.
 */
import type { UsedField } from './fields.js';

export interface Remark {
  /**
   * `unserved`: nothing of the object is in force for lack of a waypoint. `narrower`: the object is in force for less of the mesh than its own mesh
   * would make it.
   */
  readonly does: 'differs' | 'nothing' | 'closed' | 'unserved' | 'narrower';
  /** The field, as in the tables of fields; absent: the message says what it is about. */
  readonly field?: string;
  readonly message: string;
  /** What does the same in Weft. */
  readonly instead?: string;
}

/** A part that is carried out in another way. */
export const differing = (message: string, field?: string): Remark => ({
  does: 'differs',
  ...(field === undefined ? {} : { field }),
  message,
});
/** A part that is not carried out, so that what has it is refused. */
export const closedRemark = (message: string, field?: string): Remark => ({
  does: 'closed',
  ...(field === undefined ? {} : { field }),
  message,
});

/** The remark about a field, under the entry of the table that says it; undefined: it works. */
export function fieldRemark({
  within: { entry },
  support,
}: Pick<UsedField, 'within' | 'support'>): Remark | undefined {
  if (support.does === 'works') return undefined;
  if (support.does === 'differs') return differing(support.how, entry);
  return {
    does: support.does === 'nothing' ? 'nothing' : 'closed',
    field: entry,
    message: support.because,
    ...(support.instead === undefined ? {} : { instead: support.instead }),
  };
}

/** One remark per field that is not carried out as documented. */
export const fieldRemarks = (used: readonly UsedField[]): Remark[] =>
  distinct(used.flatMap((one) => fieldRemark(one) ?? []));

/** Without those that say the same. */
export const distinct = (remarks: readonly Remark[]): Remark[] => [
  ...new Map(remarks.map((one) => [remarkText(one), one])).values(),
];

const effects: Readonly<Record<Remark['does'], string>> = {
  differs: '',
  nothing: 'no effect: ',
  closed: 'closed: ',
  unserved: '',
  narrower: '',
};

/** What is the matter, without the field. */
export const effectText = ({ does, message }: Remark): string => `${effects[does]}${message}`;

/** One line, for statuses and lists of problems. */
export function remarkText(remark: Remark): string {
  const { field, instead } = remark;
  const about = field === undefined ? '' : `${field}: `;
  return `${about}${effectText(remark)}${instead === undefined ? '' : `; use ${instead}`}`;
}

/** A wildcard concerns any number of Services. The API server accepts conditions with messages of 32 768 characters. */
const textCharsMax = 4_096;
/** A text that fits into a condition. */
export const boundedText = (text: string): string =>
  text.length <= textCharsMax ? text : `${text.slice(0, textCharsMax)}… and more`;

/** All of them in one text, of limited length; undefined: there are none. */
export const remarksText = (remarks: readonly Remark[]): string | undefined =>
  remarks.length === 0 ? undefined : boundedText(remarks.map(remarkText).join('; '));
