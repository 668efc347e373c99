/**
 * The names by which requests are counted: their methods and the templates of their paths, bounded for each group of clients of a Service, so
 * that clients cannot fill a table with paths of their choice.
 */
import { otherName } from '../model/edge.js';
import { pathTemplate } from './path-template.js';

/** Of the requests of one client namespace to one Service. */
export const templatesMax = 100;
/** Templates are forgotten after this many reports (15 minutes), so that those of an older version of the application go. */
const templateTakes = 90;
const pathsMax = 2_048;
/** Clients choose paths, which may be longer than all that an edge keeps. */
const pathCharsMax = 256;
/** Destinations without a Service are chosen by clients. Beyond, all are forgotten: the tables that use the templates have limits of their own. */
const destinationsMax = 4_096;
/** Of all destinations and groups: a template may be as long as a client chooses, up to 403 characters. Beyond, all are forgotten as well. */
export const templatesInAllMax = 16_384;

/** The methods of RFC 9110 and RFC 5789. */
export const registeredMethods: ReadonlySet<string> = new Set([
  'GET',
  'HEAD',
  'POST',
  'PUT',
  'PATCH',
  'DELETE',
  'OPTIONS',
  'CONNECT',
  'TRACE',
]);

/** A method as a name of bounded choice. Pure. */
export const methodName = (method: string): string => (registeredMethods.has(method) ? method : otherName);

export class PathTemplates {
  #paths = new Map<string, string>();
  /** Templates that were seen, by destination and group of clients. */
  #templates = new Map<string, Map<string, Set<string>>>();
  #size = 0;
  #takes = 0;

  /** `onLimit`: a request was counted under `other`. */
  constructor(private readonly onLimit: () => void) {}

  /** Templates that are kept, of all destinations. */
  get size(): number {
    return this.#size;
  }

  /** The template of a path. */
  of(path: string): string {
    if (path.length > pathCharsMax) return pathTemplate(path);
    let template = this.#paths.get(path);
    if (template === undefined) {
      template = pathTemplate(path);
      if (this.#paths.size >= pathsMax) this.#paths = new Map();
      this.#paths.set(path, template);
    }
    return template;
  }

  /** The template, or `other` if the clients of this group have used too many toward the destination. */
  known(template: string, destination: string, group: string): string {
    if (this.#size >= templatesInAllMax) this.#forget();
    let ofDestination = this.#templates.get(destination);
    if (!ofDestination) {
      if (this.#templates.size >= destinationsMax) this.#forget();
      this.#templates.set(destination, (ofDestination = new Map()));
    }
    let seen = ofDestination.get(group);
    if (!seen) ofDestination.set(group, (seen = new Set()));
    if (seen.has(template)) return template;
    if (seen.size >= templatesMax) {
      this.onLimit();
      return otherName;
    }
    seen.add(template);
    this.#size++;
    return template;
  }

  #forget(): void {
    this.#templates = new Map();
    this.#size = 0;
  }

  /** The edges were reported. */
  taken(): void {
    if (++this.#takes % templateTakes === 0) this.#forget();
  }
}
