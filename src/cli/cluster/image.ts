/** References of container images. Pure. */
import { WeftError } from '../../base/errors.js';

export interface ImageReference {
  readonly repository: string;
  readonly tag?: string;
  /** `sha256:...` */
  readonly digest?: string;
}

const repositoryPattern =
  /^([a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?(:[0-9]+)?\/)?[a-z0-9]+([._-]+[a-z0-9]+)*(\/[a-z0-9]+([._-]+[a-z0-9]+)*)*$/;

/** Of `[REGISTRY[:PORT]/]NAME[:TAG][@DIGEST]`. Error: WEFT_IMAGE_NAME. */
export function parseImage(text: string): ImageReference {
  const [, beforeDigest = '', digest] = /^([^@]*)(?:@(.*))?$/.exec(text) ?? [];
  // A colon before a slash is the registry's port.
  const [, repository = '', tag] = /^(.*?)(?::([^/:]*))?$/.exec(beforeDigest) ?? [];
  if (
    !repositoryPattern.test(repository) ||
    (tag !== undefined && !/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/.test(tag)) ||
    (digest !== undefined && !/^sha256:[0-9a-f]{64}$/.test(digest))
  )
    throw new WeftError(
      'WEFT_IMAGE_NAME',
      `${JSON.stringify(text)} names no image: it is REGISTRY/NAME:TAG, or REGISTRY/NAME@sha256:...`,
    );
  return {
    repository,
    ...(tag === undefined ? {} : { tag }),
    ...(digest === undefined ? {} : { digest }),
  };
}

/** Whether the name leads to a registry of its own, and not to the default one of the container runtime. */
export function namesRegistry(image: string): boolean {
  const [host = ''] = image.split('/');
  return image.includes('/') && (/[.:]/.test(host) || host === 'localhost');
}

/** As Helm takes them: the chart's values `image.*`. */
export const imageValues = ({ repository, tag, digest }: ImageReference): string[] => [
  `image.repository=${repository}`,
  // What an earlier release was given does not stay beside it.
  `image.tag=${tag ?? ''}`,
  `image.digest=${digest ?? ''}`,
];
