/** Prints gen/shapes.ts, the known fields of each message of our packages: protoc's descriptor set comes on stdin (generate.sh). */
import { readFileSync } from 'node:fs';
import { fromBinary } from '@bufbuild/protobuf';
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';

const { file } = fromBinary(FileDescriptorSetSchema, readFileSync(0));
const nameOf = (message) => `${message[0].toLowerCase()}${message.slice(1)}Shape`;
const messages = file.flatMap((one) =>
  one.messageType.map((message) => ({
    ...message,
    type: `.${one.package}.${message.name}`,
    id: nameOf(message.name),
  })),
);
const ids = new Map(messages.map(({ type, id }) => [type, id]));

console.log(`// Made by shapes.mjs from the .proto files. DO NOT EDIT.
import type { Shape } from '../codec/unknown-fields.js';`);
for (const { id, field } of messages) {
  const fields = field.map(
    ({ number, typeName }) => `${number}: ${ids.has(typeName) ? `() => ${ids.get(typeName)}` : 'true'}`,
  );
  console.log(`\nexport const ${id}: Shape = { ${fields.join(', ')} };`);
}
