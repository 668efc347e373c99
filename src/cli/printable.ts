/** Names and reasons come from objects and logs of others: nothing that a terminal would act on is printed. */
export const printable = (line: string): string => line.replace(/[\u0000-\u001f\u007f-\u009f]/g, '?');

/** The same for a text of several lines. */
export const printableLines = (text: string): string => text.split('\n').map(printable).join('\n');
