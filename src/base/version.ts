/** Of this build; package.json and the chart say the same (test/lint/version.test.ts). */
export const version = '0.1.0';
