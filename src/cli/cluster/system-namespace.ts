/** Default namespace of the installation. */
export const systemNamespace = 'weft-system';
