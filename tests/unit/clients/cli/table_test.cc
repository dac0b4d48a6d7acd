#include "clients/cli/table.h"

#include "gtest/gtest.h"

namespace contextpool::cli {
namespace {

TEST(Table, LinesUpColumnsOfWideText) {
  Table table({{.title = "NAME"}, {.title = "N", .right = true}, {.title = "X"}});
  table.AddRow({"\u65E5\u672C\u8A9E", "7", "a"});
  table.AddRow({"b", "1000", ""});
  EXPECT_EQ(table.Render(1),
            " NAME       N  X\n"
            " \u65E5\u672C\u8A9E     7  a\n"
            " b       1000\n");
}

TEST(Table, ANoteDoesNotWidenTheColumns) {
  Table table({{}, {}});
  table.AddRow({"a", "b"});
  table.AddNote("  a long line of its own");
  EXPECT_EQ(table.Render(0), "a  b\n  a long line of its own\n");
}

}  // namespace
}  // namespace contextpool::cli
