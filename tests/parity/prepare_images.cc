// Resizes and prepares images for image_parity.py.
//
//   prepare_images resize plain|best
//     stdin: per image five int32 (width, height, new width, new height, Pillow's filter) and the
//     pixels. stdout: the resized pixels.
//   prepare_images prepare PREPROCESSOR_CONFIG_JSON
//     stdin: per image a uint32 size in bytes and the file. stdout: per image three int32 (0 or the
//     status code, height, width) and, where that is 0, the pixels; then 3 float32 each of scale
//     and offset.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "engine/model/image_config.h"
#include "engine/preprocess/image_processor.h"
#include "engine/preprocess/image_resample.h"

namespace contextpool::engine {
namespace {

template <typename T>
bool Read(T* out, size_t count) {
  return std::fread(out, sizeof(T), count, stdin) == count;
}

template <typename T>
void Write(const T* values, size_t count) {
  std::fwrite(values, sizeof(T), count, stdout);
}

int Resize(const RowFunctions& rows) {
  Resampler resampler(rows);
  Pixels source;
  std::vector<uint8_t> out;
  for (int32_t header[5]; Read(header, 5);) {
    source.Resize(header[0], header[1]);
    if (!Read(source.bytes.data(), source.bytes.size())) return 1;
    const ImageSize size = {header[3], header[2]};
    out.resize(size_t{3} * size.width * size.height);
    resampler.Resample(
        source, {.filter = static_cast<Resample>(header[4]), .resized = size, .window = size},
        out.data(), size_t{3} * size.width);
    Write(out.data(), out.size());
  }
  return 0;
}

int Prepare(const char* path) {
  std::ifstream stream(path, std::ios::binary);
  const std::string json{std::istreambuf_iterator<char>(stream), {}};
  const absl::StatusOr<ImageConfig> config = ParseImageConfig(json, std::nullopt);
  if (!config.ok()) {
    std::cerr << config.status() << "\n";
    return 1;
  }
  const ImageProcessor processor(*config);
  std::string file;
  std::vector<uint8_t> pixels(processor.pixel_bytes());
  for (uint32_t size; Read(&size, 1);) {
    file.resize(size);
    if (!Read(file.data(), size)) return 1;
    const absl::Status status = processor.Prepare(file, {}, std::span(pixels));
    const int32_t header[] = {status.raw_code(), config->size.height, config->size.width};
    Write(header, 3);
    if (status.ok()) Write(pixels.data(), pixels.size());
  }
  Write(config->scale().data(), 3);
  Write(config->offset().data(), 3);
  return 0;
}

int Main(int argc, char** argv) {
  if (argc != 3) return 2;
  if (std::strcmp(argv[1], "prepare") == 0) return Prepare(argv[2]);
  return Resize(std::strcmp(argv[2], "plain") == 0 ? PlainRows() : BestRows());
}

}  // namespace
}  // namespace contextpool::engine

int main(int argc, char** argv) { return contextpool::engine::Main(argc, argv); }
