/**
 * ESLint rule: a source file has at most `max` lines. A longer one says why in its first comment:
 * `// Over 500 lines: REASON`.
 */
export const fileLength = {
  meta: {
    type: 'suggestion',
    schema: [{ type: 'object', properties: { max: { type: 'integer' } }, additionalProperties: false }],
    messages: {
      long: '{{lines}} lines: split this file by its nouns, or begin it with "// Over {{max}} lines: REASON"',
    },
  },
  create(context) {
    const max = context.options[0]?.max ?? 500;
    return {
      Program(node) {
        const { lines } = context.sourceCode;
        const count = lines.at(-1) === '' ? lines.length - 1 : lines.length;
        if (count <= max) return;
        const first = context.sourceCode.getAllComments().find(({ type }) => type !== 'Shebang');
        if (new RegExp(`^[\\s*]*Over ${max} lines: \\S`).test(first?.value ?? '')) return;
        context.report({
          node,
          loc: { line: max + 1, column: 0 },
          messageId: 'long',
          data: { lines: count, max },
        });
      },
    };
  },
};
