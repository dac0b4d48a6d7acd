#include "clients/cli/bench/workload.h"

#include <span>
#include <string>
#include <unordered_set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "clients/cli/bench/made_up_texts.h"
#include "clients/cli/bench/random.h"
#include "clients/cli/requests.h"
#include "clients/cli/utf8.h"

namespace contextpool::cli::bench {
namespace {

// More than a server has in flight, so that equal texts do not meet there.
constexpr size_t kMadeUpTexts = 16384;

// By hand: std::shuffle may differ between libraries.
void Shuffle(std::vector<std::string>& texts, Random& random) {
  for (size_t i = texts.size(); i > 1; --i) std::swap(texts[i - 1], texts[random() % i]);
}

absl::Status CheckUtf8(const std::vector<std::string>& texts) {
  for (size_t i = 0; i < texts.size(); ++i) {
    if (IsValidUtf8(texts[i])) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("line ", i + 1, " of the texts is not valid UTF-8: convert the file"));
  }
  return absl::OkStatus();
}

grpc::Slice SliceOf(const google::protobuf::MessageLite& message) {
  return grpc::Slice(message.SerializeAsString());
}

template <typename Request>
grpc::Slice SliceOf(Request request, std::span<const std::string> texts) {
  for (const std::string& text : texts) request.add_inputs()->set_text(text);
  return SliceOf(request);
}

}  // namespace

absl::StatusOr<Workload> Workload::Make(const Options& options,
                                        std::vector<std::string> file_texts) {
  Random random(options.load.seed);
  std::vector<std::string> texts = std::move(file_texts);
  if (texts.empty()) {
    texts = MakeUpTexts(options.load.lengths.value_or(kDefaultLengths), kMadeUpTexts, random);
  } else {
    const absl::Status valid = CheckUtf8(texts);
    if (!valid.ok()) return valid;
    if (options.load.shuffle) Shuffle(texts, random);
  }
  Workload workload;
  workload.Serialise(options, std::move(texts));
  return workload;
}

void Workload::Serialise(const Options& options, std::vector<std::string> texts) {
  texts_ = texts.size();
  distinct_texts_ = std::unordered_set<std::string>(texts.begin(), texts.end()).size();
  const size_t batch = options.load.batch;
  // The last request takes the texts that it lacks from the start.
  while (texts.size() % batch != 0) texts.push_back(texts[texts.size() - texts_]);

  const bool embed = options.load.task == LoadTask::kEmbed;
  method_ = embed ? "/contextpool.v1.EmbeddingService/Embed"
                  : "/contextpool.v1.ClassificationService/Classify";
  requests_.reserve(texts.size() / batch);
  for (size_t first = 0; first < texts.size(); first += batch) {
    const std::span inputs(texts.data() + first, batch);
    requests_.push_back(embed ? SliceOf(MakeEmbedRequest(options), inputs)
                              : SliceOf(MakeClassifyRequest(options), inputs));
  }
  // Serialised messages in a row are one message with the fields of all.
  v1::EmbedRequest embed_bulk;
  v1::ClassifyRequest classify_bulk;
  embed_bulk.set_priority(v1::PRIORITY_BULK);
  classify_bulk.set_priority(v1::PRIORITY_BULK);
  bulk_suffix_ = embed ? SliceOf(embed_bulk) : SliceOf(classify_bulk);
}

grpc::ByteBuffer Workload::Request(uint64_t index, bool bulk) const {
  const grpc::Slice slices[] = {requests_[index % requests_.size()], bulk_suffix_};
  return grpc::ByteBuffer(slices, bulk ? 2 : 1);
}

}  // namespace contextpool::cli::bench
