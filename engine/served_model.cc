#include "engine/served_model.h"

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace contextpool::engine {
namespace {

const char* Name(TaskKind task) { return task == TaskKind::kEmbed ? "embeddings" : "class scores"; }
const char* Name(Modality modality) { return modality == Modality::kText ? "text" : "images"; }

// What stands in the way of the model answering such a request.
absl::Status CheckOffers(const ModelInfo& info, std::optional<TaskKind> task, Modality modality) {
  if (info.modality != modality) {
    return absl::InvalidArgumentError(absl::StrCat("inputs: the model \"", info.name, "\" reads ",
                                                   Name(info.modality), ", not ", Name(modality)));
  }
  if (task == TaskKind::kClassify && !info.classifies()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "model.name: the model \"", info.name, "\" has no classifier; it offers embeddings only"));
  }
  return absl::OkStatus();
}

absl::Status CheckReady(const ModelStatus& status) {
  switch (status.state) {
    case ModelState::kReady:
      return absl::OkStatus();
    case ModelState::kLoading:
      return absl::UnavailableError(
          absl::StrCat("the model \"", status.info->name, "\" is still loading; try again"));
    case ModelState::kFailed:
      return absl::UnavailableError(absl::StrCat("the model \"", status.info->name,
                                                 "\" could not be loaded: ", status.reason));
    case ModelState::kUnloading:
      return absl::UnavailableError(
          absl::StrCat("the model \"", status.info->name, "\" is being unloaded"));
  }
  return absl::InternalError("unknown model state");
}

// Names that callers wrote: printable, and not too long to repeat.
std::string Quoted(absl::string_view name) {
  constexpr size_t kLongest = 64;
  return absl::StrCat("\"", absl::CHexEscape(name.substr(0, kLongest)),
                      name.size() > kLongest ? "..." : "", "\"");
}

absl::Status CheckReference(absl::string_view name, int64_t version) {
  if (!name.empty() || version == 0) return absl::OkStatus();
  return absl::InvalidArgumentError("model.version: a version needs the name of its model");
}

}  // namespace

ModelSet::ModelSet(std::vector<ModelSpec> specs) {
  std::sort(specs.begin(), specs.end(), [](const ModelSpec& a, const ModelSpec& b) {
    return std::tie(a.name, a.version) < std::tie(b.name, b.version);
  });
  for (ModelSpec& spec : specs) {
    auto info = std::make_shared<ModelInfo>();
    info->name = spec.name;
    info->version = spec.version;
    auto model = std::make_unique<ServedModel>();
    model->status.info = std::move(info);
    model->spec = std::move(spec);
    models_.push_back(std::move(model));
  }
}

void ModelSet::SetReady(ServedModel& model, std::shared_ptr<const ModelInfo> info,
                        double load_seconds) {
  MutexLock lock(mutex_);
  model.status = {std::move(info), ModelState::kReady, "", load_seconds};
}

void ModelSet::SetFailed(ServedModel& model, const absl::Status& why, double load_seconds) {
  MutexLock lock(mutex_);
  model.status.state = ModelState::kFailed;
  model.status.reason = std::string(why.message());
  model.status.load_seconds = load_seconds;
}

ModelStatus ModelSet::StatusOf(const ServedModel& model) const {
  MutexLock lock(mutex_);
  return model.status;
}

absl::Status ModelSet::Unknown(absl::string_view name, int64_t version) const {
  std::vector<std::string> known;
  for (const auto& model : models_) {
    if (model->spec.name == name) {
      known.push_back(absl::StrCat("version ", model->spec.version));
    } else if (known.empty() || known.back() != Quoted(model->spec.name)) {
      known.push_back(Quoted(model->spec.name));
    }
  }
  return absl::NotFoundError(absl::StrCat(
      "model: no model ", Quoted(name), version == 0 ? "" : absl::StrCat(" version ", version),
      "; there is ", known.empty() ? "none" : absl::StrJoin(known, ", ")));
}

absl::StatusOr<ServedModel*> ModelSet::FindLocked(absl::string_view name, int64_t version) const {
  ServedModel* found = nullptr;
  for (const auto& model : models_) {
    if (model->spec.name != name || (version != 0 && version != model->spec.version)) continue;
    // By default the highest version that is ready; failing that, the highest.
    const bool better = found == nullptr || model->status.state == ModelState::kReady ||
                        found->status.state != ModelState::kReady;
    if (better) found = model.get();
  }
  if (found == nullptr) return Unknown(name, version);
  return found;
}

absl::StatusOr<ServedModel*> ModelSet::OnlyCandidate(std::optional<TaskKind> task,
                                                     Modality modality) const {
  // By name, in order; several versions of a model are one candidate.
  std::vector<std::string> names;
  bool loading = false;
  for (const auto& model : models_) {
    loading = loading || model->status.state == ModelState::kLoading;
    if (model->status.state == ModelState::kReady &&
        CheckOffers(*model->status.info, task, modality).ok() &&
        (names.empty() || names.back() != model->spec.name)) {
      names.push_back(model->spec.name);
    }
  }
  if (loading) {
    return absl::UnavailableError("models are still loading; try again, or name the model");
  }
  if (names.size() == 1) return FindLocked(names[0], 0);
  const std::string wanted = absl::StrCat(task ? Name(*task) : "tokens", " of ", Name(modality));
  if (names.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("model.name: no model that is ready offers ", wanted));
  }
  const std::string list = absl::StrJoin(
      names, ", ",
      [](std::string* out, const std::string& name) { absl::StrAppend(out, Quoted(name)); });
  return absl::InvalidArgumentError(
      absl::StrCat("model.name: several models offer ", wanted, ": ", list, "; name one of them"));
}

absl::StatusOr<ServedModel*> ModelSet::Resolve(absl::string_view name, int64_t version,
                                               std::optional<TaskKind> task,
                                               Modality modality) const {
  if (absl::Status status = CheckReference(name, version); !status.ok()) return status;
  MutexLock lock(mutex_);
  if (name.empty()) return OnlyCandidate(task, modality);
  absl::StatusOr<ServedModel*> found = FindLocked(name, version);
  if (!found.ok()) return found;
  if (absl::Status status = CheckReady((*found)->status); !status.ok()) return status;
  absl::Status status = CheckOffers(*(*found)->status.info, task, modality);
  if (!status.ok()) return status;
  return found;
}

absl::StatusOr<ServedModel*> ModelSet::Find(absl::string_view name, int64_t version) const {
  if (absl::Status status = CheckReference(name, version); !status.ok()) return status;
  MutexLock lock(mutex_);
  if (!name.empty()) return FindLocked(name, version);
  if (models_.empty()) return Unknown(name, version);
  if (models_.front()->spec.name == models_.back()->spec.name) {
    return FindLocked(models_.front()->spec.name, 0);
  }
  return absl::InvalidArgumentError("model.name: several models are served; name one of them");
}

}  // namespace contextpool::engine
