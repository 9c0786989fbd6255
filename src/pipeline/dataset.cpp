// SPDX-License-Identifier: Apache-2.0
#include "kvant/pipeline/dataset.hpp"
#include "core/guard.hpp"

#include <algorithm>
#include <limits>
#include <string>

#include "kvant/io/input_file.hpp"
#include "kvant/io/npy.hpp"
#include "kvant/text/tokenizer.hpp"

namespace kvant::pipeline {
namespace {

constexpr std::uint64_t kMaxText = std::uint64_t{1} << 30;

bool is_npy(const io::InputFile& file) {
  std::byte magic[6];
  if (file.size() < sizeof magic || !file.read_at(0, magic)) return false;
  constexpr unsigned char kMagic[6] = {0x93, 'N', 'U', 'M', 'P', 'Y'};
  return std::equal(std::begin(magic), std::end(magic), std::begin(kMagic),
                    [](std::byte a, unsigned char b) { return a == static_cast<std::byte>(b); });
}

Result<Dataset> load_ids(const std::filesystem::path& path, std::size_t max_tokens) {
  const auto array = io::read_npy(path);
  if (!array) return propagate(array);
  const auto ids = array->to_ids();
  if (!ids) return propagate(ids);
  const std::size_t count = max_tokens != 0 ? std::min(max_tokens, ids->size()) : ids->size();
  Dataset data;
  data.ids.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    const std::int64_t id = (*ids)[i];
    if (id < 0 || id > std::numeric_limits<std::int32_t>::max())
      return fail(ErrorCode::bad_npy,
                  "element " + std::to_string(i) + " is " + std::to_string(id) + ", expected a token id",
                  {path.string(), {}, {}});
    data.ids.push_back(static_cast<std::int32_t>(id));
  }
  return data;
}

Result<Dataset> load_text(const io::InputFile& file, const std::filesystem::path& model, std::size_t max_tokens) {
  if (file.size() > kMaxText)
    return fail(ErrorCode::limit, "a text of " + std::to_string(file.size()) + " bytes, expected at most 1 GiB",
                {file.path().string(), {}, {}});
  if (!text::Tokenizer::file_in(model))
    return fail(ErrorCode::unsupported,
                "text needs the model's tokenizer.json or tokenizer.model, and there is neither in " + model.string() +
                    "; give token ids (.npy) instead",
                {file.path().string(), {}, {}});
  auto tokenizer = text::Tokenizer::load(model);
  if (!tokenizer) return propagate(tokenizer);
  std::string text(static_cast<std::size_t>(file.size()), '\0');
  if (const Status read = file.read_at(0, std::as_writable_bytes(std::span(text))); !read) return propagate(read);
  auto ids = tokenizer->encode(text);
  if (!ids) {
    Error error = ids.error();
    if (error.where.file.empty()) error.where.file = file.path().string();
    return tl::unexpected<Error>(std::move(error));
  }
  const auto around = tokenizer->encode("");
  if (!around) return propagate(around);
  const std::size_t added = std::min(around->size(), ids->size());
  Dataset data{std::move(*ids), file.size(), added};
  if (max_tokens != 0 && data.ids.size() > max_tokens) {
    data.ids.resize(max_tokens);
    data.bytes = tokenizer->decode(data.ids).size();
    const auto stays = std::mismatch(around->begin(), around->end(), data.ids.begin(), data.ids.end()).first;
    data.added = static_cast<std::size_t>(stays - around->begin());
  }
  return data;
}

}  // namespace

Result<Dataset> load_dataset(const std::filesystem::path& path, const std::filesystem::path& model,
                             std::size_t max_tokens) {
  return guarded([&]() -> Result<Dataset> {
    auto file = io::InputFile::open(path);
    if (!file) return propagate(file);
    return is_npy(*file) ? load_ids(path, max_tokens) : load_text(*file, model, max_tokens);
  });
}

}  // namespace kvant::pipeline
