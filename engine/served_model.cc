#include "engine/served_model.h"

#include <tuple>
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

// A version that nothing was read of yet.
ModelListing Unread(const ModelVersion& version) {
  auto info = std::make_shared<ModelInfo>();
  std::tie(info->name, info->version) = version;
  ModelListing listing;
  listing.status.info = std::move(info);
  listing.counters = std::make_shared<ModelCounters>();
  return listing;
}

}  // namespace

ModelSet::ModelSet(const std::vector<ModelSpec>& specs) {
  for (const ModelSpec& spec : specs) SetLoading({spec.name, spec.version});
}

void ModelSet::SetLoading(const ModelVersion& version) {
  MutexLock lock(mutex_);
  const auto [listing, added] = models_.try_emplace(version);
  if (added) listing->second = Unread(version);
  if (listing->second.serving == nullptr) listing->second.status.state = ModelState::kLoading;
}

std::shared_ptr<ServedModel> ModelSet::SetReady(std::shared_ptr<ServedModel> model,
                                                double load_seconds) {
  MutexLock lock(mutex_);
  ModelListing& listing = models_.at(model->version());
  if (listing.serving != nullptr && listing.counters != model->counters) KeepCounts(listing);
  listing.counters = model->counters;
  listing.status = {model->info, ModelState::kReady, "", load_seconds};
  return std::exchange(listing.serving, std::move(model));
}

void ModelSet::SetFailed(const ModelVersion& version, const absl::Status& why,
                         double load_seconds) {
  MutexLock lock(mutex_);
  ModelListing& listing = models_.at(version);
  if (listing.serving != nullptr) {
    listing.status.reason =
        absl::StrCat("the files on disk could not be loaded, the copy loaded before still serves: ",
                     why.message());
    return;
  }
  listing.status.state = ModelState::kFailed;
  listing.status.reason = std::string(why.message());
  listing.status.load_seconds = load_seconds;
}

absl::StatusOr<std::shared_ptr<ServedModel>> ModelSet::SetUnloading(const ModelVersion& version) {
  MutexLock lock(mutex_);
  const auto found = models_.find(version);
  if (found == models_.end()) return Unknown(version.first, version.second);
  if (found->second.status.state == ModelState::kUnloading) {
    return absl::FailedPreconditionError(absl::StrCat("model: ", Quoted(version.first), " version ",
                                                      version.second,
                                                      " is being unloaded already"));
  }
  found->second.status.state = ModelState::kUnloading;
  return std::exchange(found->second.serving, nullptr);
}

void ModelSet::Erase(const ModelVersion& version) {
  MutexLock lock(mutex_);
  const auto found = models_.find(version);
  // It may have been loaded again meanwhile.
  if (found == models_.end() || found->second.status.state != ModelState::kUnloading) return;
  KeepCounts(found->second);
  models_.erase(found);
}

void ModelSet::Clear() {
  Listings models;
  MutexLock lock(mutex_);
  models.swap(models_);
}

void ModelSet::EndStart() {
  MutexLock lock(mutex_);
  starting_ = false;
}

void ModelSet::KeepCounts(const ModelListing& listing) {
  ModelStats stats = CountersSnapshot(*listing.counters);
  stats.context_pool = CountersSnapshot(listing.counters->context_pool);
  stats.info = listing.status.info;
  for (ModelStats& kept : unloaded_) {
    if (kept.info->name == stats.info->name &&
        kept.info->context_pool_layers == stats.info->context_pool_layers) {
      return Accumulate(kept, stats);
    }
  }
  unloaded_.push_back(std::move(stats));
}

std::vector<ModelListing> ModelSet::All(std::vector<ModelStats>* unloaded) const {
  std::vector<ModelListing> listings;
  MutexLock lock(mutex_);
  if (unloaded != nullptr) *unloaded = unloaded_;
  for (const auto& [version, listing] : models_) listings.push_back(listing);
  return listings;
}

std::shared_ptr<ModelCounters> ModelSet::CountersFor(const ModelInfo& info) const {
  {
    MutexLock lock(mutex_);
    const auto found = models_.find({info.name, info.version});
    if (found != models_.end() &&
        found->second.status.info->context_pool_layers == info.context_pool_layers) {
      return found->second.counters;
    }
  }
  auto counters = std::make_shared<ModelCounters>();
  for (size_t i = 0; i < info.context_pool_layers.size(); ++i) {
    counters->context_pool.support_size.emplace_back(Histogram::SupportSizeBounds());
  }
  return counters;
}

absl::Status ModelSet::Unknown(absl::string_view name, int64_t version) const {
  std::vector<std::string> known;
  for (const auto& [key, listing] : models_) {
    if (key.first == name) {
      known.push_back(absl::StrCat("version ", key.second));
    } else if (known.empty() || known.back() != Quoted(key.first)) {
      known.push_back(Quoted(key.first));
    }
  }
  return absl::NotFoundError(absl::StrCat(
      "model: no model ", Quoted(name), version == 0 ? "" : absl::StrCat(" version ", version),
      "; there is ", known.empty() ? "none" : absl::StrJoin(known, ", ")));
}

absl::StatusOr<ModelSet::Listings::const_iterator> ModelSet::FindLocked(absl::string_view name,
                                                                        int64_t version) const {
  auto found = models_.end();
  for (auto it = models_.begin(); it != models_.end(); ++it) {
    if (it->first.first != name || (version != 0 && version != it->first.second)) continue;
    // By default the highest version that is ready; failing that, the highest.
    const bool better =
        found == models_.end() || it->second.serving != nullptr || found->second.serving == nullptr;
    if (better) found = it;
  }
  if (found == models_.end()) return Unknown(name, version);
  return found;
}

absl::StatusOr<ModelSet::Listings::const_iterator> ModelSet::OnlyCandidate(
    std::optional<TaskKind> task, Modality modality) const {
  // By name, in order; several versions of a model are one candidate.
  std::vector<std::string> names;
  bool loading = false;
  for (const auto& [version, listing] : models_) {
    loading = loading || listing.status.state == ModelState::kLoading;
    if (listing.serving != nullptr && CheckOffers(*listing.status.info, task, modality).ok() &&
        (names.empty() || names.back() != version.first)) {
      names.push_back(version.first);
    }
  }
  // A model that is added to a running server must not turn away those who use the others.
  if (loading && (starting_ || names.empty())) {
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

absl::StatusOr<std::shared_ptr<ServedModel>> ModelSet::Resolve(absl::string_view name,
                                                               int64_t version,
                                                               std::optional<TaskKind> task,
                                                               Modality modality) const {
  if (absl::Status status = CheckReference(name, version); !status.ok()) return status;
  MutexLock lock(mutex_);
  const auto found = name.empty() ? OnlyCandidate(task, modality) : FindLocked(name, version);
  if (!found.ok()) return found.status();
  const ModelListing& listing = (*found)->second;
  if (absl::Status status = CheckReady(listing.status); !status.ok()) return status;
  if (absl::Status status = CheckOffers(*listing.status.info, task, modality); !status.ok()) {
    return status;
  }
  return listing.serving;
}

absl::StatusOr<ModelStatus> ModelSet::Find(absl::string_view name, int64_t version) const {
  if (absl::Status status = CheckReference(name, version); !status.ok()) return status;
  MutexLock lock(mutex_);
  if (name.empty() && models_.empty()) return Unknown(name, version);
  if (name.empty() && models_.begin()->first.first != models_.rbegin()->first.first) {
    return absl::InvalidArgumentError("model.name: several models are served; name one of them");
  }
  const auto found = FindLocked(name.empty() ? models_.begin()->first.first : name, version);
  if (!found.ok()) return found.status();
  return (*found)->second.status;
}

}  // namespace contextpool::engine
