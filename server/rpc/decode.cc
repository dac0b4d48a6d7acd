#include "server/rpc/decode.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/rpc/status.h"

namespace contextpool::server {
namespace {

absl::Status FieldError(absl::string_view field, absl::string_view problem) {
  return absl::InvalidArgumentError(absl::StrCat(field, ": ", problem));
}

absl::Status NotSupported(absl::string_view field) {
  return FieldError(field, "this version does not support the option yet; leave it unset");
}

absl::Status UnknownValue(absl::string_view field, int value,
                          const google::protobuf::EnumDescriptor* type) {
  std::string allowed;
  for (int i = 0; i < type->value_count(); ++i) {
    absl::StrAppend(&allowed, i == 0 ? "" : ", ", type->value(i)->name());
  }
  return FieldError(field, absl::StrCat("unknown value ", value, "; allowed are ", allowed));
}

absl::Status Read(v1::Truncation value, absl::string_view field, engine::Truncation& target) {
  switch (value) {
    case v1::TRUNCATION_UNSPECIFIED:
    case v1::TRUNCATION_RIGHT:
      target = engine::Truncation::kRight;
      return absl::OkStatus();
    case v1::TRUNCATION_LEFT:
      target = engine::Truncation::kLeft;
      return absl::OkStatus();
    case v1::TRUNCATION_REJECT:
      target = engine::Truncation::kReject;
      return absl::OkStatus();
    default:
      return UnknownValue(field, value, v1::Truncation_descriptor());
  }
}

absl::Status Read(v1::Pooling value, std::optional<engine::Pooling>& target) {
  switch (value) {
    case v1::POOLING_UNSPECIFIED:
      return absl::OkStatus();
    case v1::POOLING_MEAN:
      target = engine::Pooling::kMean;
      return absl::OkStatus();
    case v1::POOLING_CLS:
      target = engine::Pooling::kCls;
      return absl::OkStatus();
    case v1::POOLING_MAX:
      target = engine::Pooling::kMax;
      return absl::OkStatus();
    case v1::POOLING_LAST_TOKEN:
      target = engine::Pooling::kLastToken;
      return absl::OkStatus();
    case v1::POOLING_POOLER:
      target = engine::Pooling::kPooler;
      return absl::OkStatus();
    default:
      return UnknownValue("options.pooling", value, v1::Pooling_descriptor());
  }
}

// The message's field wins over the metadata key.
absl::Status ReadPriority(v1::Priority value, const CallInfo& call, engine::Priority& target) {
  switch (value) {
    case v1::PRIORITY_INTERACTIVE:
      target = engine::Priority::kInteractive;
      return absl::OkStatus();
    case v1::PRIORITY_BULK:
      target = engine::Priority::kBulk;
      return absl::OkStatus();
    case v1::PRIORITY_UNSPECIFIED:
      break;
    default:
      return UnknownValue("priority", value, v1::Priority_descriptor());
  }
  if (!call.priority || *call.priority == "interactive") return absl::OkStatus();
  if (*call.priority == "bulk") {
    target = engine::Priority::kBulk;
    return absl::OkStatus();
  }
  return FieldError("metadata contextpool-priority",
                    absl::StrCat(Quoted(*call.priority),
                                 " is unknown; allowed are \"interactive\" and \"bulk\""));
}

absl::Status CheckCount(absl::string_view field, int count, const CallInfo& call) {
  if (count == 0) return FieldError(field, "empty; give at least one");
  if (count <= call.max_inputs) return absl::OkStatus();
  return TooManyInputs(field, count, call.max_inputs);
}

void ReadInput(const v1::Input& input, size_t index, DecodedRequest& decoded) {
  std::vector<engine::Input>& inputs = decoded.request.inputs;
  const auto fault = [&](absl::string_view field, absl::string_view problem) {
    decoded.input_faults[index] = FieldError(absl::StrCat("inputs[", index, "]", field), problem);
    inputs.emplace_back(engine::TokenIdsInput{});
  };
  switch (input.value_case()) {
    case v1::Input::kText:
      inputs.emplace_back(engine::TextInput{input.text()});
      return;
    case v1::Input::kImage:
      inputs.emplace_back(engine::ImageInput{input.image()});
      return;
    case v1::Input::kTokenIds:
      if (input.token_ids().ids().empty()) {
        return fault(".token_ids", "empty; give at least one token id");
      }
      inputs.emplace_back(engine::TokenIdsInput{
          {input.token_ids().ids().data(), static_cast<size_t>(input.token_ids().ids_size())}});
      return;
    case v1::Input::VALUE_NOT_SET:
      return fault("", "nothing is set; set text, image or token_ids");
  }
}

// What both kinds of request share.
template <typename Message>
absl::Status ReadCommon(const Message& message, const CallInfo& call, DecodedRequest& decoded) {
  engine::Request& request = decoded.request;
  absl::Status status = CheckModelRef(message.model());
  if (status.ok()) status = CheckCount("inputs", message.inputs_size(), call);
  if (status.ok()) status = ReadPriority(message.priority(), call, request.priority);
  if (status.ok()) {
    status = Read(message.options().truncation(), "options.truncation", request.truncation);
  }
  if (!status.ok()) return status;

  request.model = message.model().name();
  request.version = message.model().version();
  request.explain = message.options().explain();
  request.deadline = call.deadline;
  request.inputs.reserve(message.inputs_size());
  for (int i = 0; i < message.inputs_size(); ++i) ReadInput(message.inputs(i), i, decoded);
  return absl::OkStatus();
}

}  // namespace

absl::Status TooManyInputs(absl::string_view field, int64_t count, int32_t max_inputs) {
  return FieldError(field, absl::StrCat(count, " given, --max_inputs allows ", max_inputs,
                                        "; split the request"));
}

absl::Status CheckModelRef(const v1::ModelRef& model) {
  if (model.version() >= 0) return absl::OkStatus();
  return FieldError("model.version", absl::StrCat(model.version(),
                                                  " is not a version; versions are from 1, and 0"
                                                  " means the one that serves by default"));
}

absl::StatusOr<DecodedRequest> Decode(const v1::EmbedRequest& message, const CallInfo& call) {
  DecodedRequest decoded;
  const v1::EmbedOptions& options = message.options();
  absl::Status status = ReadCommon(message, call, decoded);
  if (!status.ok()) return status;
  decoded.request.task = engine::TaskKind::kEmbed;
  if (options.has_normalize()) decoded.request.normalize = options.normalize();
  status = Read(options.pooling(), decoded.request.pooling);
  if (!status.ok()) return status;
  if (!v1::EmbeddingEncoding_IsValid(options.encoding())) {
    return UnknownValue("options.encoding", options.encoding(), v1::EmbeddingEncoding_descriptor());
  }
  if (options.dimensions() != 0) {
    return FieldError("options.dimensions",
                      absl::StrCat(options.dimensions(),
                                   " is not offered: the model's settings list no smaller sizes;"
                                   " leave it unset"));
  }
  if (options.token_level()) return NotSupported("options.token_level");
  if (!options.prompt_name().empty()) return NotSupported("options.prompt_name");
  return decoded;
}

absl::StatusOr<DecodedRequest> Decode(const v1::ClassifyRequest& message, const CallInfo& call) {
  DecodedRequest decoded;
  const v1::ClassifyOptions& options = message.options();
  absl::Status status = ReadCommon(message, call, decoded);
  if (!status.ok()) return status;
  decoded.request.task = engine::TaskKind::kClassify;
  if (options.has_top_k() && options.top_k() == 0) {
    return FieldError("options.top_k", "0 is out of range; allowed is 1 or more");
  }
  if (options.has_threshold() && !std::isfinite(options.threshold())) {
    return FieldError("options.threshold",
                      absl::StrCat(options.threshold(), " is out of range; give a finite number"));
  }
  return decoded;
}

absl::StatusOr<engine::TokenizeOptions> Decode(const v1::TokenizeRequest& message,
                                               const CallInfo& call) {
  engine::TokenizeOptions options;
  absl::Status status = CheckModelRef(message.model());
  if (status.ok()) status = CheckCount("texts", message.texts_size(), call);
  if (status.ok()) status = Read(message.truncation(), "truncation", options.truncation);
  if (!status.ok()) return status;
  options.model = message.model().name();
  options.version = message.model().version();
  options.add_special_tokens = !message.without_special_tokens();
  return options;
}

}  // namespace contextpool::server
