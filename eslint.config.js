import tseslint from 'typescript-eslint';
import { fileLength } from './lint/file-length.js';
import { importCircles } from './lint/import-circles.js';
import { retiredWords } from './lint/retired-words.js';

// Import boundaries (docs/ARCHITECTURE.md): the programs share .proto files and do not import each other's code.
const forbid = (files, group, message, ignores = []) => ({
  files,
  ignores,
  rules: { 'no-restricted-imports': ['error', { patterns: [{ group, message }] }] },
});

const programs = ['**/daemonset/**', '**/control/**', '**/native/**'];
const anywhereAbove = ['../**'];

export default tseslint.config(
  {
    ignores: [
      'dist/**',
      'node_modules/**',
      'native/build/**',
      'src/discovery/gen/**',
      'daemonset/carrier/gen/**',
      '**/*.generated.ts',
      'bpf/**',
    ],
  },
  ...tseslint.configs.recommended,
  {
    files: ['**/*.ts', '**/*.tsx'],
    rules: {
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-explicit-any': 'error',
      eqeqeq: 'error',
      'no-console': 'error',
    },
  },
  {
    files: ['**/*.ts', '**/*.tsx', 'lint/*.js', 'native/*.mjs'],
    plugins: {
      weft: {
        rules: { 'file-length': fileLength, 'import-circles': importCircles, 'retired-words': retiredWords },
      },
    },
    rules: {
      'weft/file-length': ['error', { max: 500 }],
      'weft/import-circles': 'error',
      'weft/retired-words': 'error',
    },
  },
  forbid(['src/**/*.ts'], programs, 'src is shared code: it must not import a program or the addon', [
    // Workers of a waypoint share memory.
    'src/waypoint/shared/**/*.ts',
  ]),
  forbid(
    ['src/dashboard/**/*.ts', 'src/dashboard/**/*.tsx'],
    ['node:*', ...programs, '**/cli/**'],
    'src/dashboard runs in the browser: it must not import what needs Node.js',
    ['src/dashboard/**/*.test.ts'],
  ),
  forbid(['src/base/**/*.ts'], anywhereAbove, 'src/base must not import other folders of this project'),
  forbid(
    ['src/http2/**/*.ts'],
    [...anywhereAbove, '!../base', '!../base/**', '!../http2.js', '!../http2'],
    'src/http2 must import only src/base',
    ['src/http2/**/*.test.ts'],
  ),
  forbid(
    ['src/model/**/*.ts'],
    [
      ...anywhereAbove,
      ...[
        '!../base',
        '!../base/**',
        '!../discovery',
        '../discovery/*',
        '!../discovery/gen',
        '!../discovery/gen/**',
      ],
    ],
    'src/model holds only parsed values: it may import src/base and the generated types',
  ),
  forbid(
    ['daemonset/**/*.ts'],
    ['**/control/**', '**/native/**'],
    'only daemonset/datapath, daemonset/maps and daemonset/pod may import the addon, and no file may import the control plane',
    ['daemonset/datapath/**', 'daemonset/maps/**', 'daemonset/pod/**'],
  ),
  {
    files: ['daemonset/datapath/**/*.ts', 'daemonset/pod/**/*.ts'],
    rules: {
      'no-restricted-imports': [
        'error',
        {
          patterns: [
            { group: ['**/control/**'], message: 'the agent and the control plane share only .proto files' },
            {
              group: ['**/kernel/**'],
              message: 'code that loads programs or opens sockets must not import code that decides',
            },
            {
              group: ['**/native/**'],
              importNames: ['BpfMap', 'BpfRing'],
              message: 'only daemonset/maps reads and writes rows of kernel maps',
            },
          ],
        },
      ],
    },
  },
  forbid(
    ['daemonset/maps/**/*.ts'],
    ['**/control/**', '**/datapath/**', '**/kernel/**', '**/pod/**'],
    'daemonset/maps reads and writes map rows: loaders and deciders import it, and it must not import them',
  ),
  forbid(
    ['control/**/*.ts'],
    ['**/daemonset/**', '**/native/**', '**/src/hbone/**', '**/src/cli/**', '**/src/waypoint/**'],
    'the control plane must not import the agent or proxy code',
  ),
  forbid(
    ['native/**/*.ts'],
    ['**/src/**', '**/daemonset/**', '**/control/**'],
    'the addon must not import mesh code',
  ),
  {
    files: [
      'src/cli/**',
      'bench/**',
      'test/**',
      'native/*.mjs',
      'control/main.ts',
      'control/commands/**',
      'daemonset/main.ts',
      'daemonset/cleanup.ts',
    ],
    rules: { 'no-console': 'off' },
  },
);
