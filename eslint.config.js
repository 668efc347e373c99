import tseslint from 'typescript-eslint';

// Who may import whom (docs/ARCHITECTURE.md): the programs meet in .proto files, not in each other's code.
const forbid = (files, group, message, ignores = []) => ({
  files,
  ignores,
  rules: { 'no-restricted-imports': ['error', { patterns: [{ group, message }] }] },
});

const programs = ['**/daemonset/**', '**/control/**', '**/native/**'];
const anywhereAbove = ['../**'];

export default tseslint.config(
  { ignores: ['dist/**', 'node_modules/**', 'native/build/**', 'src/discovery/gen/**', 'bpf/**'] },
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
  forbid(['src/**/*.ts'], programs, 'src is shared code: it imports no program and no addon', [
    'src/hbone/hbone.test.ts',
  ]),
  forbid(['src/base/**/*.ts'], anywhereAbove, 'src/base imports nothing of ours'),
  forbid(
    ['src/model/**/*.ts'],
    [...anywhereAbove, '!../base', '!../base/**'],
    'src/model holds parsed values only',
  ),
  forbid(
    ['daemonset/**/*.ts'],
    ['**/control/**', '**/native/**'],
    'only daemonset/datapath and daemonset/pod touch the addon, and nobody the control plane',
    ['daemonset/datapath/**', 'daemonset/pod/**'],
  ),
  forbid(
    ['daemonset/datapath/**/*.ts', 'daemonset/pod/**/*.ts'],
    ['**/control/**'],
    'the agent and the control plane meet in .proto files',
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
