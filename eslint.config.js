import tseslint from 'typescript-eslint';
import { fileLength } from './lint/file-length.js';
import { importCircles } from './lint/import-circles.js';
import { retiredWords } from './lint/retired-words.js';

// Who may import whom (docs/ARCHITECTURE.md): the programs meet in .proto files, not in each other's code.
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
      '**/*.generated.ts',
      'bpf/**',
    ],
  },
  ...tseslint.configs.recommended,
  {
    files: ['**/*.ts'],
    rules: {
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-explicit-any': 'error',
      eqeqeq: 'error',
      'no-console': 'error',
    },
  },
  {
    files: ['**/*.ts', 'lint/*.js', 'native/*.mjs'],
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
  forbid(['src/**/*.ts'], programs, 'src is shared code: it imports no program and no addon'),
  forbid(['src/base/**/*.ts'], anywhereAbove, 'src/base imports nothing of ours'),
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
    'src/model holds parsed values only, in types of its own or generated ones',
  ),
  forbid(
    ['daemonset/**/*.ts'],
    ['**/control/**', '**/native/**'],
    'only daemonset/datapath, daemonset/maps and daemonset/pod touch the addon, and nobody the control plane',
    ['daemonset/datapath/**', 'daemonset/maps/**', 'daemonset/pod/**'],
  ),
  {
    files: ['daemonset/datapath/**/*.ts', 'daemonset/pod/**/*.ts'],
    rules: {
      'no-restricted-imports': [
        'error',
        {
          patterns: [
            { group: ['**/control/**'], message: 'the agent and the control plane meet in .proto files' },
            { group: ['**/kernel/**'], message: 'who loads programs and opens sockets decides nothing' },
            {
              group: ['**/native/**'],
              importNames: ['BpfMap', 'BpfRing'],
              message: 'rows of kernel maps are read and written by daemonset/maps',
            },
          ],
        },
      ],
    },
  },
  forbid(
    ['daemonset/maps/**/*.ts'],
    ['**/control/**', '**/datapath/**', '**/kernel/**', '**/pod/**'],
    'rows of the kernel maps: who loads the programs and who decides calls this, not the other way',
  ),
  forbid(
    ['control/**/*.ts'],
    ['**/daemonset/**', '**/native/**', '**/src/hbone/**', '**/src/cli/**', '**/src/waypoint/**'],
    'the control plane holds no proxy code',
  ),
  forbid(
    ['native/**/*.ts'],
    ['**/src/**', '**/daemonset/**', '**/control/**'],
    'the addon knows nothing of the mesh',
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
