// SPDX-License-Identifier: Apache-2.0
// The carrier: relays the bytes of enrolled pods by the rules of the agent (docs/carrier.md).
int main() { return 0; }
