// SPDX-License-Identifier: Apache-2.0
// compressed-tensors as it is read: a configuration says which modules are quantized and how, tensors of fixed names
// hold them. Everything that the configuration says is honoured or refused; nothing is guessed. Source:
// compressed-tensors 0.20.1, quantization/quant_config.py, quant_args.py, utils/match.py, compressors/.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstring>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "kvant/core/checked.hpp"
#include "kvant/io/utf8.hpp"
#include "kvant/tensor/bits.hpp"
#include "name_pattern.hpp"
#include "storage.hpp"

namespace kvant::io {
namespace {

constexpr std::string_view kScale = ".weight_scale";

enum class Strategy : std::uint8_t { tensor, channel, group, block, token, tensor_group, attention_head };
enum class Dynamic : std::uint8_t { no, yes, local };

/// How weights or activations are quantized: QuantizationArgs.
struct Arguments {
  std::uint64_t bits = 8;
  bool is_float = false;
  bool symmetric = true;
  Strategy strategy = Strategy::tensor;
  std::uint64_t group_size = 0;
  MatrixShape block{0, 0};
  Dynamic dynamic = Dynamic::no;
  std::string scale_dtype;
};

/// One config group: QuantizationScheme.
struct Group {
  std::string name;
  Arguments weights;
  std::optional<Arguments> input;
  bool has_output = false;
  std::string format;
};

struct Target {
  std::string text;
  std::optional<NamePattern> pattern;  ///< of `re:...`
  std::size_t group = 0;
};

bool is_set(const Json* value) { return value != nullptr && !value->is_null(); }

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

/// Whether a version, like 0.17.1, is one before 0.18; nothing if it is none.
std::optional<bool> is_before_dense_packing(std::string_view version) {
  unsigned numbers[2] = {0, 0};
  const char* at = version.data();
  const char* const end = at + version.size();
  for (unsigned& n : numbers) {
    const auto [stop, error] = std::from_chars(at, end, n);
    if (error != std::errc() || (&n == numbers && (stop == end || *stop != '.'))) return std::nullopt;
    at = stop + 1;
  }
  return std::pair(numbers[0], numbers[1]) < std::pair(0u, 18u);
}

// ---- the configuration ---------------------------------------------------------------------------------------------

/// Reads the configuration; what it does not understand is `unsupported` by name, and what cannot be is `bad_config`.
class ConfigReader {
 public:
  explicit ConfigReader(const Where& where) : where_(where) {}

  Status read(const Json& config);

  std::vector<Group> groups;
  std::vector<Target> targets;  ///< exact names, then patterns, each by text; classes are found by their text, last
  std::vector<Target> ignored;
  bool quantizes_cache = false;
  std::string not_computed;
  std::optional<bool> packs_whole_codes;  ///< into 32-bit words, as versions before 0.18 did; where a version is named

 private:
  [[nodiscard]] tl::unexpected<Error> bad(std::string what) const {
    return fail(ErrorCode::bad_config, "quantization_config " + std::move(what), where_);
  }
  [[nodiscard]] tl::unexpected<Error> unsupported(std::string what) const {
    return fail(ErrorCode::unsupported, "quantization_config " + std::move(what), where_);
  }
  Status check_top(const Json& config) const;
  Result<Arguments> read_arguments(const Json& json, const std::string& of) const;
  Status read_strategy(const Json& json, const std::string& of, Arguments& args) const;
  Result<MatrixShape> read_block(const Json& json, const std::string& of) const;
  Status read_group(const std::string& name, const Json& json, const std::string& format);
  Status read_targets(const Json& list, std::size_t group, std::vector<Target>& out) const;

  const Where& where_;
};

Status ConfigReader::check_top(const Json& config) const {
  constexpr std::array<std::string_view, 11> kKeys{
      "quant_method", "format",          "quantization_status", "config_groups",
      "ignore",       "kv_cache_scheme", "sparsity_config",     "global_compression_ratio",
      "version",      "run_compressed",  "transform_config"};
  if (const Status ok = check_keys(config, kKeys, "", where_); !ok) return ok;
  const std::string_view status = text_of(config, "quantization_status");
  if (!status.empty() && status != "compressed")
    return unsupported("has the quantization_status '" + printable(status, 40) +
                       "', expected compressed: its weights are not stored as codes");
  if (const Json* transforms = config.find("transform_config"); is_set(transforms)) {
    const Json* some = transforms->find("config_groups");
    if (!says_nothing(*transforms) && (some == nullptr || !says_nothing(*some)))
      return unsupported("has a transform_config: its weights are rotated, and what undoes that is not computed");
  }
  if (const Json* sparsity = config.find("sparsity_config"); is_set(sparsity) && !says_nothing(*sparsity)) {
    const std::string_view format = text_of(*sparsity, "format");
    if (format != "dense")
      return unsupported("has a sparsity_config of the format '" + printable(format, 60) + "', expected dense");
  }
  return {};
}

Result<MatrixShape> ConfigReader::read_block(const Json& json, const std::string& of) const {
  const Json& value = *json.find("block_structure");
  MatrixShape block{0, 0};
  if (value.items().size() == 2) {
    block = {value.items()[0].as_uint64().value_or(0), value.items()[1].as_uint64().value_or(0)};
  } else if (const std::string* text = value.as_string()) {  // "128x128", as older versions wrote it
    if (const auto parsed = detail::parse_granularity("b" + *text); parsed)
      block = {parsed->rows_parameter(), parsed->cols_parameter()};
  }
  if (block.rows == 0 || block.cols == 0)
    return bad("has a block_structure" + of + " that is no [rows, columns]: " + printable(to_text(value), 80));
  return block;
}

Status ConfigReader::read_strategy(const Json& json, const std::string& of, Arguments& args) const {
  const Json* size = json.find("group_size");
  const auto group = is_set(size) ? size->as_int64() : std::optional<std::int64_t>(0);
  if (!group || *group < -1) return bad("has a group_size" + of + " that is no number of columns");
  constexpr std::array<std::pair<std::string_view, Strategy>, 7> kNames{{{"tensor", Strategy::tensor},
                                                                         {"channel", Strategy::channel},
                                                                         {"group", Strategy::group},
                                                                         {"block", Strategy::block},
                                                                         {"token", Strategy::token},
                                                                         {"tensor_group", Strategy::tensor_group},
                                                                         {"attn_head", Strategy::attention_head}}};
  const Json* strategy = json.find("strategy");
  if (is_set(strategy)) {
    const std::string name = lower(text_of(json, "strategy"));
    const auto* found = std::find_if(kNames.begin(), kNames.end(), [&](const auto& n) { return n.first == name; });
    if (found == kNames.end())
      return unsupported("has the strategy " + printable(to_text(*strategy), 60) + of +
                         ", expected tensor, channel, group, block, token, tensor_group or attn_head");
    args.strategy = found->second;
  } else {  // inferred, as the library does
    args.strategy = *group > 0 ? Strategy::group : *group == -1 ? Strategy::channel : Strategy::tensor;
  }
  if (*group == -1 && args.strategy == Strategy::group) args.strategy = Strategy::channel;
  const bool grouped = args.strategy == Strategy::group || args.strategy == Strategy::tensor_group;
  if (grouped != (*group > 0)) return bad("has a strategy" + of + " that its group_size does not fit");
  args.group_size = static_cast<std::uint64_t>(std::max<std::int64_t>(*group, 0));
  if (is_set(json.find("block_structure")) != (args.strategy == Strategy::block))
    return bad("has a strategy" + of + " that its block_structure does not fit");
  if (args.strategy != Strategy::block) return {};
  const auto block = read_block(json, of);
  if (!block) return propagate(block);
  args.block = *block;
  return {};
}

Result<Arguments> ConfigReader::read_arguments(const Json& json, const std::string& of) const {
  // What observers did is over, and zero points and orders of columns are what the tensors hold.
  constexpr std::array<std::string_view, 11> kKeys{"num_bits",        "type",     "symmetric",      "strategy",
                                                   "group_size",      "dynamic",  "scale_dtype",    "zp_dtype",
                                                   "block_structure", "observer", "observer_kwargs"};
  std::vector<std::string_view> known(kKeys.begin(), kKeys.end());
  known.push_back("actorder");
  if (!json.is_object()) return bad("has something else than an object for the arguments" + of);
  if (const Status ok = check_keys(json, known, of, where_); !ok) return propagate(ok);
  Arguments args;
  if (const Json* bits = json.find("num_bits"); is_set(bits)) args.bits = bits->as_uint64().value_or(0);
  if (args.bits == 0 || args.bits > 16) return bad("has num_bits" + of + " that are no number from 1 to 16");
  if (is_set(json.find("type"))) {
    const std::string type = lower(text_of(json, "type"));
    if (type != "int" && type != "float") return bad("has a type" + of + " that is neither int nor float");
    args.is_float = type == "float";
  }
  if (const Json* symmetric = json.find("symmetric"); is_set(symmetric)) {
    if (!symmetric->as_bool()) return bad("has a value \"symmetric\"" + of + " that is neither true nor false");
    args.symmetric = *symmetric->as_bool();
  }
  if (const Json* dynamic = json.find("dynamic"); is_set(dynamic)) {
    const bool local = dynamic->as_string() != nullptr && lower(*dynamic->as_string()) == "local";
    if (!local && !dynamic->as_bool())
      return bad("has a value \"dynamic\"" + of + " that is none of true, false, local");
    args.dynamic = local ? Dynamic::local : *dynamic->as_bool() ? Dynamic::yes : Dynamic::no;
  }
  args.scale_dtype = std::string(text_of(json, "scale_dtype"));
  if (const Status ok = read_strategy(json, of, args); !ok) return propagate(ok);
  return args;
}

Status ConfigReader::read_targets(const Json& list, std::size_t group, std::vector<Target>& out) const {
  for (const Json& item : list.items()) {
    const std::string* text = item.as_string();
    if (text == nullptr) return bad("names a module by something else than text: " + printable(to_text(item), 60));
    Target target{*text, std::nullopt, group};
    if (text->starts_with("re:")) {
      auto pattern = NamePattern::compile(text->substr(3), Match::beginning);
      if (!pattern) return bad("has a pattern that does not compile: " + pattern.error().message);
      target.pattern = std::move(*pattern);
    }
    // A text that stands twice means what is said last, as in the library's dictionary.
    const auto same = std::find_if(out.begin(), out.end(), [&](const Target& t) { return t.text == *text; });
    if (same != out.end())
      same->group = group;
    else
      out.push_back(std::move(target));
  }
  return {};
}

Status ConfigReader::read_group(const std::string& name, const Json& json, const std::string& format) {
  constexpr std::array<std::string_view, 5> kKeys{"targets", "weights", "input_activations", "output_activations",
                                                  "format"};
  const std::string of = " of " + printable(name, 60);
  if (!json.is_object()) return unsupported("has the group " + printable(name, 60) + " as a preset's name");
  if (const Status ok = check_keys(json, kKeys, of, where_); !ok) return ok;
  Group group;
  group.name = name;
  group.format = is_set(json.find("format")) ? std::string(text_of(json, "format")) : format;
  constexpr std::array<std::string_view, 7> kFormats{"pack-quantized",  "int-quantized",        "float-quantized",
                                                     "naive-quantized", "nvfp4-pack-quantized", "mxfp4-pack-quantized",
                                                     "mxfp8-quantized"};
  if (std::find(kFormats.begin(), kFormats.end(), group.format) == kFormats.end())
    return unsupported("has the format '" + printable(group.format, 60) + "'" + of + ", which is not read");
  const Json* weights = json.find("weights");
  if (!is_set(weights)) return unsupported("has a group, " + printable(name, 60) + ", that quantizes no weights");
  auto args = read_arguments(*weights, of + "'s weights");
  if (!args) return propagate(args);
  group.weights = std::move(*args);
  if (const Json* input = json.find("input_activations"); is_set(input)) {
    auto read = read_arguments(*input, of + "'s input_activations");
    if (!read) return propagate(read);
    group.input = std::move(*read);
  }
  if (const Json* output = json.find("output_activations"); is_set(output)) {
    if (const auto read = read_arguments(*output, of + "'s output_activations"); !read) return propagate(read);
    group.has_output = true;
  }
  const Json* list = json.find("targets");
  if (list == nullptr || !list->is_array()) return bad("lacks the list of targets" + of);
  groups.push_back(std::move(group));
  return read_targets(*list, groups.size() - 1, targets);
}

Status ConfigReader::read(const Json& config) {
  if (const Status ok = check_top(config); !ok) return ok;
  const Json* list = config.find("config_groups");
  if (list == nullptr || !list->is_object()) return bad("lacks the object \"config_groups\"");
  const std::string format(text_of(config, "format"));
  for (const Json::Member& m : list->members())
    if (const Status ok = read_group(m.key, m.value, format); !ok) return ok;
  std::sort(targets.begin(), targets.end(), [](const Target& a, const Target& b) {
    return std::tuple(a.pattern.has_value(), std::string_view(a.text)) <
           std::tuple(b.pattern.has_value(), std::string_view(b.text));
  });
  if (const Json* names = config.find("ignore"); is_set(names))
    if (const Status ok = read_targets(*names, 0, ignored); !ok) return ok;
  packs_whole_codes = is_before_dense_packing(text_of(config, "version"));
  if (const Json* cache = config.find("kv_cache_scheme"); is_set(cache)) {
    const auto args = read_arguments(*cache, " of kv_cache_scheme");
    if (!args) return propagate(args);
    quantizes_cache = true;
    not_computed = "keys and values of the cache in " + std::to_string(args->bits) + " bits";
  }
  return {};
}

// ---- the tensors ---------------------------------------------------------------------------------------------------

/// What the matches of a module come to.
Result<bool> matches(const Target& target, const std::string& module) {
  if (target.pattern) return target.pattern->matches(module);
  return target.text == module;
}

bool matches_class(const Target& target, const std::string& module) {
  return !target.pattern && target.text == (is_embedding(module) ? "Embedding" : "Linear");
}

/// Finds the weights of one checkpoint.
class WeightFinder {
 public:
  WeightFinder(const Checkpoint& checkpoint, const ConfigReader& config)
      : checkpoint_(checkpoint), config_(config), file_(checkpoint.path().string()) {}

  Result<StoredWeights> find();

 private:
  [[nodiscard]] Where at(const std::string& tensor) const { return {file_, tensor, {}}; }
  [[nodiscard]] tl::unexpected<Error> bad(const std::string& tensor, std::string what) const {
    return fail(ErrorCode::bad_metadata, std::move(what), at(tensor));
  }
  [[nodiscard]] tl::unexpected<Error> unsupported(const std::string& tensor, std::string what) const {
    return fail(ErrorCode::unsupported, std::move(what), at(tensor));
  }

  Result<const Group*> group_of(const std::string& module) const;
  Result<StoredWeight> find_weight(const std::string& module);
  Result<Scheme> scheme_of(const Group& group, const std::string& name) const;
  Status find_codes(const Group& group, StoredWeight& w) const;
  Result<bool> packs_whole_codes(const std::string& name, std::uint64_t count, unsigned bits,
                                 std::uint64_t words) const;
  Status find_packed_integers(const Group& group, StoredWeight& w) const;
  Status check_scales(StoredWeight& w) const;
  Status find_zero_points(const Group& group, StoredWeight& w) const;
  Status find_activations(const Group& group, StoredWeight& w);
  Result<float> read_scalar(const std::string& name) const;
  Status check_left_over() const;
  void not_computed(std::string what) {
    if (result_.not_computed.empty()) result_.not_computed = std::move(what);
  }
  [[nodiscard]] const CheckpointTensor* tensor(const std::string& name) const { return checkpoint_.find(name); }

  const Checkpoint& checkpoint_;
  const ConfigReader& config_;
  std::string file_;
  std::set<std::string, std::less<>> used_;
  StoredWeights result_;
};

Result<const Group*> WeightFinder::group_of(const std::string& module) const {
  for (const Target& target : config_.ignored) {
    const auto match = matches(target, module);
    if (!match) return propagate(match);
    if (*match || matches_class(target, module))
      return bad(module + std::string(kScale),
                 "is there, but the configuration ignores its module ('" + printable(target.text, 80) + "')");
  }
  for (const Target& target : config_.targets) {
    const auto match = matches(target, module);
    if (!match) return propagate(match);
    if (*match) return &config_.groups[target.group];
  }
  for (const Target& target : config_.targets)
    if (matches_class(target, module)) return &config_.groups[target.group];
  return bad(module + std::string(kScale), "belongs to no config group");
}

/// The scheme of a group's weights; the type of their scales is told by the tensor.
Result<Scheme> WeightFinder::scheme_of(const Group& group, const std::string& name) const {
  const Arguments& args = group.weights;
  const CheckpointTensor* scale = tensor(name + "_scale");
  const std::string described = std::to_string(args.bits) + "-bit " + (args.is_float ? "floats" : "integers");
  Scheme s;
  const bool mx = scale->dtype == DType::u8 || scale->dtype == DType::f8_e8m0;
  if (args.is_float && (args.bits == 4 || mx)) {
    const bool nvfp4 = args.bits == 4 && args.strategy == Strategy::tensor_group && args.group_size == 16;
    const bool grouped = args.strategy == Strategy::group && args.group_size == 32 && mx;
    const char* text = nvfp4            ? "nvfp4"
                       : !grouped       ? ""
                       : args.bits == 4 ? "mxfp4"
                       : args.bits == 8 ? "mxfp8_e4m3fn"
                                        : "";
    const auto parsed = parse_scheme(text);
    if (!parsed || !args.symmetric)
      return unsupported(name, "is stored as " + described +
                                   " in a way that is not read: expected NVFP4 (groups of 16), "
                                   "MXFP4 or MXFP8 (groups of 32)");
    return parsed;
  }
  const auto format = format_from_name(args.is_float ? "fp8_e4m3fn" : "int" + std::to_string(args.bits));
  if (!format || format_info(*format).bits != args.bits || args.bits == 1)
    return unsupported(name, "is stored as " + described + ", which are not read");
  s.format = *format;
  s.symmetry = args.symmetric ? Symmetry::symmetric : Symmetry::asymmetric;
  switch (args.strategy) {
    case Strategy::tensor:
      s.granularity = PerTensor{};
      break;
    case Strategy::channel:
      s.granularity = PerChannel{};
      break;
    case Strategy::group:
      s.granularity = PerGroup{static_cast<std::size_t>(args.group_size)};
      break;
    case Strategy::block:
      s.granularity = PerBlock{static_cast<std::size_t>(args.block.rows), static_cast<std::size_t>(args.block.cols)};
      break;
    default:
      return unsupported(name, "has scales per token or of two levels, which " + described + " are not read with");
  }
  if (scale->dtype != DType::f16 && scale->dtype != DType::bf16 && scale->dtype != DType::f32)
    return bad(name + "_scale", "is " + std::string(dtype_info(scale->dtype).name) + ", expected F16, BF16 or F32");
  s.scales.inner = scale->dtype == DType::f16    ? format_id<fp16>
                   : scale->dtype == DType::bf16 ? format_id<bf16>
                                                 : format_id<fp32>;
  if (const Status fits = check_scheme(s, to_text(s)); !fits) return unsupported(name, fits.error().message);
  return s;
}

/// Whether the codes in `words` 32-bit words, `count` of them, leave bits unused, as versions before 0.18 did with 3,
/// 5, 6 and 7 bits. Most counts tell; where both ways take as many words, only the version that the configuration names
/// does.
Result<bool> WeightFinder::packs_whole_codes(const std::string& name, std::uint64_t count, unsigned bits,
                                             std::uint64_t words) const {
  const std::uint64_t dense = ceil_div(packed_bytes(count, bits), std::uint64_t{4});
  const std::uint64_t padded = ceil_div(count, std::uint64_t{32 / bits});
  if (words != dense && words != padded)
    return bad(name, "has rows or columns of " + std::to_string(words) + " words, expected " + std::to_string(dense) +
                         " for " + std::to_string(count) + " codes of " + std::to_string(bits) + " bits");
  if (dense != padded) return words == padded;
  if (32 % bits == 0 || count <= 32 / bits) return false;
  if (!config_.packs_whole_codes)
    return unsupported(name, "may be packed in two ways, and the configuration names no version that tells which");
  return *config_.packs_whole_codes;
}

Status WeightFinder::find_packed_integers(const Group& group, StoredWeight& w) const {
  const std::string packed = w.name + "_packed";
  const CheckpointTensor* codes = tensor(packed);
  const unsigned bits = w.scheme.weight.info().bits;
  if (codes->dtype != DType::i32 || codes->shape.size() != 2)
    return bad(packed, "is " + std::string(dtype_info(codes->dtype).name) + " " + shape_text(codes->shape) +
                           ", expected I32 in two dimensions for " + group.format);
  const auto shape = read_shape(checkpoint_, w.name);
  if (!shape) return propagate(shape);
  w.rows = shape->rows;
  w.cols = shape->cols;
  if (codes->shape[0] != w.rows)
    return bad(packed, "has the shape " + shape_text(codes->shape) + ", expected " + std::to_string(w.rows) + " rows");
  const auto whole = packs_whole_codes(packed, w.cols, bits, codes->shape[1]);
  if (!whole) return propagate(whole);
  w.codes = {"_packed", DType::i32, codes->shape[1] * 4, static_cast<std::uint8_t>(1u << (bits - 1)),
             *whole ? CodeStorage::Form::words : CodeStorage::Form::stream};
  w.tensors.push_back(packed);
  w.tensors.push_back(w.name + "_shape");
  return {};
}

Status WeightFinder::find_codes(const Group& group, StoredWeight& w) const {
  const FormatInfo& format = w.scheme.weight.info();
  const bool packed = tensor(w.name + "_packed") != nullptr;
  if (packed && tensor(w.name) != nullptr) return bad(w.name, "is stored twice, packed and not packed");
  const bool wants_packed = group.format.ends_with("pack-quantized");
  const std::string name = w.name + (packed ? "_packed" : "");
  const CheckpointTensor* codes = tensor(name);
  if (codes == nullptr || packed != wants_packed)
    return bad(w.name + (wants_packed ? "_packed" : ""),
               "is missing, but the format " + group.format + " stores its codes there");
  if (packed && format.kind == FormatKind::integer) return find_packed_integers(group, w);
  const DType dtype = packed ? DType::u8 : format.kind == FormatKind::integer ? DType::i8 : DType::f8_e4m3;
  if (codes->dtype != dtype || codes->shape.size() != 2)
    return bad(name, "is " + std::string(dtype_info(codes->dtype).name) + " " + shape_text(codes->shape) +
                         ", expected " + std::string(dtype_info(dtype).name) + " in two dimensions for " +
                         to_text(w.scheme));
  w.rows = codes->shape[0];
  w.cols = packed ? codes->shape[1] * 2 : codes->shape[1];
  w.codes = {packed ? "_packed" : "", dtype, codes->shape[1], 0,
             packed || format.bits == 8 ? CodeStorage::Form::stream : CodeStorage::Form::bytes};
  w.tensors.push_back(name);
  return {};
}

Status WeightFinder::check_scales(StoredWeight& w) const {
  const Granularity& g = w.scheme.weight.granularity;
  const std::uint64_t rows = g.scale_rows(w.rows);
  const std::uint64_t cols = g.scale_cols(w.cols);
  const std::string name = w.name + "_scale";
  const DType dtype = tensor(name)->dtype;
  Status ok;
  switch (g.kind()) {
    case Granularity::Kind::tensor:
      ok = check_stored(checkpoint_, name, dtype, {{1}, {}, {1, 1}});
      break;
    case Granularity::Kind::channel:
      ok = check_stored(checkpoint_, name, dtype, {{rows, 1}, {rows}});
      break;
    default:
      ok = check_stored(checkpoint_, name, dtype, {{rows, cols}});
      break;
  }
  if (!ok) return ok;
  if (w.scheme.weight.scales.inner == format_id<fp8_e4m3fn> && dtype != DType::f8_e4m3)
    return bad(name, "is " + std::string(dtype_info(dtype).name) + ", expected F8_E4M3");
  w.tensors.push_back(name);
  for (const auto& [level, spec, in_rows] : outer_scales(w)) {
    if (const Status outer = check_stored(checkpoint_, spec.name, spec.dtype, {{1}, {}, {1, 1}}); !outer) return outer;
    w.tensors.push_back(spec.name);
  }
  return {};
}

Status WeightFinder::find_zero_points(const Group& group, StoredWeight& w) const {
  const std::string name = w.name + "_zero_point";
  const CheckpointTensor* zeros = tensor(name);
  if (zeros == nullptr) {
    if (w.scheme.weight.symmetry == Symmetry::symmetric) return {};
    return bad(name, "is missing, but the configuration says that its weights are asymmetric");
  }
  w.tensors.push_back(name);
  const Granularity& g = w.scheme.weight.granularity;
  const std::uint64_t rows = g.scale_rows(w.rows);
  const std::uint64_t cols = g.scale_cols(w.cols);
  if (w.scheme.weight.symmetry == Symmetry::symmetric) {  // earlier versions stored zeros all the same
    std::vector<std::byte> bytes(static_cast<std::size_t>(zeros->bytes));
    if (const Status read = checkpoint_.read_bytes(*zeros, 0, bytes); !read) return read;
    if (std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; })) return {};
    return bad(name, "is not zero, but the configuration says that its weights are symmetric");
  }
  if (zeros->dtype == DType::i8) {
    w.zeros = StoredWeight::Zeros::bytes;
    if (rows * cols == 1) return check_stored(checkpoint_, name, DType::i8, {{1}, {}, {1, 1}});
    return check_stored(checkpoint_, name, DType::i8, {{rows, cols}});
  }
  if (group.format != "pack-quantized") return bad(name, "is packed, which " + group.format + " does not do");
  if (const Status ok = check_stored(checkpoint_, name, DType::i32, {{matrix_shape(zeros->shape).rows, cols}}); !ok)
    return ok;
  const auto whole = packs_whole_codes(name, rows, w.scheme.weight.info().bits, zeros->shape[0]);
  if (!whole) return propagate(whole);
  w.zeros = *whole ? StoredWeight::Zeros::words : StoredWeight::Zeros::stream;
  return {};
}

Result<float> WeightFinder::read_scalar(const std::string& name) const {
  const CheckpointTensor* found = tensor(name);
  if (found == nullptr) return bad(name, "is missing");
  if (matrix_shape(found->shape).rows != 1 || matrix_shape(found->shape).cols != 1)
    return bad(name, "has the shape " + shape_text(found->shape) + ", expected one number");
  if (found->dtype == DType::i8) {
    std::int8_t value = 0;
    if (const Status read = checkpoint_.read_bytes(*found, 0, std::as_writable_bytes(std::span(&value, 1))); !read)
      return propagate(read);
    return static_cast<float>(value);
  }
  const auto value = checkpoint_.read_matrix(*found);
  if (!value) return propagate(value);
  return (*value)(0, 0);
}

/// The scheme of a group's inputs; what a forward pass does not compute is kept as text.
Status WeightFinder::find_activations(const Group& group, StoredWeight& w) {
  const std::string module = module_of(w.name);
  for (const char* suffix : {".input_scale", ".input_zero_point", ".input_global_scale", ".output_scale",
                             ".output_zero_point", ".input_g_idx"})
    if (tensor(module + suffix) != nullptr) w.tensors.push_back(module + suffix);
  if (group.has_output) not_computed("output activations, in " + group.name);
  if (!group.input) return {};
  const Arguments& args = *group.input;
  const std::string described = "input activations of " + std::to_string(args.bits) + " bits, in " + group.name;
  ActivationScheme s;
  const auto format = format_from_name(args.is_float ? "fp8_e4m3fn" : "int" + std::to_string(args.bits));
  const bool mx = args.is_float && args.strategy == Strategy::group && args.group_size == 32 &&
                  (args.bits == 4 || args.scale_dtype.ends_with("uint8"));
  if (args.is_float && args.bits == 4 && args.strategy == Strategy::tensor_group && args.group_size == 16)
    s = *parse_activation("nvfp4");
  else if (mx)
    s = *parse_activation(args.bits == 4 ? "mxfp4" : "mxfp8_e4m3fn");
  else if (!format || (args.is_float && args.bits != 8))
    return not_computed(described), Status{};
  else
    s = {*format,
         args.strategy == Strategy::token    ? Granularity(PerToken{})
         : args.strategy == Strategy::tensor ? Granularity(PerTensor{})
                                             : Granularity(PerGroup{static_cast<std::size_t>(args.group_size)}),
         args.symmetric ? Symmetry::symmetric : Symmetry::asymmetric, format_id<fp32>, args.dynamic == Dynamic::no};
  const bool global = s.is_static && s.granularity.kind() == Granularity::Kind::group;
  const Dynamic expected = global ? Dynamic::local : s.is_static ? Dynamic::no : Dynamic::yes;
  if (!is_valid(s) || args.dynamic != expected) return not_computed(described), Status{};
  w.scheme.activation = s;
  if (!s.is_static) return {};
  const std::string name = module + (global ? ".input_global_scale" : ".input_scale");
  const auto scale = read_scalar(name);
  if (!scale) return propagate(scale);
  if (!(*scale > 0.0f) || !std::isfinite(*scale)) return bad(name, "is no finite number above 0");
  w.input.scale = *scale;
  if (s.symmetry != Symmetry::asymmetric) return {};
  const auto zero = read_scalar(module + ".input_zero_point");
  if (!zero) return propagate(zero);
  const FormatInfo& info = format_info(s.format);
  if (!(*zero >= static_cast<float>(info.low) && *zero <= static_cast<float>(info.high)))
    return bad(module + ".input_zero_point", "is no " + std::string(info.name));
  w.input.zero = static_cast<std::int32_t>(*zero);
  return {};
}

Result<StoredWeight> WeightFinder::find_weight(const std::string& module) {
  const auto group = group_of(module);
  if (!group) return propagate(group);
  StoredWeight w;
  w.name = module + ".weight";
  const auto scheme = scheme_of(**group, w.name);
  if (!scheme) return propagate(scheme);
  w.scheme.weight = *scheme;
  if (const Status ok = find_codes(**group, w); !ok) return propagate(ok);
  if (const Status ok = check_scales(w); !ok) return propagate(ok);
  if (const Status ok = find_zero_points(**group, w); !ok) return propagate(ok);
  if (const CheckpointTensor* columns = tensor(w.name + "_g_idx")) {
    const DType dtype = columns->dtype == DType::i64 ? DType::i64 : DType::i32;
    if (const Status ok = check_stored(checkpoint_, w.name + "_g_idx", dtype, {{w.cols}}); !ok) return propagate(ok);
    w.has_column_groups = true;
    w.tensors.push_back(w.name + "_g_idx");
  }
  if (const Status ok = find_activations(**group, w); !ok) return propagate(ok);
  return w;
}

/// Whatever else looks like a part of a quantized weight would be lost, or taken for numbers.
Status WeightFinder::check_left_over() const {
  std::set<std::string, std::less<>> modules;
  for (const StoredWeight& w : result_.weights) modules.insert(module_of(w.name));
  for (const CheckpointTensor& t : checkpoint_.tensors()) {
    if (used_.contains(t.name)) continue;
    const std::size_t at = t.name.rfind(".weight_");
    const bool part = at != std::string::npos && modules.contains(std::string_view(t.name).substr(0, at));
    const bool codes = t.name.ends_with(".weight") && t.shape.size() >= 2 &&
                       (t.dtype == DType::i8 || t.dtype == DType::u8 || t.dtype == DType::i32 ||
                        (dtype_info(t.dtype).is_float && dtype_info(t.dtype).bits <= 8));
    if (part || codes || t.name.ends_with(".weight_packed"))
      return bad(t.name, "belongs to a quantized weight, but the configuration gives it no meaning");
  }
  return {};
}

Result<StoredWeights> WeightFinder::find() {
  result_.convention = convention_name(Convention::compressed_tensors);
  result_.not_computed = config_.not_computed;
  for (const CheckpointTensor& t : checkpoint_.tensors()) {
    if (!t.name.ends_with(kScale)) continue;
    auto weight = find_weight(t.name.substr(0, t.name.size() - kScale.size()));
    if (!weight) return propagate(weight);
    used_.insert(weight->tensors.begin(), weight->tensors.end());
    result_.weights.push_back(std::move(*weight));
  }
  for (const CheckpointTensor& t : checkpoint_.tensors()) {  // of attention under kv_cache_scheme
    constexpr std::array<std::string_view, 6> kCache{".k_scale",      ".v_scale",      ".q_scale",
                                                     ".k_zero_point", ".v_zero_point", ".q_zero_point"};
    if (config_.quantizes_cache &&
        std::any_of(kCache.begin(), kCache.end(), [&](std::string_view suffix) { return t.name.ends_with(suffix); }))
      result_.other_tensors.push_back(t.name);
  }
  if (const Status ok = check_left_over(); !ok) return propagate(ok);
  return std::move(result_);
}

}  // namespace

Result<StoredWeights> read_compressed_tensors(const Checkpoint& checkpoint, const Json& config, const Where& where) {
  ConfigReader reader(where);
  if (const Status ok = reader.read(config); !ok) return propagate(ok);
  return WeightFinder(checkpoint, reader).find();
}

}  // namespace kvant::io
