// SPDX-License-Identifier: Apache-2.0
// Tables of tests that the agent's implementation has too: JSON arrays of arrays of strings, in src/telemetry.
#pragma once

#include <doctest/doctest.h>

#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace weft {

using Vectors = std::vector<std::vector<std::string>>;

inline Vectors ReadVectors(const std::string& name) {
  const std::string here = __FILE__;
  const std::string root = here.substr(0, here.rfind("native/carrier/"));
  std::ifstream file(root + "src/telemetry/" + name);
  const std::string json{std::istreambuf_iterator<char>(file), {}};
  REQUIRE_MESSAGE(!json.empty(), root);
  Vectors rows;
  int depth = 0;
  for (size_t i = 0; i < json.size(); i++) {
    if (json[i] == '[' && ++depth == 2) rows.emplace_back();
    if (json[i] == ']') depth--;
    if (json[i] != '"') continue;
    std::string& text = rows.back().emplace_back();
    while (json[++i] != '"') {
      if (json[i] != '\\') {
        text += json[i];
        continue;
      }
      const char escape = json[++i];
      if (escape == 'u') {
        // Bytes: the tables have no other characters.
        text += static_cast<char>(std::stoi(json.substr(i + 1, 4), nullptr, 16));
        i += 4;
      } else {
        text += escape == 'r' ? '\r' : escape == 'n' ? '\n' : escape;
      }
    }
  }
  return rows;
}

}  // namespace weft
