#include "clients/cli/served_models.h"

#include "gtest/gtest.h"

namespace contextpool::cli {
namespace {

void Add(v1::Modality modality, std::initializer_list<v1::Task> tasks,
         v1::ListModelsResponse& list) {
  v1::Model& model = *list.add_models();
  model.set_modality(modality);
  for (const v1::Task task : tasks) model.add_tasks(task);
}

Options Unnamed(Command command) {
  Options options;
  options.command = command;
  return options;
}

TEST(ModalityOf, IsThatOfTheNamedModel) {
  Options options = Unnamed(Command::kEmbed);
  options.model = "any";
  v1::ListModelsResponse list;
  Add(v1::MODALITY_IMAGE, {}, list);
  EXPECT_EQ(ModalityOf(options, list), v1::MODALITY_IMAGE);
  list.mutable_models(0)->set_modality(v1::MODALITY_TEXT);
  EXPECT_EQ(ModalityOf(options, list), v1::MODALITY_TEXT);
}

TEST(ModalityOf, LooksOnlyAtModelsThatOfferTheTask) {
  v1::ListModelsResponse list;
  Add(v1::MODALITY_TEXT, {v1::TASK_EMBED}, list);
  Add(v1::MODALITY_UNSPECIFIED, {}, list);
  Add(v1::MODALITY_IMAGE, {v1::TASK_CLASSIFY}, list);
  EXPECT_EQ(ModalityOf(Unnamed(Command::kClassify), list), v1::MODALITY_IMAGE);
  EXPECT_EQ(ModalityOf(Unnamed(Command::kEmbed), list), v1::MODALITY_TEXT);
}

TEST(ModalityOf, IsTextAsSoonAsOneReadsText) {
  v1::ListModelsResponse list;
  Add(v1::MODALITY_IMAGE, {v1::TASK_EMBED}, list);
  Add(v1::MODALITY_IMAGE, {v1::TASK_EMBED}, list);
  EXPECT_EQ(ModalityOf(Unnamed(Command::kEmbed), list), v1::MODALITY_IMAGE);
  Add(v1::MODALITY_TEXT, {v1::TASK_EMBED}, list);
  EXPECT_EQ(ModalityOf(Unnamed(Command::kEmbed), list), v1::MODALITY_TEXT);
}

TEST(ModalityOf, IsUnknownWithoutAModel) {
  EXPECT_EQ(ModalityOf(Unnamed(Command::kEmbed), {}), v1::MODALITY_UNSPECIFIED);
}

}  // namespace
}  // namespace contextpool::cli
