#include "clients/cli/explanation.h"

#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "clients/cli/utf8.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace contextpool::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

struct Token {
  std::string text;
  float weight;
  float size;
};

// One layer.
v1::Explanation Explain(const std::vector<Token>& tokens) {
  v1::Explanation explanation;
  v1::ContextPoolLayer& layer = *explanation.add_layers();
  layer.set_layer(2);
  for (const Token& token : tokens) {
    explanation.add_tokens(token.text);
    layer.add_weight(token.weight);
    layer.add_support_size(token.size);
  }
  return explanation;
}

std::string Draw(const v1::Explanation& explanation, size_t columns = 80, bool color = false) {
  return DrawExplanation(explanation, {.is_tty = true, .color = color, .columns = columns}, 3);
}

constexpr char kLegend[] = "\n   bar: how much a token counts; line: how far it looks\n";

const std::vector<Token> kSentence = {
    {"[CLS]", 0, 0},     {"a", 0.1f, 0.25f},  {"perfect", 0.8f, 1},  {"film", 0.4f, 0.5f},
    {"un", 0.05f, 1.5f}, {"##seen", 0.2f, 0}, {"[SEP]", 0.01f, 0.5f}};

TEST(DrawExplanationTest, BarsStandOnTheWordsAndWindowsLieBelow) {
  EXPECT_EQ(Draw(Explain(kSentence)), std::string(R"(
   layer 2   weights 0.01 to 0.8, support sizes 0.0 to 1.5 tokens
            ███████
          ▂ ███████ ████ ▁▁▄▄▄▄ ▁▁▁▁▁
    [CLS] a perfect film unseen [SEP]
          a        ╺film╸  seen
          ╺━perfect━━━         ╺[SEP]
                   ╺━━━━━un━━━━╸
)") + kLegend);
}

TEST(DrawExplanationTest, WindowsGoOnOverTheEndsOfALine) {
  const auto token = [](const char* text) { return Token{text, 1, 1}; };
  EXPECT_EQ(Draw(Explain({token("eleven"), token("twelve"), token("thirteen"), token("fourteen"),
                          token("fifteen"), token("sixteen")}),
                 40),
            std::string(R"(
   layer 2
   weights 1 to 1, support sizes 1.0 to
   1.0 tokens
    ██████ ██████ ████████
    ██████ ██████ ████████
    eleven twelve thirteen
    eleven━━━━
       ╺━━━twelve━━━━━
              ━━━━thirteen▸

    ████████ ███████ ███████
    ████████ ███████ ███████
    fourteen fifteen sixteen
   ◂fourteen━━━━╸
        ╺━━━━fifteen━━━━╸
                ╺━━━━sixteen

   bar: how much a token counts; line:
   how far it looks
)"));
}

TEST(DrawExplanationTest, ByteLevelTokensStandSideBySide) {
  EXPECT_EQ(Draw(Explain({{"a", 0.5f, 0.5f}, {"\u0120", 0.25f, 1}, {"b", 1, 1.5f}, {"c", 1, 4}})),
            std::string(R"(
   layer 2   weights 0.25 to 1, support sizes 0.5 to 4.0 tokens
      ██
    █▄██
    a bc
    a
    ╺␣╸
     ━b━
    ━━━c
)") + kLegend);
}

TEST(DrawExplanationTest, TextsWithoutSpacesStandSideBySideToo) {
  std::vector<Token> tokens;
  for (const char letter : std::string("Wonderful!")) tokens.push_back({{letter}, 1, 0});
  EXPECT_THAT(Draw(Explain(tokens)), HasSubstr("\n    Wonderful!\n    Wonderful!\n\n"))
      << "words without lines share a row";
}

TEST(DrawExplanationTest, BytesOfOneCharacterAreDrawnAsOne) {
  EXPECT_EQ(Draw(Explain({{"f", 0.25f, 0.5f}, {"Ã", 0.5f, 1.5f}, {"©", 1, 0.5f}, {"s", 1, 0}})),
            std::string(R"(
   layer 2   weights 0.25 to 1, support sizes 0.0 to 1.5 tokens
     ██
    ▄██
    fés
    f s
    ━é
)") + kLegend + "   a character of several tokens: its largest bar, all its lines\n");
}

TEST(DrawExplanationTest, BytesThatAreNoTextReachNoTerminal) {
  const std::string picture =
      Draw(Explain({{"ě", 1, 0}, {"[", 1, 0}, {"Ć", 1, 0}, {"ÿ", 1, 0}, {"Ã", 1, 0}}));
  EXPECT_THAT(picture, HasSubstr("\n    \uFFFD[\uFFFD\uFFFD\uFFFD\n"));
  EXPECT_THAT(picture, Not(HasSubstr("\x1B")));
  EXPECT_THAT(picture, Not(HasSubstr("\x06")));
}

TEST(DrawExplanationTest, WindowsTakeTwelveRowsAtMost) {
  const std::vector<Token> tokens(20, {"x", 1, 100});
  const std::string picture = Draw(Explain(tokens));
  EXPECT_THAT(picture, HasSubstr("\n   8 windows are not drawn\n"));
  // Blank, heading, two of bars, text, windows, what is left out, blank, legend, end.
  const std::vector<std::string> lines = absl::StrSplit(picture, '\n');
  EXPECT_EQ(lines.size(), 1 + 1 + 2 + 1 + 12 + 1 + 1 + 1 + 1u);
  EXPECT_THAT(Draw(Explain({tokens.begin(), tokens.begin() + 13})),
              HasSubstr("\n   1 window is not drawn\n"));
  EXPECT_THAT(Draw(Explain({tokens.begin(), tokens.begin() + 12})), Not(HasSubstr("not drawn")));
}

TEST(DrawExplanationTest, WideCharactersStayAligned) {
  EXPECT_EQ(Draw(Explain({{"日本", 1, 0.5f}, {"x", 1, 1}, {"\u0301", 1, 0}, {"", 1, 0}})),
            std::string(R"(
   layer 2   weights 1 to 1, support sizes 0.0 to 1.0 tokens
    ████ █ █ █
    ████ █ █ █
    日本 x ́· ·
    日本╸  ́· ·
      ╺━━x━╸
)") + kLegend);
}

TEST(DrawExplanationTest, NoLineIsWiderThanTheTerminal) {
  std::vector<Token> tokens;
  for (int i = 0; i < 60; ++i) {
    tokens.push_back({std::string(1 + i % 11, 'x'), 0.5f, static_cast<float>(i % 13)});
  }
  tokens.push_back({std::string(500, 'y'), 1, 100});
  tokens[0].size = 1e9f;
  for (const size_t columns : {40, 72, 80, 200}) {
    const std::string picture = Draw(Explain(tokens), columns);
    for (const absl::string_view line : absl::StrSplit(picture, '\n')) {
      EXPECT_LE(DisplayWidth(line), columns) << line;
    }
  }
}

TEST(DrawExplanationTest, LongInputsAreCutAndSaidToBe) {
  const std::vector<Token> tokens(100, {"letters", 1, 1});
  const std::string picture = Draw(Explain(tokens));
  EXPECT_THAT(picture, HasSubstr("\n   64 more tokens are not drawn; --json has the numbers of "
                                 "all\n"));
  EXPECT_THAT(Draw(Explain({tokens.begin(), tokens.begin() + 36})), Not(HasSubstr("not drawn")));
}

TEST(DrawExplanationTest, ColoursOnlyWhereTheyAreWanted) {
  EXPECT_THAT(Draw(Explain(kSentence)), Not(HasSubstr("\x1B")));
  const std::string picture = Draw(Explain(kSentence), 80, true);
  EXPECT_THAT(picture, HasSubstr("\x1B[1mlayer 2\x1B[0m"));
  EXPECT_THAT(picture, HasSubstr("\x1B[1mperfect\x1B[0m")) << "it counts";
  EXPECT_THAT(picture, HasSubstr("\x1B[2m[SEP]\x1B[0m")) << "it does not";
  EXPECT_THAT(picture, HasSubstr("\x1B[36m"));
}

TEST(DrawExplanationTest, EscapeSequencesInTokensDoNotSurvive) {
  EXPECT_THAT(Draw(Explain({{"\x1B[31mred", 1, 1}})), Not(HasSubstr("\x1B")));
}

TEST(DrawExplanationTest, DamagedRepliesAreDrawnAsFarAsTheyGo) {
  EXPECT_THAT(Draw({}), HasSubstr("bar:"));
  v1::Explanation explanation = Explain(kSentence);
  explanation.mutable_layers(0)->mutable_support_size()->Truncate(2);
  explanation.mutable_layers(0)->set_weight(1, std::numeric_limits<float>::quiet_NaN());
  EXPECT_THAT(Draw(explanation), HasSubstr("perfect"));
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(Draw(Explain({{"a", 1, nan}, {"b", nan, 1}})),
            Draw(Explain({{"a", 1, 0}, {"b", 0, 0}})));
  explanation.mutable_layers(0)->clear_weight();
  EXPECT_THAT(Draw(explanation), HasSubstr("layer 2   every token is passed through\n"));
}

}  // namespace
}  // namespace contextpool::cli
