#include "clients/cli/help.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "clients/cli/flags.h"

namespace contextpool::cli {
namespace {

constexpr unsigned kTextsOrImages = CommandBit(Command::kEmbed) | CommandBit(Command::kClassify);
constexpr unsigned kTexts = kTextsOrImages | CommandBit(Command::kTokenize);

constexpr CommandHelp kCommands[] = {
    {Command::kEmbed, "embed", "turn texts or images into vectors", "[FLAG...] [TEXT|FILE...]",
     "Prints the first dimensions, the length and the tokens of each input's vector.",
     "  contextpool embed 'A cat sits on the mat.' 'A dog lies on the rug.' --similarity\n"
     "  contextpool embed --input sentences.txt --output vectors.npy\n"
     "  cut -f2 reviews.tsv | contextpool embed --json -\n"
     "  contextpool embed -m digits-vit-contextpool photos/ --output vectors.npy\n"},
    {Command::kClassify, "classify", "score texts or images by label", "[FLAG...] [TEXT|FILE...]",
     "Prints each input's labels, best first.",
     "  contextpool classify 'What a wonderful film!'\n"
     "  contextpool classify --explain 'Not the worst film of the year.'\n"
     "  contextpool classify -m sentiment --top-k 3 --input reviews.txt\n"
     "  contextpool classify --json --logits - < reviews.txt\n"
     "  contextpool classify -m digits-vit-contextpool photo.png scans/ 'more/*.jpg'\n"
     "  contextpool classify -m digits-vit-contextpool --explain=out.png photo.png\n"},
    {Command::kTokenize, "tokenize", "show the tokens that a model reads", "[FLAG...] [TEXT...]",
     "Prints the tokens and ids of each text.",
     "  contextpool tokenize 'unaffable'\n"
     "  contextpool tokenize -m all-MiniLM-L6-v2 --no-special-tokens --json 'naïve café'\n"},
    {Command::kBench, "bench", "measure a server under load", "[FLAG...] [TEXT FILE]",
     "Puts a load on the server and prints one line for each: throughput, latency of the calls "
     "that\n"
     "were OK, and what was not. Texts are the lines of the file ('-': the standard input), taken "
     "in\n"
     "turn, or made up. In an open loop calls follow a schedule that is made in advance, and "
     "latency\n"
     "counts from the moment when a call was due. A load that this client could not offer is not\n"
     "reported. Ctrl-C ends early. docs/load-testing.md explains the columns.",
     "  contextpool bench -m all-MiniLM-L6-v2 --concurrency 1,2,4,8,16 --plot latency.svg\n"
     "  contextpool bench --rate 100,200,400 --deadline 50ms:0.5,500ms:0.5 --json load.json\n"
     "  contextpool bench --rate 300 --bulk 0.3 --connections 4 sentences.txt\n"
     "  contextpool bench --task classify -m sentiment --find-rate --p99 20ms\n"},
    {Command::kModels, "models", "list what the server offers", "[FLAG...]",
     "Prints every model of the server, failed ones with their reason.",
     "  contextpool models\n"
     "  contextpool models -m all-MiniLM-L6-v2 --json\n"},
};

constexpr char kCommonHelp[] =
    "Texts come from the command line, from files, or from the standard input ('-'): one a line,\n"
    "empty lines are empty texts. Many texts go out as several requests, a few at a time; the\n"
    "numbering runs through. If a request fails, those not sent yet are reported with its error.\n"
    "Write -- before a TEXT that begins with '-'.\n";

constexpr char kImageHelp[] =
    "If the model reads images (contextpool models shows it), each word is the name of a JPEG, "
    "PNG\n"
    "or WebP file, a pattern as in '*.png', or a folder: its *.jpg, *.jpeg, *.png and *.webp "
    "files,\n"
    "by name, without those in its folders. '-' is one image on the standard input, and --input\n"
    "FILE holds one file name a line. Files are read as they are sent; one that cannot be read\n"
    "fails alone. --explain=out.png draws each layer's support sizes and weights over the whole\n"
    "image, of several images into out-0.png, out-1.png and so on, by their numbers.\n";

constexpr char kExitHelp[] =
    "Exit status: 0 all well; 1 an input or a request failed; 2 the command line is wrong.\n";
constexpr char kBenchExitHelp[] =
    "Exit status: 0 all well, refused calls are a result; 1 a load was not offered, the search "
    "was\n"
    "bounded by this client, or the run broke off; 2 the command line is wrong.\n";

void AppendFlag(const Flag& flag, std::string& help) {
  constexpr size_t kHelpColumn = 28;
  std::string left =
      flag.short_name ? absl::StrCat("  -", std::string(1, flag.short_name), ", ") : "      ";
  absl::StrAppend(&left, "--", flag.name);
  if (flag.value_name != nullptr) {
    absl::StrAppend(&left, flag.optional_value ? "[=" : " ", flag.value_name,
                    flag.optional_value ? "]" : "");
  }
  left.resize(std::max(left.size() + 2, kHelpColumn), ' ');
  const std::string next_line = absl::StrCat("\n", std::string(kHelpColumn, ' '));
  absl::StrAppend(&help, left, absl::StrReplaceAll(flag.help, {{"\n", next_line}}), "\n");
}

}  // namespace

std::span<const CommandHelp> AllCommands() { return kCommands; }

std::string ProgramHelp() {
  std::string help =
      "Asks a ContextPool server for embeddings and classifications.\n\n"
      "Usage: contextpool COMMAND [FLAG...] [TEXT|FILE...]\n\nCommands:\n";
  for (const CommandHelp& command : kCommands) {
    std::string name = command.name;
    name.resize(12, ' ');
    absl::StrAppend(&help, "  ", name, command.summary, "\n");
  }
  absl::StrAppend(&help,
                  "\nFlags:\n"
                  "  -h, --help  this text; after a COMMAND, its flags\n"
                  "  --version   version of this program\n\n",
                  "Examples:\n");
  for (const CommandHelp& command : kCommands) {
    const std::vector<std::string> lines = absl::StrSplit(command.examples, '\n');
    absl::StrAppend(&help, lines.front(), "\n");
  }
  return absl::StrCat(help, "\n", kExitHelp);
}

std::string HelpOf(const CommandHelp& command) {
  std::string help = absl::StrCat("Usage: contextpool ", command.name, " ", command.usage, "\n\n",
                                  command.description, "\n");
  const unsigned bit = CommandBit(command.command);
  if (bit & kTexts) absl::StrAppend(&help, "\n", kCommonHelp);
  if (bit & kTextsOrImages) absl::StrAppend(&help, "\n", kImageHelp);
  absl::StrAppend(&help, "\nFlags:\n");
  for (const Flag& flag : AllFlags()) {
    if (flag.commands & bit) AppendFlag(flag, help);
  }
  absl::StrAppend(&help, "  -h, --help                this text\n");
  return absl::StrCat(help, "\nExamples:\n", command.examples, "\n",
                      command.command == Command::kBench ? kBenchExitHelp : kExitHelp);
}

}  // namespace contextpool::cli
