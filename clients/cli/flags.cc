#include "clients/cli/flags.h"

#include <cmath>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace contextpool::cli {
namespace {

constexpr unsigned kEmbed = CommandBit(Command::kEmbed);
constexpr unsigned kClassify = CommandBit(Command::kClassify);
constexpr unsigned kTokenize = CommandBit(Command::kTokenize);
constexpr unsigned kModels = CommandBit(Command::kModels);
constexpr unsigned kBench = CommandBit(Command::kBench);
constexpr unsigned kTexts = kEmbed | kClassify | kTokenize;
constexpr unsigned kPrints = kTexts | kModels;
constexpr unsigned kAll = kPrints | kBench;

absl::Status Expected(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("takes ", what));
}

template <typename Enum>
struct Choice {
  absl::string_view name;
  Enum value;
};

template <typename Enum, size_t N>
absl::Status Choose(const Choice<Enum> (&choices)[N], const std::string& name, Enum& value) {
  for (const Choice<Enum>& choice : choices) {
    if (choice.name != name) continue;
    value = choice.value;
    return absl::OkStatus();
  }
  return Expected(absl::StrCat(
      "one of ", absl::StrJoin(choices, ", ", [](std::string* out, const Choice<Enum>& choice) {
        absl::StrAppend(out, choice.name);
      })));
}

constexpr Choice<v1::Truncation> kTruncations[] = {{"right", v1::TRUNCATION_RIGHT},
                                                   {"left", v1::TRUNCATION_LEFT},
                                                   {"reject", v1::TRUNCATION_REJECT}};
constexpr Choice<v1::Pooling> kPoolings[] = {{"mean", v1::POOLING_MEAN},
                                             {"cls", v1::POOLING_CLS},
                                             {"max", v1::POOLING_MAX},
                                             {"last-token", v1::POOLING_LAST_TOKEN},
                                             {"pooler", v1::POOLING_POOLER}};
constexpr Choice<bench::LoadTask> kTasks[] = {{"embed", bench::LoadTask::kEmbed},
                                              {"classify", bench::LoadTask::kClassify}};
constexpr Choice<bench::ArrivalShape> kArrivalShapes[] = {
    {"poisson", bench::ArrivalShape::kPoisson}, {"constant", bench::ArrivalShape::kConstant}};
constexpr Choice<v1::Priority> kPriorities[] = {{"interactive", v1::PRIORITY_INTERACTIVE},
                                                {"bulk", v1::PRIORITY_BULK}};

absl::Status ParsePositive(const std::string& value, uint32_t& number) {
  return absl::SimpleAtoi(value, &number) && number > 0 ? absl::OkStatus()
                                                        : Expected("a whole number of at least 1");
}

absl::Status SetServer(const std::string& value, Options& options) {
  if (value.empty()) return Expected("HOST:PORT");
  options.server = value;
  return absl::OkStatus();
}

absl::Status SetModelVersion(const std::string& value, Options& options) {
  return absl::SimpleAtoi(value, &options.model_version) && options.model_version > 0
             ? absl::OkStatus()
             : Expected("a whole number of at least 1");
}

absl::Status SetTimeout(const std::string& value, Options& options) {
  constexpr double kLongest = 86400;
  return absl::SimpleAtod(value, &options.timeout_s) && options.timeout_s > 0 &&
                 options.timeout_s <= kLongest
             ? absl::OkStatus()
             : Expected("seconds: more than 0, at most 86400");
}

absl::Status SetThreshold(const std::string& value, Options& options) {
  float threshold = 0;
  if (!absl::SimpleAtof(value, &threshold) || !std::isfinite(threshold)) {
    return Expected("a finite number");
  }
  options.threshold = threshold;
  return absl::OkStatus();
}

absl::Status ParseFileName(const std::string& value, std::string& name) {
  if (value.empty()) return Expected("the name of a file");
  name = value;
  return absl::OkStatus();
}

absl::Status SetExplain(const std::string& value, Options& options) {
  options.explain = true;
  options.explain_file = value;
  return value.empty() || absl::EndsWithIgnoreCase(value, ".png")
             ? absl::OkStatus()
             : Expected("the name of a PNG file, as in --explain=out.png");
}

absl::Status SetConnections(const std::string& value, Options& options) {
  constexpr uint32_t kMost = 1000;
  return absl::SimpleAtoi(value, &options.load.connections) && options.load.connections > 0 &&
                 options.load.connections <= kMost
             ? absl::OkStatus()
             : Expected("a whole number from 1 to 1000");
}

absl::Status SetSeed(const std::string& value, Options& options) {
  return absl::SimpleAtoi(value, &options.load.seed) ? absl::OkStatus()
                                                     : Expected("a whole number of at least 0");
}

// `Member` is a bool, or an optional one, of Options.
template <auto Member, bool value>
absl::Status Switch(const std::string&, Options& options) {
  options.*Member = value;
  return absl::OkStatus();
}

// In the order of --help.
constexpr Flag kFlags[] = {
    {"model", 'm', "NAME", kAll, "model to ask; not needed where only one offers the task",
     [](const std::string& value, Options& options) {
       options.model = value;
       return absl::OkStatus();
     }},
    {"model-version", 0, "N", kAll, "version of the model (default: the one that serves)",
     SetModelVersion},
    {"input", 'i', "FILE", kTexts | kBench,
     "read texts from FILE (for images: their names), one a line; '-' is the\n"
     "standard input",
     [](const std::string& value, Options& options) {
       options.sources.push_back({InputSource::Kind::kFile, value});
       return absl::OkStatus();
     }},
    {"output", 'o', "FILE.npy", kEmbed,
     "write float32 [inputs, dimensions] for numpy.load; rows of failed inputs are NaN",
     [](const std::string& value, Options& options) {
       return ParseFileName(value, options.output);
     }},
    {"similarity", 0, nullptr, kEmbed, "show the cosine of every pair of inputs",
     Switch<&Options::similarity, true>},
    {"normalize", 0, nullptr, kEmbed, "scale vectors to length 1 (default: as the model says)",
     Switch<&Options::normalize, true>},
    {"no-normalize", 0, nullptr, kEmbed, "leave vectors as the pooling makes them",
     Switch<&Options::normalize, false>},
    {"pooling", 0, "HOW", kEmbed,
     "mean, cls, max, last-token or pooler (default: as the model says)",
     [](const std::string& value, Options& options) {
       return Choose(kPoolings, value, options.pooling);
     }},
    {"dimensions", 0, "N", kEmbed, "keep the first N dimensions, where the model allows it",
     [](const std::string& value, Options& options) {
       return ParsePositive(value, options.dimensions);
     }},
    {"top-k", 'k', "N", kClassify, "only the N best labels",
     [](const std::string& value, Options& options) {
       return ParsePositive(value, options.top_k.emplace());
     }},
    {"threshold", 0, "X", kClassify, "only labels that score at least X", SetThreshold},
    {"labels", 0, "A,B", kClassify, "only these labels; may be repeated",
     [](const std::string& value, Options& options) {
       for (const absl::string_view label : absl::StrSplit(value, ',')) {
         options.labels.emplace_back(label);
       }
       return absl::OkStatus();
     }},
    {"logits", 0, nullptr, kClassify, "also show the numbers before the activation",
     Switch<&Options::logits, true>},
    {"no-special-tokens", 0, nullptr, kTokenize, "leave out the tokens that the model adds",
     Switch<&Options::without_special_tokens, true>},
    {"explain", 0, "FILE.png", kEmbed | kClassify,
     "show what ContextPool chose: how much each token counts, how far it\n"
     "looks; for images a table, or with =FILE.png a picture",
     SetExplain, true},
    {"concurrency", 'c', "N,N", kBench,
     "closed loop: N calls in flight at any time; several N in turn",
     [](const std::string& value, Options& options) {
       return bench::ParseConcurrency(value, options.load.concurrency);
     }},
    {"rate", 'r', "R,R", kBench,
     "open loop: R calls a second, whatever the answers; several in turn",
     [](const std::string& value, Options& options) {
       return bench::ParseRates(value, options.load.rates);
     }},
    {"arrivals", 0, "SHAPE", kBench, "open loop: poisson (default) or constant gaps",
     [](const std::string& value, Options& options) {
       return Choose(kArrivalShapes, value, options.load.arrivals.emplace());
     }},
    {"find-rate", 0, nullptr, kBench, "search the highest rate of an open loop that holds --p99",
     [](const std::string&, Options& options) {
       options.load.find_rate = true;
       return absl::OkStatus();
     }},
    {"p99", 0, "PERIOD", kBench, "objective: 99% of all calls offered are OK within PERIOD",
     [](const std::string& value, Options& options) {
       return bench::ParsePeriod(value, false, options.load.p99.emplace());
     }},
    {"max-errors", 0, "SHARE", kBench,
     "objective: at most this share of the calls is not OK (default: 0.001)",
     [](const std::string& value, Options& options) {
       return bench::ParseShare(value, options.load.max_errors.emplace());
     }},
    {"task", 0, "TASK", kBench, "embed (default) or classify",
     [](const std::string& value, Options& options) {
       return Choose(kTasks, value, options.load.task);
     }},
    {"batch", 'b', "N", kBench, "inputs in each call (default: 1)",
     [](const std::string& value, Options& options) {
       return ParsePositive(value, options.load.batch);
     }},
    {"lengths", 0, "SHAPE", kBench,
     "words of made-up texts: fixed:N, uniform:MIN-MAX or\n"
     "lognormal:MEAN,DEVIATION[,MAX] (default: uniform:5-60)",
     [](const std::string& value, Options& options) {
       return bench::ParseLengths(value, options.load.lengths.emplace());
     }},
    {"shuffle", 0, nullptr, kBench, "mix the texts of the file, by the seed",
     [](const std::string&, Options& options) {
       options.load.shuffle = true;
       return absl::OkStatus();
     }},
    {"seed", 0, "N", kBench, "of texts, arrivals and mixes: the same again (default: 1)", SetSeed},
    {"connections", 0, "N", kBench, "HTTP/2 connections, used in turn (default: 1)",
     SetConnections},
    {"deadline", 0, "MIX", kBench,
     "from when a call is due: 50ms, or shares as in 50ms:0.5,none:0.5",
     [](const std::string& value, Options& options) {
       return bench::ParseDeadlines(value, options.load.deadlines);
     }},
    {"bulk", 0, "SHARE", kBench, "share of the calls that are sent as bulk (default: 0)",
     [](const std::string& value, Options& options) {
       return bench::ParseShare(value, options.load.bulk_share);
     }},
    {"warmup", 0, "PERIOD", kBench, "load before each measurement, not counted (default: 1s)",
     [](const std::string& value, Options& options) {
       return bench::ParsePeriod(value, true, options.load.warmup);
     }},
    {"duration", 0, "PERIOD", kBench,
     "how long each load is measured (default: 10s);\n"
     "a search measures 1000 calls at least",
     [](const std::string& value, Options& options) {
       return bench::ParsePeriod(value, false, options.load.duration);
     }},
    {"json", 0, "FILE", kBench, "write settings, figures and histograms",
     [](const std::string& value, Options& options) {
       return ParseFileName(value, options.load.json_file);
     }},
    {"plot", 0, "FILE.svg", kBench, "draw latency over throughput",
     [](const std::string& value, Options& options) {
       return ParseFileName(value, options.load.plot_file);
     }},
    {"truncation", 0, "HOW", kTexts | kBench,
     "what happens to texts that are too long: right (default; the end is cut), left or reject",
     [](const std::string& value, Options& options) {
       return Choose(kTruncations, value, options.truncation);
     }},
    {"priority", 0, "CLASS", kEmbed | kClassify,
     "interactive (default), or bulk for work that nobody waits for",
     [](const std::string& value, Options& options) {
       return Choose(kPriorities, value, options.priority);
     }},
    {"json", 0, nullptr, kPrints, "print one JSON object a line", Switch<&Options::json, true>},
    {"server", 's', "HOST:PORT", kAll,
     "server to ask (default: $CONTEXTPOOL_SERVER, else localhost:8001)", SetServer},
    {"timeout", 0, "SECONDS", kAll, "longest wait for each request (default: 60)", SetTimeout},
};

}  // namespace

std::span<const Flag> AllFlags() { return kFlags; }

}  // namespace contextpool::cli
