/** What the parts of the control plane log by. */
export interface ControlLog {
  info(fields: object, text: string): void;
  warn(fields: object, text: string): void;
}
