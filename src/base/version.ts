/** Version of this build. package.json and the chart have the same version (test/lint/version.test.ts). */
export const version = '0.1.0';
