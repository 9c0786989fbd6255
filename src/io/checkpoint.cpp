// SPDX-License-Identifier: Apache-2.0
#include "kvant/io/checkpoint.hpp"

#include <algorithm>
#include <array>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>

#include "checkpoint_files.hpp"
#include "convert.hpp"
#include "core/guard.hpp"
#include "kvant/core/checked.hpp"
#include "kvant/io/utf8.hpp"
#include "safetensors_header.hpp"

namespace kvant::io {
namespace {

namespace fs = std::filesystem;

/// How deep below a model's folder files belong to it, and how many do.
constexpr int kMaxFolderDepth = 8;
constexpr std::size_t kMaxSideFiles = 10'000;

/// What a folder holds, by name.
struct Listing {
  std::vector<fs::path> safetensors;
  std::vector<fs::path> other_weights;
  std::vector<fs::path> side_files;       // with the subfolder, relative to the folder
  std::vector<std::string_view> indexes;  // kIndexName, kOwnIndexName
};

/// Walks through a model's folder. Hidden files are nobody's, links are followed.
class FolderLister {
 public:
  explicit FolderLister(const fs::path& root) : root_(root) {}

  Result<Listing> list() {
    if (const Status ok = find_modules(); !ok) return propagate(ok);
    if (const Status ok = walk({}, 0); !ok) return propagate(ok);
    for (auto* names : {&listing_.safetensors, &listing_.other_weights, &listing_.side_files})
      std::sort(names->begin(), names->end());
    return std::move(listing_);
  }

 private:
  /// The subfolders of a sentence encoder, whose weights are their own: those that modules.json names.
  Status find_modules() {
    const fs::path path = root_ / "modules.json";
    std::error_code ignored;
    if (!fs::exists(path, ignored)) return {};
    const Result<Json> modules = read_json_file(path);
    if (!modules) return propagate(modules);
    for (const Json& module : modules->items()) {
      const Json* folder = module.find("path");
      if (folder == nullptr || folder->as_string() == nullptr) continue;
      const fs::path name = (fs::path(*folder->as_string()) / "").lexically_normal().parent_path();
      if (!name.empty()) modules_.insert(name);  // the model itself has the empty path
    }
    return {};
  }

  Status walk(const fs::path& folder, int depth) {
    for (const fs::directory_entry& entry : fs::directory_iterator(root_ / folder)) {
      const fs::path name = folder / entry.path().filename();
      if (name.filename().native().starts_with('.')) continue;
      const bool weights = is_weight_file(name) && !modules_.contains(folder);
      std::error_code ignored;
      if (entry.is_symlink(ignored) && !fs::exists(entry.path(), ignored)) {
        if (weights && name.extension() != ".safetensors") continue;  // nobody reads it
        return fail(ErrorCode::not_found,
                    "is a link to " + printable(fs::read_symlink(entry.path(), ignored).native(), 200) +
                        ", which does not exist; fetch the model again",
                    where_of(entry.path()));
      }
      if (entry.is_directory(ignored)) {
        if (depth == kMaxFolderDepth)
          return fail(ErrorCode::limit, "lies deeper in the model's folder than is looked", where_of(entry.path()));
        if (const Status ok = walk(name, depth + 1); !ok) return ok;
      } else if (entry.is_regular_file(ignored)) {
        add(name, weights);
        if (listing_.side_files.size() > kMaxSideFiles)
          return fail(ErrorCode::limit,
                      "holds more than " + std::to_string(kMaxSideFiles) + " files; is this a model's folder?",
                      where_of(root_));
      }
    }
    return {};
  }

  void add(const fs::path& name, bool weights) {
    if (name == kIndexName || name == kOwnIndexName)
      listing_.indexes.push_back(name == kIndexName ? kIndexName : kOwnIndexName);
    else if (!weights)
      listing_.side_files.push_back(name);
    else if (!name.has_parent_path() && name.extension() == ".safetensors")
      listing_.safetensors.push_back(name);
    else
      listing_.other_weights.push_back(name);
  }

  const fs::path& root_;
  std::set<fs::path> modules_;
  Listing listing_;
};

/// The weight map of an index: tensor name to shard name.
struct Index {
  Where where;  // of the index file
  std::unordered_map<std::string, std::string> shard_of;
  std::vector<std::string> shards;  // in order of their names
  std::optional<Json> total_size;
};

bool is_plain_file_name(std::string_view name) {
  return !name.empty() && name != "." && name != ".." && name.find_first_of("/\\") == std::string_view::npos;
}

Result<Index> read_index(const fs::path& path) {
  const Result<Json> json = read_json_file(path, {.max_bytes = kSafetensorsMaxHeader, .max_items = 4u << 20});
  if (!json) return propagate(json);
  Index index{where_of(path), {}, {}, {}};
  const auto bad = [&](std::string message, std::string_view tensor = {}) {
    return fail(ErrorCode::bad_index, std::move(message), {index.where.file, printable(tensor), {}});
  };
  const Json* map = json->find("weight_map");
  if (map == nullptr || !map->is_object()) return bad("has no object \"weight_map\" from tensor names to file names");
  for (const auto& [tensor, value] : map->members()) {
    const std::string* shard = value.as_string();
    if (shard == nullptr) return bad("the tensor's file is no string", tensor);
    if (!is_plain_file_name(*shard))
      return bad("names the file \"" + printable(*shard, 200) + "\"; shards lie in the index's own folder", tensor);
    index.shard_of.emplace(tensor, *shard);
    index.shards.push_back(*shard);
  }
  std::sort(index.shards.begin(), index.shards.end());
  index.shards.erase(std::unique(index.shards.begin(), index.shards.end()), index.shards.end());
  if (index.shards.empty()) return bad("names no tensor");
  if (const Json* metadata = json->find("metadata"))
    if (const Json* total = metadata->find("total_size"); total != nullptr && !total->is_null()) {
      index.total_size = *total;
    }
  return index;
}

}  // namespace

/// Fills a Checkpoint step by step.
class CheckpointOpener {
 public:
  CheckpointOpener(const fs::path& path, Access access) : access_(access) { checkpoint_.path_ = path; }

  Result<Checkpoint> open() {
    checkpoint_.is_folder_ = fs::is_directory(checkpoint_.path_);
    if (Status s = checkpoint_.is_folder_ ? open_folder() : open_file(); !s) return propagate(s);
    return std::move(checkpoint_);
  }

 private:
  Status open_file() {
    const fs::path& path = checkpoint_.path_;
    if (Status s = add_shard(path); !s) return s;
    if (path.extension() != ".safetensors")
      checkpoint_.warnings_.push_back(printable(path.native()) +
                                      " is a safetensors file by its content, though not by its name");
    return sort_tensors(where_of(path));
  }

  Status open_folder() {
    const fs::path& folder = checkpoint_.path_;
    const Result<Listing> list = FolderLister(folder).list();
    if (!list) return propagate(list);
    checkpoint_.side_files_ = list->side_files;
    checkpoint_.other_weights_ = list->other_weights;
    if (list->indexes.size() > 1)
      return fail(
          ErrorCode::bad_index,
          "holds both " + std::string(kIndexName) + " and " + std::string(kOwnIndexName) + ", expected one of them",
          where_of(folder));
    if (!list->indexes.empty()) {
      if (Status s = open_shards(folder / list->indexes.front()); !s) return s;
    } else {
      const Result<fs::path> single = choose_single(*list);
      if (!single) return propagate(single);
      if (Status s = add_shard(folder / *single); !s) return s;
      if (Status s = sort_tensors(where_of(folder / *single)); !s) return s;
    }
    for (const fs::path& name : list->safetensors)
      if (std::none_of(checkpoint_.shards_.begin(), checkpoint_.shards_.end(),
                       [&](const Shard& shard) { return shard.name == name; }))
        checkpoint_.other_weights_.push_back(name);
    std::sort(checkpoint_.other_weights_.begin(), checkpoint_.other_weights_.end());
    return read_config(folder / "config.json");
  }

  [[nodiscard]] Result<fs::path> choose_single(const Listing& list) const {
    const auto& names = list.safetensors;
    if (std::find(names.begin(), names.end(), fs::path(kSingleName)) != names.end()) return fs::path(kSingleName);
    if (names.size() == 1) return names.front();
    const Where where = where_of(checkpoint_.path_);
    if (names.size() > 1)
      return fail(ErrorCode::no_model,
                  "holds " + std::to_string(names.size()) + " safetensors files but no " + std::string(kIndexName) +
                      "; name one of them, for instance " + printable(names.front().native()),
                  where);
    std::string hint = "; give a safetensors file or a folder with one";
    if (!list.other_weights.empty())
      hint = "; " + printable(list.other_weights.front().native()) + " is of a format that is not read from a folder" +
             hint;
    return fail(ErrorCode::no_model, "holds no safetensors file" + hint, where);
  }

  Status add_shard(const fs::path& path) {
    Result<OpenedSafetensors> opened = open_safetensors(path, access_);
    if (!opened) return propagate(opened);
    const std::size_t shard = checkpoint_.shards_.size();
    checkpoint_.shards_.push_back({path.filename().native(), opened->file.size()});
    checkpoint_.files_.push_back(std::move(opened->file));
    checkpoint_.tensors_.reserve(checkpoint_.tensors_.size() + opened->header.tensors.size());
    for (TensorInfo& t : opened->header.tensors) checkpoint_.tensors_.push_back({std::move(t), shard});
    checkpoint_.metadata_.merge(opened->header.metadata);  // what an earlier shard says stays
    for (const std::string& warning : opened->header.warnings)
      checkpoint_.warnings_.push_back(where_of(path).file + ": " + warning);
    return {};
  }

  Status open_shards(const fs::path& index_path) {
    const Result<Index> index = read_index(index_path);
    if (!index) return propagate(index);
    for (const std::string& shard : index->shards) {
      Status s = add_shard(checkpoint_.path_ / shard);
      if (!s && s.error().code == ErrorCode::not_found)
        return fail(ErrorCode::bad_index, "names the shard " + printable(shard) + ", which is missing; fetch it",
                    index->where);
      if (!s) return s;
    }
    if (Status s = sort_tensors(index->where); !s) return s;
    return compare(*index);
  }

  /// Sorts by name; a name in two shards is an error.
  Status sort_tensors(const Where& where) {
    auto& tensors = checkpoint_.tensors_;
    std::sort(tensors.begin(), tensors.end(), [](const CheckpointTensor& a, const CheckpointTensor& b) {
      const int order = a.name.compare(b.name);
      return order != 0 ? order < 0 : a.shard < b.shard;
    });
    const auto twice = std::adjacent_find(tensors.begin(), tensors.end(),
                                          [](const auto& a, const auto& b) { return a.name == b.name; });
    if (twice == tensors.end()) return {};
    return fail(ErrorCode::bad_index,
                "the tensor is in both " + shard_name(twice->shard) + " and " + shard_name((twice + 1)->shard),
                {where.file, printable(twice->name), {}});
  }

  /// The index against the shards.
  Status compare(const Index& index) {
    std::uint64_t indexed_bytes = 0;
    std::size_t indexed = 0;
    std::vector<std::size_t> extra(checkpoint_.shards_.size());
    for (const CheckpointTensor& t : checkpoint_.tensors_) {
      const auto entry = index.shard_of.find(t.name);
      if (entry == index.shard_of.end()) {
        ++extra[t.shard];
        continue;
      }
      if (entry->second != checkpoint_.shards_[t.shard].name)
        return fail(
            ErrorCode::bad_index,
            "the index places the tensor in " + printable(entry->second) + ", but it is in " + shard_name(t.shard),
            {index.where.file, printable(t.name), {}});
      ++indexed;
      indexed_bytes += t.bytes;
    }
    if (indexed != index.shard_of.size()) return refuse_missing(index);
    // Exporters count shared tensors twice, or elements instead of bytes; no reader needs the sum.
    if (index.total_size && index.total_size->as_double() != static_cast<double>(indexed_bytes))
      checkpoint_.warnings_.push_back(index.where.file + ": metadata.total_size is " +
                                      printable(to_text(*index.total_size), 100) + ", but the tensors have " +
                                      std::to_string(indexed_bytes) + " bytes");
    for (std::size_t i = 0; i < extra.size(); ++i)
      if (extra[i] != 0)
        checkpoint_.warnings_.push_back(shard_name(i) + " holds " + std::to_string(extra[i]) +
                                        " tensors that are not in the index; they are read all the same");
    return {};
  }

  [[nodiscard]] Status refuse_missing(const Index& index) const {
    const std::pair<const std::string, std::string>* missing = nullptr;
    for (const auto& entry : index.shard_of)
      if (checkpoint_.find(entry.first) == nullptr && (missing == nullptr || entry.first < missing->first))
        missing = &entry;
    return fail(ErrorCode::bad_index,
                "the index places the tensor in " + printable(missing->second) + ", which lacks it",
                {index.where.file, printable(missing->first), {}});
  }

  Status read_config(const fs::path& path) {
    std::error_code ignored;
    if (!fs::exists(path, ignored)) return {};
    Result<Json> config = read_json_file(path, kConfigLimits);
    if (!config) return propagate(config);
    checkpoint_.config_ = std::move(*config);
    return {};
  }

  [[nodiscard]] std::string shard_name(std::size_t i) const { return printable(checkpoint_.shards_[i].name); }

  Access access_;
  Checkpoint checkpoint_;
};

MatrixShape matrix_shape(std::span<const std::uint64_t> shape) noexcept {
  if (shape.size() < 2) return {1, shape.empty() ? 1 : shape[0]};
  std::uint64_t cols = 1;
  // Only an empty tensor can wrap here, for instance 0 x 2^40 x 2^40: it has no columns either.
  for (const std::uint64_t n : shape.subspan(1)) cols = checked_mul(cols, n).value_or(0);
  return {shape[0], cols};
}

Result<Checkpoint> Checkpoint::open(const fs::path& path, Access access) {
  return guarded([&] { return CheckpointOpener(path, access).open(); });
}

const CheckpointTensor* Checkpoint::find(std::string_view name) const noexcept {
  const auto at = std::lower_bound(tensors_.begin(), tensors_.end(), name,
                                   [](const CheckpointTensor& t, std::string_view n) { return t.name < n; });
  return at != tensors_.end() && at->name == name ? &*at : nullptr;
}

std::uint64_t Checkpoint::tensor_bytes() const noexcept {
  std::uint64_t sum = 0;
  for (const CheckpointTensor& t : tensors_) sum += t.bytes;
  return sum;
}

std::uint64_t Checkpoint::file_bytes() const noexcept {
  std::uint64_t sum = 0;
  for (const Shard& s : shards_) sum += s.bytes;
  return sum;
}

Status Checkpoint::read_bytes(const CheckpointTensor& tensor, std::uint64_t byte_offset,
                              std::span<std::byte> out) const {
  expects(tensor.shard < files_.size(), "a tensor of this checkpoint");
  return guarded([&] { return read_tensor(files_[tensor.shard], tensor, byte_offset, out); });
}

std::span<const std::byte> Checkpoint::mapped(const CheckpointTensor& tensor) const noexcept {
  const std::span<const std::byte> file = files_[tensor.shard].mapped();
  if (file.empty()) return {};
  return file.subspan(static_cast<std::size_t>(tensor.offset), static_cast<std::size_t>(tensor.bytes));
}

namespace {

/// Elements converted at a time.
constexpr std::size_t kChunk = std::size_t{1} << 18;

/// Reads out.size() elements from element `first` on.
Status read_floats(const Checkpoint& checkpoint, const CheckpointTensor& tensor, std::uint64_t first,
                   std::span<float> out) {
  const std::size_t size = dtype_info(tensor.dtype).bits / 8;
  if (tensor.dtype == DType::f32) return checkpoint.read_bytes(tensor, first * size, std::as_writable_bytes(out));
  std::vector<std::byte> buffer(std::min(out.size(), kChunk) * size);
  while (!out.empty()) {
    const std::size_t n = std::min(out.size(), kChunk);
    const std::span<std::byte> bytes = std::span(buffer).first(n * size);
    if (Status s = checkpoint.read_bytes(tensor, first * size, bytes); !s) return s;
    convert_to_float(tensor.dtype, bytes, out.first(n));
    first += n;
    out = out.subspan(n);
  }
  return {};
}

}  // namespace

Status Checkpoint::check_rows(const CheckpointTensor& tensor, std::uint64_t first_row, std::uint64_t n_rows,
                              std::uint64_t cols) const {
  expects(tensor.shard < files_.size(), "a tensor of this checkpoint");
  const MatrixShape shape = matrix_shape(tensor.shape);
  const bool known = converts_to_float(tensor.dtype);
  if (known && first_row <= shape.rows && n_rows <= shape.rows - first_row && cols == shape.cols) return {};
  Where where = where_of(files_[tensor.shard].path());
  where.tensor = printable(tensor.name);
  if (!known)
    return fail(ErrorCode::unsupported,
                "dtype " + std::string(dtype_info(tensor.dtype).name) +
                    " is not read as numbers; F32, F16, BF16, F64, F8_E4M3 and F8_E5M2 are",
                std::move(where));
  return fail(ErrorCode::usage,
              std::to_string(n_rows) + " rows of " + std::to_string(cols) + " from row " + std::to_string(first_row) +
                  " on were asked for, but the matrix is " + std::to_string(shape.rows) + " x " +
                  std::to_string(shape.cols),
              std::move(where));
}

Status Checkpoint::read_rows_into(const CheckpointTensor& tensor, std::uint64_t first_row,
                                  MatrixView<float> out) const {
  return guarded([&]() -> Status {
    if (Status s = check_rows(tensor, first_row, out.rows(), out.cols()); !s) return s;
    if (out.size() == 0) return {};
    const std::uint64_t first = first_row * out.cols();
    if (out.stride() == out.cols()) return read_floats(*this, tensor, first, {out.data(), out.size()});
    for (std::size_t r = 0; r < out.rows(); ++r)
      if (Status s = read_floats(*this, tensor, first + r * out.cols(), out.row(r)); !s) return s;
    return {};
  });
}

Result<Matrix<float>> Checkpoint::read_rows(const CheckpointTensor& tensor, std::uint64_t first_row,
                                            std::uint64_t n_rows) const {
  return guarded([&]() -> Result<Matrix<float>> {
    const std::uint64_t cols = matrix_shape(tensor.shape).cols;
    if (Status s = check_rows(tensor, first_row, n_rows, cols); !s) return propagate(s);
    Matrix<float> out(n_rows, cols);
    if (Status s = read_rows_into(tensor, first_row, out.view()); !s) return propagate(s);
    return out;
  });
}

Result<Matrix<float>> Checkpoint::read_matrix(const CheckpointTensor& tensor) const {
  return read_rows(tensor, 0, matrix_shape(tensor.shape).rows);
}

}  // namespace kvant::io
