import tseslint from 'typescript-eslint';
import importX from 'eslint-plugin-import-x';
import { createTypeScriptImportResolver } from 'eslint-import-resolver-typescript';

// Who may import whom (docs/ARCHITECTURE.md): the programs meet in .proto files, not in each other's code.
const zones = [
  {
    target: './src',
    from: ['./daemonset', './control', './native'],
    message: 'src is shared code: it imports no program and no addon',
  },
  { target: './src/base', from: ['./src/!(base)/**'], message: 'src/base imports nothing of ours' },
  { target: './src/model', from: ['./src/!(base|model)/**'], message: 'src/model holds parsed values only' },
  {
    target: ['./daemonset/proxy', './daemonset/enroll', './daemonset/*.ts'],
    from: ['./native'],
    message: 'only daemonset/datapath and daemonset/pod touch the addon',
  },
  {
    target: './daemonset',
    from: ['./control'],
    message: 'the agent and the control plane meet in .proto files',
  },
  {
    target: './control',
    from: ['./daemonset', './native', './src/hbone', './src/cli', './src/waypoint'],
    message: 'the control plane holds no proxy code',
  },
  {
    target: './native',
    from: ['./src', './daemonset', './control'],
    message: 'the addon knows nothing of the mesh',
  },
];

export default tseslint.config(
  { ignores: ['dist/**', 'node_modules/**', 'native/build/**', 'src/discovery/gen/**', 'bpf/**'] },
  ...tseslint.configs.recommended,
  {
    files: ['**/*.ts'],
    plugins: { 'import-x': importX },
    settings: { 'import-x/resolver-next': [createTypeScriptImportResolver()] },
    rules: {
      'import-x/no-restricted-paths': ['error', { zones }],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-explicit-any': 'error',
      eqeqeq: 'error',
      'no-console': 'error',
    },
  },
  {
    files: [
      'src/cli/**',
      'bench/**',
      'test/**',
      'native/*.mjs',
      'control/main.ts',
      'daemonset/main.ts',
      'daemonset/cleanup.ts',
    ],
    rules: { 'no-console': 'off' },
  },
);
