#include "clients/cli/canvas.h"

#include "gtest/gtest.h"

namespace contextpool::cli {
namespace {

TEST(CanvasTest, RowsGrowAndEndWithTheirText) {
  Canvas canvas;
  canvas.Put(1, 2, "ab", 2, Ink::kBold);
  canvas.Put(1, 8, " ", 1, Ink::kPlain);
  canvas.Put(3, 0, "c", 1, Ink::kBar);
  EXPECT_EQ(canvas.Render(1, false), "   ab\n\n c\n");
}

TEST(CanvasTest, WideTextCoversTheCellsItStandsOn) {
  Canvas canvas;
  canvas.Put(0, 0, "--------", 8, Ink::kPlain);
  for (size_t i = 0; i < 8; ++i) canvas.Put(0, i, "-", 1, Ink::kPlain);
  canvas.Put(0, 2, "\u65E5\u672C", 4, Ink::kPlain);
  EXPECT_EQ(canvas.Render(0, false), "--\u65E5\u672C--\n");
}

TEST(CanvasTest, NeighboursOfOneInkShareTheirEscapes) {
  Canvas canvas;
  canvas.Put(0, 0, "a", 1, Ink::kWindow);
  canvas.Put(0, 1, "b", 1, Ink::kWindow);
  canvas.Put(0, 2, "c", 1, Ink::kPlain);
  EXPECT_EQ(canvas.Render(2, true), "  \x1B[33mab\x1B[0mc\n");
}

}  // namespace
}  // namespace contextpool::cli
