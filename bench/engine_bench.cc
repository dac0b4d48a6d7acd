// Times the engine called directly, without gRPC: a list of texts in arrival order, or batches of
// one shape. Prints one JSON object a line; bench/compare_cpu.py runs it beside other engines.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <future>
#include <iostream>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "engine/base/mutex.h"
#include "engine/engine.h"
#include "nlohmann/json.hpp"

ABSL_FLAG(std::string, model, "", "Model directory.");
ABSL_FLAG(std::string, texts, "", "File with one text a line: the workload, in arrival order.");
ABSL_FLAG(std::vector<std::string>, shapes, {}, "Workloads INPUTSxTOKENS, for example 8x128,1x16.");
ABSL_FLAG(int, rounds, 3, "How often each workload is timed, after one untimed run.");
ABSL_FLAG(int, in_flight, 128, "Requests under way at a time, one text each.");
ABSL_FLAG(bool, each, false, "Also prints how long every text of the last round took.");
ABSL_FLAG(int, threads, 0, "Threads of the CPU device; 0: as many as the process may use.");
ABSL_FLAG(int, token_budget, 0, "Tokens that one batch holds; 0: the engine's default.");
ABSL_FLAG(int, max_tokens, 0, "Longest input in tokens; 0: as the model says.");
ABSL_FLAG(std::string, output, "",
          "Writes embeddings, raw float32, into OUTPUT.WORKLOAD (OUTPUT.list).");

namespace contextpool::engine {
namespace {

// Lets a bounded number of requests be under way and counts down to none.
class Window {
 public:
  explicit Window(int size) : free_(size), size_(size) {}
  void Enter() {
    MutexLock lock(mutex_);
    while (free_ == 0) changed_.Wait(mutex_);
    --free_;
  }
  void Leave() {
    MutexLock lock(mutex_);
    ++free_;
    changed_.NotifyOne();
  }
  void WaitUntilEmpty() {
    MutexLock lock(mutex_);
    while (free_ < size_) changed_.Wait(mutex_);
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  int free_ ABSL_GUARDED_BY(mutex_);
  const int size_;
};

class Bench {
 public:
  explicit Bench(Engine& engine) : engine_(engine) {}

  // Seconds that the texts take as requests of one text each, and each of them. Exits on any failed
  // one.
  double RunTexts(const std::vector<std::string>& texts, std::vector<float>* embeddings,
                  std::vector<double>* each) {
    each->resize(texts.size());
    Window window(absl::GetFlag(FLAGS_in_flight));
    const auto start = std::chrono::steady_clock::now();
    for (size_t i = 0; i < texts.size(); ++i) {
      Request request;
      request.inputs.emplace_back(TextInput{texts[i]});
      window.Enter();
      const auto begin = std::chrono::steady_clock::now();
      engine_.Infer(std::move(request), [&, i, begin](absl::StatusOr<Response> response) {
        (*each)[i] = Since(begin);
        Check(response);
        embeddings->resize(texts.size() * response->width);
        std::copy(response->values.begin(), response->values.end(),
                  embeddings->begin() + i * response->width);
        window.Leave();
      });
    }
    window.WaitUntilEmpty();
    return Since(start);
  }

  // Seconds that one request of `inputs` inputs with `tokens` ids each takes. bench/peers.py makes
  // the same ids, so that outputs can be compared.
  double RunShape(int inputs, int tokens, std::vector<float>* embeddings) {
    std::vector<int32_t> ids(inputs * tokens);
    for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(1000 + i * 7919 % 20000);
    Request request;
    for (int i = 0; i < inputs; ++i) {
      request.inputs.emplace_back(
          TokenIdsInput{std::span<const int32_t>(ids).subspan(i * tokens, tokens)});
    }
    std::promise<void> done;
    const auto start = std::chrono::steady_clock::now();
    engine_.Infer(std::move(request), [&](absl::StatusOr<Response> response) {
      Check(response);
      *embeddings = std::move(response->values);
      done.set_value();
    });
    done.get_future().wait();
    return Since(start);
  }

 private:
  static double Since(std::chrono::steady_clock::time_point start) {
    return Seconds(std::chrono::steady_clock::now() - start);
  }

  static void Check(const absl::StatusOr<Response>& response) {
    absl::Status status = response.status();
    if (response.ok()) {
      for (const InputResult& result : response->results) status.Update(result.status);
    }
    if (status.ok()) return;
    std::cerr << "engine_bench: " << status << "\n";
    std::exit(1);
  }

  Engine& engine_;
};

std::vector<std::string> ReadLines(const std::string& path) {
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

void Report(const std::string& workload, size_t inputs, const std::vector<double>& seconds,
            const std::vector<double>& each = {}) {
  nlohmann::json json = {{"workload", workload}, {"inputs", inputs}, {"seconds", seconds}};
  if (absl::GetFlag(FLAGS_each) && !each.empty()) json["each"] = each;
  std::cout << json << std::endl;
}

void Write(const std::string& workload, const std::vector<float>& embeddings) {
  const std::string output = absl::GetFlag(FLAGS_output);
  if (output.empty()) return;
  std::ofstream file(output + "." + workload, std::ios::binary);
  file.write(reinterpret_cast<const char*>(embeddings.data()),
             static_cast<std::streamsize>(embeddings.size() * sizeof(float)));
}

template <typename Run>
std::vector<double> Time(const Run& run) {
  run();
  std::vector<double> seconds;
  for (int i = 0; i < absl::GetFlag(FLAGS_rounds); ++i) seconds.push_back(run());
  return seconds;
}

int Main() {
  EngineOptions options;
  options.cpu_threads = absl::GetFlag(FLAGS_threads);
  ModelSpec& spec = options.models.emplace_back();
  spec.name = "model";
  spec.directory = absl::GetFlag(FLAGS_model);
  if (const int budget = absl::GetFlag(FLAGS_token_budget); budget > 0) {
    spec.queue.batch_token_budget = budget;
  }
  if (const int tokens = absl::GetFlag(FLAGS_max_tokens); tokens > 0) spec.max_tokens = tokens;
  auto engine = Engine::Create(options);
  if (!engine.ok()) {
    std::cerr << "engine_bench: " << engine.status() << "\n";
    return 1;
  }
  (*engine)->WaitUntilLoaded();
  if (const ModelStatus model = (*engine)->ListModels()[0]; model.state != ModelState::kReady) {
    std::cerr << "engine_bench: " << model.reason << "\n";
    return 1;
  }
  Bench bench(**engine);
  for (const std::string& shape : absl::GetFlag(FLAGS_shapes)) {
    const std::vector<std::string> sizes = absl::StrSplit(shape, 'x');
    int inputs = 0;
    int tokens = 0;
    if (sizes.size() != 2 || !absl::SimpleAtoi(sizes[0], &inputs) ||
        !absl::SimpleAtoi(sizes[1], &tokens)) {
      std::cerr << "engine_bench: --shapes: \"" << shape << "\" is not INPUTSxTOKENS\n";
      return 2;
    }
    std::vector<float> embeddings;
    Report(shape, inputs, Time([&] { return bench.RunShape(inputs, tokens, &embeddings); }));
    Write(shape, embeddings);
  }
  if (const std::string path = absl::GetFlag(FLAGS_texts); !path.empty()) {
    const std::vector<std::string> texts = ReadLines(path);
    std::vector<float> embeddings;
    std::vector<double> each;
    const auto seconds = Time([&] { return bench.RunTexts(texts, &embeddings, &each); });
    Report("list", texts.size(), seconds, each);
    Write("list", embeddings);
  }
  return 0;
}

}  // namespace
}  // namespace contextpool::engine

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("times the engine without gRPC; see bench/README.md");
  absl::ParseCommandLine(argc, argv);
  return contextpool::engine::Main();
}
