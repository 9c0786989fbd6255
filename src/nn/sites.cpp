// SPDX-License-Identifier: Apache-2.0
#include "kvant/nn/sites.hpp"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>
#include <variant>

#include "buffer_plan.hpp"

namespace kvant::nn {
namespace {

std::vector<std::uint32_t> columns_of(const Slice& s) {
  std::vector<std::uint32_t> columns;
  for (std::size_t h = 0; h < s.count; ++h)
    for (std::size_t i = 0; i < s.width; ++i) columns.push_back(static_cast<std::uint32_t>(s.first + h * s.stride + i));
  return columns;
}

bool overlap(const Slice& a, const Slice& b) {
  if (a.buffer != b.buffer) return false;
  if (a.is_dense() && b.is_dense()) return a.first < b.first + b.columns() && b.first < a.first + a.columns();
  const auto columns = columns_of(a);
  return std::ranges::any_of(columns_of(b), [&](std::uint32_t c) { return std::ranges::binary_search(columns, c); });
}

/// Columns of a slice, followed back to what made them.
class Trace {
 public:
  Trace(const ModelConfig& config, const std::vector<Step>& steps, TensorId shift)
      : config_(config), steps_(steps), shift_(shift) {}

  /// `columns` of what the steps [reader, end) read as `input`, none of which changes it.
  void run(std::size_t reader, std::size_t end, const Slice& input, std::vector<std::uint32_t> columns,
           InputSite& site) {
    at_ = reader;
    last_ = end;
    follow(input, std::move(columns), site, true);
  }

 private:
  [[nodiscard]] StepAccess access(std::size_t step) const { return access_of(steps_[step], config_); }

  /// The last step before `at_` that writes the slice; nothing where there is none.
  [[nodiscard]] std::optional<std::size_t> writer_of(const Slice& slice) const {
    for (std::size_t i = at_; i-- > 0;)
      for (const Slice& w : access(i).writes)
        if (overlap(w, slice)) return i;
    return std::nullopt;
  }

  /// Whether anything between the steps reads the slice, beside those that the trace came through.
  [[nodiscard]] bool is_read_between(std::size_t first, std::size_t end, const Slice& slice) const {
    for (std::size_t i = first; i < end; ++i)
      for (const Slice& r : access(i).reads)
        if (overlap(r, slice)) return true;
    return false;
  }

  /// Whether anything behind the readers still needs it: a later read before a write.
  [[nodiscard]] bool is_read_after(const Slice& slice) const {
    for (std::size_t i = last_; i < steps_.size(); ++i) {
      const StepAccess a = access(i);
      for (const Slice& r : a.reads)
        if (overlap(r, slice)) return true;
      for (const Slice& w : a.writes)
        if (overlap(w, slice)) return false;
    }
    return slice.buffer == config_.carried;
  }

  // NOLINTNEXTLINE(misc-no-recursion): one call for each step that a factor passes
  void follow(const Slice& slice, std::vector<std::uint32_t> sources, InputSite& site, bool is_input = false) {
    const auto writer = writer_of(slice);
    if (!writer || is_read_between(*writer + 1, at_, slice) || is_read_after(slice)) return;
    if (!is_input && is_read_between(at_ + 1, last_, slice)) return;
    const Step& step = steps_[*writer];
    at_ = *writer;
    if (const auto* norm = std::get_if<Norm>(&step)) {
      take_norm(*norm, slice, sources, site);
    } else if (const auto* rows = std::get_if<Multiply>(&step)) {
      if (rows->accumulate || !covers(rows->out, slice)) return;
      site.kind = InputSite::Producer::rows;
      site.producer = rows->weight + shift_;
      site.bias = config_.tensors[site.producer].bias;
      for (std::uint32_t& c : sources) c -= static_cast<std::uint32_t>(rows->out.first);
      site.sources = std::move(sources);
    } else if (const auto* gate = std::get_if<Gate>(&step)) {
      pass(gate->x, gate->by, slice, std::move(sources), site);
    } else if (const auto* scale = std::get_if<Scale>(&step)) {
      if (scale->offset == 0) follow(slice, std::move(sources), site);
    } else if (const auto* copy = std::get_if<Copy>(&step)) {
      pass(copy->out, copy->in, slice, std::move(sources), site);
    } else if (const auto* attend = std::get_if<Attend>(&step)) {
      pass_values(*attend, slice, std::move(sources), site);
    } else if (const auto* source = std::get_if<AttendSource>(&step)) {
      pass_source(*source, slice, sources, site);
    }
  }

  /// Whether every column of `inner` is one of `outer`'s.
  static bool covers(const Slice& outer, const Slice& inner) {
    const auto columns = columns_of(outer);
    return std::ranges::all_of(columns_of(inner),
                               [&](std::uint32_t c) { return std::ranges::binary_search(columns, c); });
  }

  /// `slice` is `to`, which element by element came from `from`, head by head where that has one.
  void pass(const Slice& to, const Slice& from, const Slice& slice, std::vector<std::uint32_t> sources,
            InputSite& site) {
    const auto made = columns_of(to);
    const auto origin = columns_of(from);
    if (!covers(to, slice) || (origin.size() != made.size() && from.count != 1) || from.columns() == 1) return;
    std::map<std::uint32_t, std::uint32_t> origin_of;
    for (std::size_t i = 0; i < made.size(); ++i) origin_of[made[i]] = origin[i % origin.size()];
    for (std::uint32_t& c : sources) c = origin_of[c];
    follow(from, std::move(sources), site);
  }

  /// The columns of the values that columns of an attention's output are sums of.
  static std::vector<std::uint32_t> values_of(const Slice& out, const Slice& v, std::vector<std::uint32_t> columns) {
    const std::size_t shared = out.count / v.count;
    std::map<std::uint32_t, std::uint32_t> value_of;
    for (std::size_t h = 0; h < out.count; ++h)
      for (std::size_t i = 0; i < out.width; ++i)
        value_of[static_cast<std::uint32_t>(out.first + h * out.stride + i)] =
            static_cast<std::uint32_t>(v.first + h / shared * v.stride + i);
    for (std::uint32_t& c : columns) c = value_of[c];
    return columns;
  }

  void pass_values(const Attend& attend, const Slice& slice, std::vector<std::uint32_t> sources, InputSite& site) {
    if (covers(attend.out, slice)) follow(attend.v, values_of(attend.out, attend.v, std::move(sources)), site);
  }

  /// Through the cache, to the list of the encoder that stored the values.
  void pass_source(const AttendSource& attend, const Slice& slice, const std::vector<std::uint32_t>& sources,
                   InputSite& site) {
    if (!covers(attend.out, slice)) return;
    for (const Block& block : config_.encoder)
      for (std::size_t i = 0; i < block.steps.size(); ++i)
        if (const auto* store = std::get_if<StoreSource>(&block.steps[i]);
            store != nullptr && store->cache == attend.cache)
          Trace(config_, block.steps, 0).run(i, i + 1, store->v, values_of(attend.out, store->v, sources), site);
  }

  void take_norm(const Norm& norm, const Slice& slice, const std::vector<std::uint32_t>& sources, InputSite& site) {
    if (norm.weight == kNoTensor || !covers(norm.out, slice)) return;
    site.kind = InputSite::Producer::norm;
    site.producer = norm.weight + shift_;
    site.bias = norm.bias == kNoTensor ? kNoTensor : norm.bias + shift_;
    site.plus_one = norm.plus_one;
    std::map<std::uint32_t, std::uint32_t> element_of;
    for (std::size_t h = 0; h < norm.out.count; ++h)
      for (std::size_t i = 0; i < norm.out.width; ++i)
        element_of[static_cast<std::uint32_t>(norm.out.first + h * norm.out.stride + i)] =
            static_cast<std::uint32_t>((norm.per_head ? h * norm.out.width : 0) + i);
    for (const std::uint32_t c : sources) site.sources.push_back(element_of[c]);
  }

  const ModelConfig& config_;
  const std::vector<Step>& steps_;
  const TensorId shift_;
  std::size_t at_ = 0;    ///< what is traced was read here
  std::size_t last_ = 0;  ///< behind the last reader
};

/// The sites of one list of steps.
class SiteFinder {
 public:
  SiteFinder(const ModelConfig& config, std::size_t block, std::vector<InputSite>& sites)
      : config_(config), block_(block), sites_(sites) {}

  void run(const std::vector<Step>& steps, TensorId shift) {
    for (std::size_t i = 0; i < steps.size(); ++i) {
      if (const auto* experts = std::get_if<Experts>(&steps[i])) inside(*experts);
      const auto* first = std::get_if<Multiply>(&steps[i]);
      if (first != nullptr && !is_later_reader(steps, i)) add(steps, i, *first, shift);
    }
  }

 private:
  /// Steps up to which a read of the slice at `from` sees the same: behind the last one.
  static std::size_t unchanged_until(const ModelConfig& config, const std::vector<Step>& steps, std::size_t from,
                                     const Slice& slice) {
    for (std::size_t i = from; i < steps.size(); ++i)
      for (const Slice& w : access_of(steps[i], config).writes)
        if (overlap(w, slice)) return i + 1;
    return steps.size();
  }

  [[nodiscard]] bool is_later_reader(const std::vector<Step>& steps, std::size_t at) const {
    const Slice& in = std::get<Multiply>(steps[at]).in;
    for (std::size_t i = at; i-- > 0;) {
      for (const Slice& w : access_of(steps[i], config_).writes)
        if (overlap(w, in)) return false;
      if (const auto* other = std::get_if<Multiply>(&steps[i]); other != nullptr && other->in == in) return true;
    }
    return false;
  }

  void add(const std::vector<Step>& steps, std::size_t at, const Multiply& first, TensorId shift) {
    InputSite site;
    site.columns = first.in.columns();
    site.block = block_;
    const std::size_t until = unchanged_until(config_, steps, at, first.in);
    std::size_t end = at;
    bool is_plain = true;
    for (std::size_t i = at; i < until; ++i) {
      const auto* reader = std::get_if<Multiply>(&steps[i]);
      const auto* experts = std::get_if<Experts>(&steps[i]);
      if (reader != nullptr && reader->in == first.in) {
        site.readers.push_back(reader->weight + shift);
        end = i + 1;
      } else if (experts != nullptr && experts->in == first.in.buffer) {
        add_experts(*experts, site);
        end = i + 1;
      } else {
        for (const Slice& r : access_of(steps[i], config_).reads)
          if (overlap(r, first.in)) is_plain = false;
      }
    }
    // The columns of a tied head are those of the embedding.
    for (const TensorId t : site.readers) is_plain = is_plain && config_.tensors[t].role != Role::embedding;
    if (is_plain) Trace(config_, steps, shift).run(at, end, first.in, columns_of(first.in), site);
    sites_.push_back(std::move(site));
  }

  /// Layers of every expert that read what the expert is given.
  void add_experts(const Experts& experts, InputSite& site) const {
    for (std::size_t e = 0; e < experts.experts; ++e)
      for (const Step& step : config_.expert_steps[experts.steps])
        if (const auto* m = std::get_if<Multiply>(&step); m != nullptr && m->in.buffer == experts.expert_in)
          site.readers.push_back(m->weight + static_cast<TensorId>(e) * experts.stride);
  }

  /// Sites within each expert, except that of its input.
  void inside(const Experts& experts) {
    const std::vector<Step>& steps = config_.expert_steps[experts.steps];
    for (std::size_t e = 0; e < experts.experts; ++e)
      for (std::size_t i = 0; i < steps.size(); ++i) {
        const auto* m = std::get_if<Multiply>(&steps[i]);
        if (m != nullptr && m->in.buffer != experts.expert_in && !is_later_reader(steps, i))
          add(steps, i, *m, static_cast<TensorId>(e) * experts.stride);
      }
  }

  const ModelConfig& config_;
  const std::size_t block_;
  std::vector<InputSite>& sites_;
};

}  // namespace

std::vector<InputSite> input_sites(const ModelConfig& config) {
  std::vector<InputSite> sites;
  for (const Block& block : config.encoder) SiteFinder(config, SIZE_MAX, sites).run(block.steps, 0);
  SiteFinder(config, SIZE_MAX, sites).run(config.stem, 0);
  for (std::size_t i = 0; i < config.blocks.size(); ++i) SiteFinder(config, i, sites).run(config.blocks[i].steps, 0);
  // The head and the pooler read what the tail ends with.
  std::vector<Step> last = config.tail;
  last.insert(last.end(), config.head.begin(), config.head.end());
  last.insert(last.end(), config.pooler.begin(), config.pooler.end());
  SiteFinder(config, SIZE_MAX, sites).run(last, 0);
  return sites;
}

}  // namespace kvant::nn
