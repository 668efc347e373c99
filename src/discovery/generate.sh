#!/usr/bin/env bash
# Generates src/discovery/gen, the table of filters and the agent's side of the carrier's messages (daemonset/carrier/gen) from the
# .proto files. Requires Debian's protobuf-compiler and libprotobuf-dev.
set -euo pipefail
cd "$(dirname "$0")"
rm -rf gen && mkdir gen
options=esModuleInterop=true,importSuffix=.js,outputServices=grpc-js,oneof=unions-value,forceLong=number,env=node,outputJsonMethods=false,exportCommonSymbols=false,useExactTypes=false,useReadonlyTypes=true,initializeFieldsAsUndefined=false
plugin=../../node_modules/.bin/protoc-gen-ts_proto
protoc --plugin=$plugin --proto_path=proto --proto_path=/usr/include --ts_proto_out=gen --ts_proto_opt=$options proto/*.proto
mkdir -p ../../daemonset/carrier/gen
protoc --plugin=$plugin --proto_path=../../native/carrier --ts_proto_out=../../daemonset/carrier/gen --ts_proto_opt=$options carrier.proto
protoc --proto_path=proto --proto_path=/usr/include --descriptor_set_out=/dev/stdout proto/authorization.proto proto/weft.proto |
  node shapes.mjs >gen/shapes.ts
protoc --proto_path=proto --proto_path=/usr/include --descriptor_set_out=/dev/stdout proto/weft.proto |
  node filter-table.mjs >../waypoint/filters/table.generated.ts
