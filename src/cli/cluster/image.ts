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

/** Parses `[REGISTRY[:PORT]/]NAME[:TAG][@DIGEST]`. Error: WEFT_IMAGE_NAME. */
export function parseImage(text: string): ImageReference {
  const [, beforeDigest = '', digest] = /^([^@]*)(?:@(.*))?$/.exec(text) ?? [];
  // A colon before a slash separates the port of the registry.
  const [, repository = '', tag] = /^(.*?)(?::([^/:]*))?$/.exec(beforeDigest) ?? [];
  if (
    !repositoryPattern.test(repository) ||
    (tag !== undefined && !/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/.test(tag)) ||
    (digest !== undefined && !/^sha256:[0-9a-f]{64}$/.test(digest))
  )
    throw new WeftError(
      'WEFT_IMAGE_NAME',
      `${JSON.stringify(text)} is not an image reference: write REGISTRY/NAME:TAG or REGISTRY/NAME@sha256:...`,
    );
  return {
    repository,
    ...(tag === undefined ? {} : { tag }),
    ...(digest === undefined ? {} : { digest }),
  };
}

/** True if the name contains a registry. Without one, the container runtime uses its default registry. */
export function namesRegistry(image: string): boolean {
  const [host = ''] = image.split('/');
  return image.includes('/') && (/[.:]/.test(host) || host === 'localhost');
}

/** The chart values `image.*` as helm arguments. */
export const imageValues = ({ repository, tag, digest }: ImageReference): string[] => [
  `image.repository=${repository}`,
  // Clears the tag or digest that an earlier release was given.
  `image.tag=${tag ?? ''}`,
  `image.digest=${digest ?? ''}`,
];
