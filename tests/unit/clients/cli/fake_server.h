// A server in this process, and runs of the program against it.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "clients/cli/run.h"
#include "contextpool/v1/classification.grpc.pb.h"
#include "contextpool/v1/embedding.grpc.pb.h"
#include "contextpool/v1/model.grpc.pb.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"

namespace contextpool::cli {

// The bytes that an input carries.
inline const std::string& BytesOf(const v1::Input& input) {
  return input.has_image() ? input.image() : input.text();
}

// Of two tokens; of an image, of a class token and a grid of one row and two columns in its
// middle.
inline void Explain(const v1::Input& input, v1::Explanation& explanation) {
  v1::ContextPoolLayer& layer = *explanation.add_layers();
  layer.set_layer(3);
  if (input.has_image()) {
    explanation.set_grid_height(1);
    explanation.set_grid_width(2);
    v1::ImageBox& box = *explanation.mutable_grid_box();
    box.set_left(0.25f);
    box.set_width(0.5f);
    box.set_height(1);
    explanation.set_image_orientation(1);
    layer.add_weight(0);
    layer.add_support_size(0);
  } else {
    explanation.add_tokens("good");
    explanation.add_tokens("film");
  }
  layer.add_weight(0.1f);
  layer.add_weight(1);
  layer.add_support_size(1);
  layer.add_support_size(0);
}

// Vectors made of the input's length; "bad" fails alone; the model "missing" is not there.
class FakeEmbedding : public v1::EmbeddingService::Service {
 public:
  grpc::Status Embed(grpc::ServerContext*, const v1::EmbedRequest* request,
                     v1::EmbedResponse* response) override {
    ++calls;
    if (request->inputs_size() == 1) last = *request;
    {
      const std::lock_guard lock(mutex_);
      input_counts_.push_back(request->inputs_size());
    }
    if (request->model().name() == "missing") {
      return {grpc::StatusCode::NOT_FOUND, "model 'missing' is not in the repository"};
    }
    if (request->model().name() == "busy" && calls < 3) {
      return {grpc::StatusCode::RESOURCE_EXHAUSTED, "the queue is full"};
    }
    if (request->model().name() == "fails-later" && calls == 2) {
      return {grpc::StatusCode::UNAVAILABLE, "draining"};
    }
    for (const v1::Input& input : request->inputs()) {
      v1::EmbedResult& result = *response->add_results();
      if (BytesOf(input) == "bad") {
        result.mutable_error()->set_code(3);
        result.mutable_error()->set_message(
            "inputs[" + std::to_string(response->results_size() - 1) + "]." +
            (input.has_image() ? "image: not an image" : "text: too long"));
        continue;
      }
      const auto length = static_cast<float>(BytesOf(input).size());
      for (const float value : {0.1f, length, 1e-8f}) {
        result.mutable_embedding()->add_values(value);
      }
      if (request->options().explain()) Explain(input, *result.mutable_explanation());
      result.mutable_usage()->set_tokens_used(2 + BytesOf(input).size());
      result.mutable_usage()->set_tokens_seen(2 + BytesOf(input).size());
    }
    return grpc::Status::OK;
  }

  // Of every request, sorted.
  std::vector<int> InputCounts() {
    const std::lock_guard lock(mutex_);
    std::sort(input_counts_.begin(), input_counts_.end());
    return input_counts_;
  }

  std::atomic<int> calls = 0;
  // The last request of one input: such requests never overlap here.
  v1::EmbedRequest last;

 private:
  std::mutex mutex_;
  std::vector<int> input_counts_;
};

class FakeClassification : public v1::ClassificationService::Service {
 public:
  grpc::Status Classify(grpc::ServerContext*, const v1::ClassifyRequest* request,
                        v1::ClassifyResponse* response) override {
    last = *request;
    for (const v1::Input& input : request->inputs()) {
      v1::ClassifyResult& answer = *response->add_results();
      if (request->options().explain()) Explain(input, *answer.mutable_explanation());
      v1::Classification& result = *answer.mutable_classification();
      if (request->model().name() == "regression") {
        Add("stars", 0.875f, request->options().logits(), result);
        continue;
      }
      Add("positive", 0.97f, request->options().logits(), result);
      Add("n\u00E9gatif", 0.03f, request->options().logits(), result);
    }
    return grpc::Status::OK;
  }

  v1::ClassifyRequest last;

 private:
  static void Add(const char* label, float score, bool logit, v1::Classification& result) {
    v1::LabelScore& entry = *result.add_scores();
    entry.set_label(label);
    entry.set_score(score);
    if (logit) entry.set_logit(2.5f);
  }
};

// Any name but "missing" is that of a text model, except "digits".
class FakeModels : public v1::ModelService::Service {
 public:
  grpc::Status ListModels(grpc::ServerContext*, const v1::ListModelsRequest*,
                          v1::ListModelsResponse* response) override {
    v1::Model& good = *response->add_models();
    good.mutable_ref()->set_name("mini");
    good.mutable_ref()->set_version(1);
    good.set_state(v1::MODEL_STATE_READY);
    good.set_modality(v1::MODALITY_TEXT);
    for (const v1::Task task : text_tasks) good.add_tasks(task);
    good.set_embedding_dimensions(384);
    good.set_pooling(v1::POOLING_MEAN);
    v1::Model& bad = *response->add_models();
    bad.mutable_ref()->set_name("broken");
    bad.set_state(v1::MODEL_STATE_FAILED);
    bad.set_reason("config.json: not JSON");
    *response->add_models() = Digits();
    return grpc::Status::OK;
  }

  grpc::Status GetModel(grpc::ServerContext*, const v1::GetModelRequest* request,
                        v1::GetModelResponse* response) override {
    if (request->model().name() == "missing") return {grpc::StatusCode::NOT_FOUND, "no"};
    response->mutable_model()->set_modality(v1::MODALITY_TEXT);
    if (request->model().name() == "digits") *response->mutable_model() = Digits();
    *response->mutable_model()->mutable_ref() = request->model();
    return grpc::Status::OK;
  }

  grpc::Status Tokenize(grpc::ServerContext* context, const v1::TokenizeRequest* request,
                        v1::TokenizeResponse* response) override {
    if (request->model().name() == "slow") {
      while (!context->IsCancelled()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      return grpc::Status::CANCELLED;
    }
    for (const std::string& text : request->texts()) {
      v1::Tokens& tokens = *response->add_results()->mutable_tokens();
      tokens.add_ids(101);
      tokens.add_tokens("[CLS]");
      tokens.add_ids(7);
      tokens.add_tokens(text);
    }
    return grpc::Status::OK;
  }

  // Of the model "mini".
  std::vector<v1::Task> text_tasks = {v1::TASK_EMBED, v1::TASK_CLASSIFY};

 private:
  static v1::Model Digits() {
    v1::Model digits;
    digits.mutable_ref()->set_name("digits");
    digits.mutable_ref()->set_version(1);
    digits.set_state(v1::MODEL_STATE_READY);
    digits.set_modality(v1::MODALITY_IMAGE);
    digits.add_tasks(v1::TASK_EMBED);
    digits.add_tasks(v1::TASK_CLASSIFY);
    digits.set_image_width(16);
    digits.set_image_height(8);
    return digits;
  }
};

class RunTest : public ::testing::Test {
 protected:
  RunTest() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.SetMaxReceiveMessageSize(-1);
    builder.RegisterService(&embedding_);
    builder.RegisterService(&classification_);
    builder.RegisterService(&models_);
    server_ = builder.BuildAndStart();
  }
  ~RunTest() override { server_->Shutdown(); }

  int RunWith(const std::vector<std::string>& args, const std::string& input = "",
              const Terminal& terminal = {}, bool err_is_tty = false) {
    std::istringstream in(input);
    std::ostringstream out, err;
    Environment environment{in, out, err, terminal, "127.0.0.1:" + std::to_string(port_)};
    environment.err_is_tty = err_is_tty;
    const int exit_code = cli::Run(args, environment);
    out_ = out.str();
    err_ = err.str();
    return exit_code;
  }

  // Every line of the output as JSON.
  std::vector<nlohmann::json> Lines() const {
    std::vector<nlohmann::json> lines;
    std::istringstream stream(out_);
    for (std::string line; std::getline(stream, line);) {
      lines.push_back(nlohmann::json::parse(line));
    }
    return lines;
  }

  int port_ = 0;
  FakeEmbedding embedding_;
  FakeClassification classification_;
  FakeModels models_;
  std::unique_ptr<grpc::Server> server_;
  std::string out_;
  std::string err_;
};

}  // namespace contextpool::cli
