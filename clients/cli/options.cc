#include "clients/cli/options.h"

#include <getopt.h>

#include <algorithm>
#include <numeric>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "clients/cli/flags.h"
#include "clients/cli/help.h"

namespace contextpool::cli {
namespace {

// Letters to insert, delete or replace to turn one word into the other.
size_t EditDistance(absl::string_view a, absl::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0]++;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t replaced = diagonal + (a[i] != b[j]);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

// " (did you mean X?)" for the name closest to `word`, or nothing.
std::string DidYouMean(absl::string_view word, const std::vector<std::string>& names) {
  const auto closest = std::min_element(
      names.begin(), names.end(),
      [&](const auto& a, const auto& b) { return EditDistance(word, a) < EditDistance(word, b); });
  if (closest == names.end() || EditDistance(word, *closest) > 1 + word.size() / 4) return "";
  return absl::StrCat(" (did you mean ", *closest, "?)");
}

std::string SeeHelp(const CommandHelp& command) {
  return absl::StrCat("; see contextpool ", command.name, " --help");
}

// What getopt_long needs to know of one command's flags.
class FlagTable {
 public:
  explicit FlagTable(const CommandHelp& command) {
    for (const Flag& flag : AllFlags()) {
      if (!(flag.commands & CommandBit(command.command))) continue;
      const int argument = !flag.value_name      ? no_argument
                           : flag.optional_value ? optional_argument
                                                 : required_argument;
      long_.push_back({flag.name, argument, nullptr, kFirst + static_cast<int>(flags_.size())});
      flags_.push_back(&flag);
      if (!flag.short_name) continue;
      short_.push_back(flag.short_name);
      if (flag.value_name) short_.push_back(':');
    }
    long_.push_back({"help", no_argument, nullptr, 'h'});
    long_.push_back({nullptr, 0, nullptr, 0});
  }

  const std::string& short_options() const { return short_; }
  const option* long_options() const { return long_.data(); }

  // Null if `code` stands for no flag.
  const Flag* Find(int code) const {
    if (code >= kFirst) return flags_[code - kFirst];
    const auto found = std::find_if(flags_.begin(), flags_.end(),
                                    [&](const Flag* flag) { return flag->short_name == code; });
    return code > 0 && found != flags_.end() ? *found : nullptr;
  }

  std::vector<std::string> Names() const {
    std::vector<std::string> names = {"--help"};
    for (const Flag* flag : flags_) names.push_back(absl::StrCat("--", flag->name));
    return names;
  }

 private:
  static constexpr int kFirst = 256;

  // Texts in place ('-'), missing values apart from unknown flags (':'), -h.
  std::string short_ = "-:h";
  std::vector<option> long_;
  std::vector<const Flag*> flags_;
};

absl::Status UnknownFlag(const CommandHelp& command, const FlagTable& table,
                         const std::string& word) {
  const std::string name = word.substr(0, word.find('='));
  const std::vector<std::string> names = table.Names();
  if (std::find(names.begin(), names.end(), name) != names.end()) {
    return absl::InvalidArgumentError(absl::StrCat(name, " takes no value", SeeHelp(command)));
  }
  for (const Flag& flag : AllFlags()) {
    if (name != absl::StrCat("--", flag.name)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("contextpool ", command.name, " has no flag ", name, SeeHelp(command)));
  }
  const std::string hint = absl::StartsWith(name, "--") ? DidYouMean(name, names) : "";
  return absl::InvalidArgumentError(
      absl::StrCat("unknown flag ", name, hint, SeeHelp(command),
                   ", and write -- before a text that begins with '-'"));
}

void AddWord(const std::string& word, InputSource::Kind kind, Options& options) {
  if (options.command == Command::kBench) kind = InputSource::Kind::kFile;
  options.sources.push_back({kind, word});
}

// Reads the words after the command. `print_help` is set where --help is among them.
absl::Status ParseFlags(const CommandHelp& command, const std::vector<std::string>& args,
                        Options& options, bool& print_help) {
  const FlagTable table(command);
  std::vector<std::string> words = args;
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const int argc = static_cast<int>(args.size());

  optind = 0;  // starts over
  opterr = 0;
  for (;;) {
    const int at = optind == 0 ? 1 : optind;
    const int code = getopt_long(argc, argv.data(), table.short_options().c_str(),
                                 table.long_options(), nullptr);
    if (code == -1) break;
    if (code == 1) {
      const bool standard_input = absl::string_view(optarg) == "-";
      AddWord(optarg,
              standard_input ? InputSource::Kind::kStandardInput : InputSource::Kind::kArgument,
              options);
    } else if (code == 'h') {
      print_help = true;
      return absl::OkStatus();
    } else if (code == '?') {
      return UnknownFlag(command, table, words[at]);
    } else if (code == ':') {
      return absl::InvalidArgumentError(
          absl::StrCat(words[at], " needs a value", SeeHelp(command)));
    } else {
      const Flag* flag = table.Find(code);
      const std::string value = optarg != nullptr ? optarg : "";
      const absl::Status applied = flag->apply(value, options);
      if (applied.ok()) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("--", flag->name, " ", applied.message(), ", not '", value, "'"));
    }
  }
  for (int i = optind; i < argc; ++i) AddWord(words[i], InputSource::Kind::kArgument, options);
  return absl::OkStatus();
}

// Combinations that each flag alone cannot judge.
absl::Status Validate(const CommandHelp& command, const Options& options) {
  if (command.command == Command::kModels) {
    if (options.sources.empty()) return absl::OkStatus();
    return absl::InvalidArgumentError("contextpool models takes no TEXT; name a model with -m");
  }
  const auto standard_input =
      std::count_if(options.sources.begin(), options.sources.end(),
                    [](const InputSource& source) { return source.is_standard_input(); });
  if (standard_input > 1) {
    return absl::InvalidArgumentError("the standard input ('-') can be read only once");
  }
  if (options.model_version > 0 && options.model.empty()) {
    return absl::InvalidArgumentError("--model-version needs the name of its model: add --model");
  }
  if (options.similarity && options.json) {
    return absl::InvalidArgumentError(
        "--similarity is a picture for people: leave out --json, or compare the vectors yourself");
  }
  if (options.command != Command::kBench && options.sources.empty()) {
    return absl::InvalidArgumentError(
        "no input: give TEXT (or FILE, for a model of images), '-' to read the standard input, or "
        "--input FILE");
  }
  if (command.command == Command::kBench) {
    return bench::CheckLoad(options.load, options.sources.size());
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Invocation> ParseCommandLine(const std::vector<std::string>& args,
                                            const std::string& default_server) {
  Invocation invocation;
  invocation.options.server = default_server;
  if (args.empty()) {
    return absl::InvalidArgumentError("no command; see contextpool --help");
  }
  if (args[0] == "--help" || args[0] == "-h" || args[0] == "help") {
    invocation.print = ProgramHelp();
    return invocation;
  }
  if (args[0] == "--version") {
    invocation.print = absl::StrCat("contextpool ", CONTEXTPOOL_VERSION, "\n");
    return invocation;
  }
  const auto commands = AllCommands();
  const auto command = std::find_if(commands.begin(), commands.end(),
                                    [&](const CommandHelp& help) { return args[0] == help.name; });
  if (command == commands.end()) {
    std::vector<std::string> names;
    for (const CommandHelp& help : commands) names.push_back(help.name);
    return absl::InvalidArgumentError(
        absl::StrCat("unknown command '", args[0], "'", DidYouMean(args[0], names), ": use ",
                     absl::StrJoin(names, ", "), "; see contextpool --help"));
  }
  invocation.options.command = command->command;
  bool print_help = false;
  absl::Status status = ParseFlags(*command, args, invocation.options, print_help);
  if (status.ok() && print_help) invocation.print = HelpOf(*command);
  if (status.ok() && !print_help) status = Validate(*command, invocation.options);
  if (!status.ok()) return status;
  return invocation;
}

}  // namespace contextpool::cli
