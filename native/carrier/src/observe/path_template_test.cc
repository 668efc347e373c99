// SPDX-License-Identifier: Apache-2.0
#include "observe/path_template.h"

#include "observe/test_vectors.h"

namespace weft {

TEST_CASE("path template: the table of the agent, and the part of a target that is kept has the same template") {
  const Vectors rows = ReadVectors("path-templates.json");
  CHECK(rows.size() > 30);
  for (const auto& row : rows) {
    CHECK_MESSAGE(PathTemplate(row[0]) == row[1], row[0]);
    TemplatePath path;
    for (const char c : row[0]) path.Add(c);
    CHECK_MESSAGE(PathTemplate(path.text()) == row[1], row[0]);
  }
}

TEST_CASE("path template: bounded, and what is kept of a target too, whatever it is") {
  const std::string alphabet = "/abcdefghijklmnopqrstuvwxyz0123456789.%?#;:-_~@\xe9";
  uint32_t random = 1;
  const auto next = [&] { return (random = random * 1'664'525 + 1'013'904'223) >> 8; };
  for (int round = 0; round < 20'000; round++) {
    std::string text = round % 2 == 0 ? "/" : "";
    for (size_t left = next() % (round % 50 == 0 ? 5'000 : 120); left > 0; left--) text += alphabet[next() % alphabet.size()];
    const std::string made = PathTemplate(text);
    CHECK(made.size() <= kTemplateBytesMax);
    CHECK(made.find_first_of("?#;%\xe9") == made.npos);
    TemplatePath path;
    for (const char c : text) path.Add(c);
    CHECK(path.text().size() < 1200);
    CHECK(PathTemplate(path.text()) == made);
  }
}

}  // namespace weft
