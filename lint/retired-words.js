/**
 * ESLint rule: one word per concept, the word of the field (docs/glossary.md). The rule checks the names that a file declares
 * (variables, parameters, functions, types, members) and the names of the file and its folders, each split into its words. It
 * does not check names from libraries or keys of object literals. In comments it checks only words that have no other meaning.
 * {@link retiredInNative} does the same for C, C++ and .proto files (test/lint/words.test.ts).
 *
 * A name that users already know, such as a field of JSON output, keeps its word:
 * `// eslint-disable-next-line weft/retired-words -- REASON`.
 */
import path from 'node:path';

/**
 * `*` at the end matches every ending. `folders`: the word is retired only in these folders; without it, everywhere.
 * @type {readonly { words: string, instead: string, folders?: readonly string[] }[]}
 */
const names = [
  { words: 'told, tell, tells', instead: 'the resource update, or sent, updated, report' },
  { words: 'withdrawn', instead: 'removed (resources), canceled (questions)' },
  { words: 'dialled', instead: 'dialed' },
  { words: 'data path', instead: 'relay (user space), datapath (eBPF)' },
  { words: 'facts', instead: 'attributes (of requests and connections), or observation, input, state' },
  { words: 'judge*', instead: 'authorize' },
  { words: 'trouble*, saying*', instead: 'problem, condition' },
  { words: 'surroundings', instead: 'lookup' },
  { words: 'upkeep', instead: 'status writer' },
  { words: 'bed, beds', instead: 'testbed' },
  { words: 'disown*', instead: 'unassign' },
  { words: 'enrol, enrols, enrolment', instead: 'enroll, enrolls, enrollment' },
  { words: 'take in, let go', instead: 'enroll, unenroll' },
  { words: 'kept body', instead: 'replay buffer' },
  { words: 'carry, carries, carried, carrying', instead: 'relay (user space), kernel flow (eBPF)' },
  { words: 'narrow, narrowed', instead: 'pickFields, picked', folders: ['control'] },
  { words: 'around', instead: 'lookup', folders: ['control', 'daemonset'] },
  { words: 'note, notes', instead: 'handoff record', folders: ['daemonset'] },
  { words: 'learn', instead: 'request a verdict', folders: ['daemonset'] },
  {
    words: 'away',
    instead: 'ejected, unhealthy (endpoint)',
    folders: ['daemonset/proxy', 'src/hbone', 'src/state', 'src/waypoint'],
  },
];

const comments = [
  // The CLI flag --enrol-none keeps its spelling.
  { pattern: /(?<!--)\benrol(s|ments?)?\b/i, instead: 'enroll' },
  { pattern: /\bdisown\w*/i, instead: 'unassign' },
  { pattern: /\bupkeep\b/i, instead: 'status writer' },
  { pattern: /\bkept bod(y|ies)\b/i, instead: 'replay buffer' },
  { pattern: /\bdata paths?\b/i, instead: 'relay (user space), datapath (eBPF)' },
];

/** The words of a name in camelCase, kebab-case or CAPITALS, between spaces: ` weft bed exists `. */
function wordsOf(name) {
  const split = name.replace(/([a-z0-9])(?=[A-Z])|([A-Z])(?=[A-Z][a-z])/g, '$1$2 ').split(/[^A-Za-z0-9]+/);
  // GOAWAY is a frame of HTTP/2.
  return ` ${split.join(' ').trim().toLowerCase()} `.replace(' go away ', ' goaway ');
}

const retired = names.flatMap(({ words, instead, folders }) =>
  words.split(', ').map((word) => ({
    word,
    instead,
    folders,
    text: word.endsWith('*') ? ` ${word.slice(0, -1)}` : ` ${word} `,
  })),
);

/** Finds the first retired word of names in `file`, a path from the project's root. */
export function retiredWordsOf(file) {
  const here = retired.filter(
    ({ folders }) => !folders || folders.some((folder) => file.startsWith(`${folder}/`)),
  );
  return (name) => {
    const words = wordsOf(name);
    return here.find(({ text }) => words.includes(text));
  };
}

/** The first retired word of a comment, with its pattern's replacement, for each pattern that it matches. */
const retiredInComment = (text) =>
  comments.flatMap(({ pattern, instead }) => {
    const [written] = pattern.exec(text) ?? [];
    return written === undefined ? [] : [{ written, instead }];
  });

/** Comments, then string and character literals. Raw strings and the lines that a backslash joins are not used in these files. */
const nativeTokens = /\/\/[^\n]*|\/\*[^]*?\*\/|"(?:\\.|[^"\\\n])*"|(?<!\w)'(?:\\.|[^'\\\n])+'|[A-Za-z_]\w*/g;

/**
 * Complaints about a C, C++ or .proto file: every name in it, also of other files, because no name of the libraries has a retired word.
 * `allowed`: names that users or the kernel's pinned maps already have.
 * @param {string} file path from the project's root
 * @param {string} source
 * @param {ReadonlySet<string>} allowed
 * @returns {string[]}
 */
export function retiredInNative(file, source, allowed = new Set()) {
  const find = retiredWordsOf(file);
  const complaints = new Set();
  const complain = (name, found) =>
    complaints.add(`${file}: "${found.word}" in ${name} is a retired word: write ${found.instead}`);
  const path = find(file.replace(/\.\w+$/, ''));
  if (path) complain(file, path);
  for (const [token] of source.matchAll(nativeTokens)) {
    if (/^["']/.test(token)) continue;
    if (token.startsWith('/')) {
      for (const { written, instead } of retiredInComment(token))
        complaints.add(`${file}: "${written}" in a comment is a retired word: write ${instead}`);
      continue;
    }
    const found = allowed.has(token) ? undefined : find(token);
    if (found) complain(token, found);
  }
  return [...complaints];
}

/** False for a name that another file declares (`import { a }`, `const { a } = b`): it is checked there. */
const isOurs = ({ name, type }) => {
  if (name?.type !== 'Identifier') return false;
  const { parent } = name;
  if (type === 'ImportBinding')
    return parent?.type === 'ImportSpecifier' && parent.imported.name !== name.name;
  const property = parent?.type === 'AssignmentPattern' ? parent.parent : parent;
  return !(property?.type === 'Property' && property.shorthand);
};

export const retiredWords = {
  meta: {
    type: 'suggestion',
    schema: [],
    messages: { retired: '"{{word}}" in {{where}} is a retired word: write {{instead}}' },
  },
  create(context) {
    const file = path.relative(context.cwd, context.filename).split(path.sep).join('/');
    const find = retiredWordsOf(file);
    const check = (node, name, loc = node.loc) => {
      const found = find(name);
      if (found)
        context.report({
          loc,
          messageId: 'retired',
          data: { word: found.word, where: name, instead: found.instead },
        });
    };
    const member = ({ key, computed }) => {
      if (!computed && (key?.type === 'Identifier' || key?.type === 'PrivateIdentifier'))
        check(key, key.name);
    };
    return {
      Program(node) {
        check(node, file.replace(/\.\w+$/, ''), { line: 1, column: 0 });
        for (const comment of context.sourceCode.getAllComments())
          for (const { written, instead } of retiredInComment(comment.value)) {
            const data = { word: written, where: 'a comment', instead };
            context.report({ loc: comment.loc, messageId: 'retired', data });
          }
      },
      'Program:exit'() {
        const variables = context.sourceCode.scopeManager.scopes.flatMap((scope) => scope.variables);
        // A class declares its name in two scopes.
        const declared = new Set(
          variables.flatMap(({ defs }) => defs.filter(isOurs).map(({ name }) => name)),
        );
        for (const name of declared) check(name, name.name);
      },
      PropertyDefinition: member,
      AccessorProperty: member,
      MethodDefinition: member,
      TSPropertySignature: member,
      TSMethodSignature: member,
      TSAbstractMethodDefinition: member,
      TSAbstractPropertyDefinition: member,
    };
  },
};
