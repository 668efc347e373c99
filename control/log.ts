/** The logger interface of the control plane's parts. */
export interface ControlLog {
  info(fields: object, text: string): void;
  warn(fields: object, text: string): void;
}
