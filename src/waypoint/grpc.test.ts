import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isGrpcType } from './grpc.js';

test('gRPC is told from gRPC-Web and from whatever else begins like it', () => {
  for (const type of [
    'application/grpc',
    'application/grpc+proto',
    'application/grpc+json',
    'application/grpc;x=y',
    'Application/gRPC',
  ])
    assert.equal(isGrpcType(type), true, type);
  for (const type of [
    undefined,
    '',
    'application/grpc-web',
    'application/grpc-web+proto',
    'application/grpc-web-text',
    'application/grpcish',
    'text/application/grpc',
  ])
    assert.equal(isGrpcType(type), false, type);
});
