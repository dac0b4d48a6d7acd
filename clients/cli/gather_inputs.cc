#include "clients/cli/gather_inputs.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "clients/cli/file_inputs.h"
#include "clients/cli/file_names.h"
#include "clients/cli/picture_files.h"
#include "clients/cli/served_models.h"
#include "clients/cli/text_inputs.h"

namespace contextpool::cli {
namespace {

v1::Modality AskModality(const Options& options, const std::shared_ptr<grpc::Channel>& channel) {
  if (options.command != Command::kEmbed && options.command != Command::kClassify) {
    return v1::MODALITY_TEXT;
  }
  v1::ListModelsResponse list;
  const bool answered = FetchModels(options, channel, list).ok();
  return answered ? ModalityOf(options, list) : v1::MODALITY_UNSPECIFIED;
}

absl::StatusOr<std::unique_ptr<InputList>> GatherFiles(const Options& options,
                                                       std::istream& standard_input) {
  auto names = NameFiles(options.sources, standard_input);
  if (!names.ok()) return names.status();
  auto files = std::make_unique<FileInputs>(*std::move(names), standard_input);
  if (!options.explain_file.empty()) {
    const absl::Status checked = PictureFiles(options.explain_file, *files).Check();
    if (!checked.ok()) return checked;
  }
  return files;
}

}  // namespace

absl::StatusOr<std::unique_ptr<InputList>> GatherInputs(
    const Options& options, const std::shared_ptr<grpc::Channel>& channel,
    std::istream& standard_input) {
  if (options.command == Command::kModels) {
    return std::make_unique<TextInputs>(std::vector<std::string>());
  }
  const v1::Modality modality = AskModality(options, channel);
  if (modality == v1::MODALITY_IMAGE) return GatherFiles(options, standard_input);
  if (modality == v1::MODALITY_TEXT && !options.explain_file.empty()) {
    return absl::InvalidArgumentError(
        "--explain=FILE draws over images, and the model reads text: leave out =FILE");
  }
  auto texts = ReadTexts(options.sources, standard_input);
  if (!texts.ok()) return texts.status();
  return std::make_unique<TextInputs>(*std::move(texts));
}

}  // namespace contextpool::cli
