#include "clients/cli/spelling.h"

#include <string>
#include <vector>

#include "contextpool/v1/types.pb.h"
#include "gtest/gtest.h"

namespace contextpool::cli {
namespace {

std::vector<Piece> SpellOf(const std::vector<std::string>& tokens) {
  v1::Explanation explanation;
  explanation.mutable_tokens()->Add(tokens.begin(), tokens.end());
  return Spell(explanation.tokens());
}

// The pieces as one text, with a space before those that do not follow directly.
std::string Joined(const std::vector<std::string>& tokens) {
  std::string text;
  for (const Piece& piece : SpellOf(tokens)) text += (piece.glued ? "" : " ") + piece.text;
  return text;
}

TEST(SpellTest, WordPieceTokensAreWordsAndTheirContinuations) {
  EXPECT_EQ(Joined({"[CLS]", "un", "##seen", "a", "b", "##", "[SEP]"}),
            "[CLS] unseen a b ## [SEP]");
  EXPECT_EQ(Joined({"perfect", "film"}), "perfect film");
  EXPECT_EQ(Joined({"日", "本"}), "日 本");
  // Words of cased vocabularies may hold the letters that byte-level ones use for bytes.
  EXPECT_EQ(Joined({"[CLS]", "āb", "ēc", "[SEP]"}), "[CLS] āb ēc [SEP]");
  EXPECT_EQ(Joined({"ā", "##b"}), "āb");
}

TEST(SpellTest, BytesStandSideBySide) {
  EXPECT_EQ(Joined({"W", "o", "w", "!"}), "Wow!") << "no space tells what the vocabulary is";
  EXPECT_EQ(Joined({"a", "Ġ", "b"}), "a b");
  EXPECT_EQ(Joined({"#", "#", "a"}), "##a");
  EXPECT_EQ(Joined({"Hello", "Ġworld", "!"}), "Hello world!") << "with merges";
  EXPECT_EQ(Joined({"<pad>", "a"}), "<pad>a");
  EXPECT_EQ(Joined({"<", "p", ">"}), "<p>");
}

TEST(SpellTest, EveryByteComesBackFromItsLetter) {
  // In the order of the bytes, as tokenizer.json of a model with 256 tokens lists them: those that
  // are no printable letter, U+0100 and on, in between the others.
  EXPECT_EQ(Joined({"Ā", "Ċ", "ě", "ł", "Ń", "a"}), std::string("\0\n\x1B\xA0\xAD", 5) + "a");
  EXPECT_EQ(Joined({"ġ", "¡", "¬", "®", "ÿ", "~"}), "\x7F\xA1\xAC\xAE\xFF~");
}

TEST(SpellTest, BytesOfOneCharacterBecomeOnePiece) {
  const std::vector<Piece> pieces = SpellOf({"c", "Ã", "©", "s"});
  ASSERT_EQ(pieces.size(), 3u);
  EXPECT_EQ(pieces[1].text, "é");
  EXPECT_EQ(pieces[1].begin, 1u);
  EXPECT_EQ(pieces[1].end, 3u);
  EXPECT_EQ(pieces[2].begin, 3u);
  EXPECT_EQ(pieces[2].end, 4u);
  EXPECT_EQ(SpellOf({"ð", "Ł", "ĺ", "Ģ"}).size(), 1u) << "U+1F600";
  EXPECT_EQ(Joined({"ð", "Ł", "ĺ", "Ģ"}), "\U0001F600");
}

TEST(SpellTest, PartsOfCharactersStayAlone) {
  EXPECT_EQ(SpellOf({"©", "a"}).size(), 2u) << "it continues nothing";
  EXPECT_EQ(SpellOf({"Ã", "a"}).size(), 2u) << "nothing continues it";
  EXPECT_EQ(SpellOf({"Ã", "©", "©"}).size(), 2u) << "one too many";
  EXPECT_EQ(SpellOf({"a", "©"}).size(), 2u);
  EXPECT_EQ(SpellOf({"ÿ", "©"}).size(), 2u) << "no character begins so";
}

TEST(SpellTest, TokensWithoutTextKeepTheirPlace) {
  EXPECT_TRUE(SpellOf({}).empty());
  const std::vector<Piece> pieces = SpellOf({"", "a", ""});
  ASSERT_EQ(pieces.size(), 3u);
  EXPECT_EQ(pieces[2].begin, 2u);
  EXPECT_EQ(SpellOf({"[CLS]", "", "[SEP]"}).size(), 3u);
}

}  // namespace
}  // namespace contextpool::cli
