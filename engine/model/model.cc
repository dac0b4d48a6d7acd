#include "engine/model/model.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace contextpool::engine {
namespace {

// Why the batch's inputs are not those of the model; empty if they are.
std::string WrongInputs(const ModelInfo& info, const PackedBatch& batch) {
  const bool reads_images = info.image.has_value();
  const size_t ids = reads_images ? 0 : static_cast<size_t>(batch.total_tokens());
  const size_t pixels =
      reads_images ? static_cast<size_t>(info.image->bytes() * batch.sequences()) : 0;
  if (batch.token_ids.size() != ids || batch.pixels.size() != pixels) {
    return absl::StrCat("has ", batch.token_ids.size(), " ids and ", batch.pixels.size(),
                        " bytes of pixels, not ", ids, " and ", pixels);
  }
  const int64_t length = info.max_tokens;
  if (reads_images && batch.total_tokens() != length * batch.sequences()) {
    return absl::StrCat("has ", batch.total_tokens(), " tokens, not ", length, " for each image");
  }
  return "";
}

}  // namespace

absl::Status CheckForward(const Model& model, const PackedBatch& batch, const Arena& workspace) {
  const ModelInfo& info = model.info();
  const auto refuse = [&](absl::string_view why) {
    return absl::InternalError(
        absl::StrCat("model ", info.name, ": a batch of ", batch.total_tokens(), " tokens ", why));
  };
  const size_t needed = model.WorkspaceBytes({batch.total_tokens(), batch.sequences()});
  if (workspace.used() != 0 || workspace.capacity() < needed) {
    return refuse(absl::StrCat("needs ", needed, " bytes of workspace"));
  }
  if (std::string why = WrongInputs(info, batch); !why.empty()) return refuse(why);
  for (const OutputSpec& output : batch.outputs) {
    const bool classify = output.task == TaskKind::kClassify;
    if (classify && !info.classifies()) {
      return refuse("asks for logits, but there is no classifier");
    }
    if (!classify && !info.pools(output.pooling)) {
      return refuse(absl::StrCat("asks for a pooling that is not offered: ", Name(output.pooling)));
    }
  }
  return absl::OkStatus();
}

}  // namespace contextpool::engine
