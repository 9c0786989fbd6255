// SPDX-License-Identifier: Apache-2.0
#include "kvant/nn/model.hpp"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "core/guard.hpp"
#include "io/storage.hpp"
#include "step_runner.hpp"

namespace kvant::nn {
namespace {

tl::unexpected<Error> bad_shape(const char* name, MatrixView<const float> found, const std::string& rows,
                                std::size_t cols) {
  return fail(ErrorCode::bad_shape, std::string(name) + " are " +
                                        io::shape_text(std::array{found.rows(), found.cols()}) + ", expected [" + rows +
                                        ", " + std::to_string(cols) + "]");
}

std::size_t count_ids(std::span<const SequenceRows> batch) {
  std::size_t count = 0;
  for (const SequenceRows& s : batch) count += s.ids.size();
  return count;
}

/// Tokens of a batch, some at a time, in order.
class TokenFeed {
 public:
  /// They are put into `rows`, up to kChunk at a time or, `whole`, as many sequences as kChunk holds, but at least one.
  TokenFeed(std::span<const SequenceRows> batch, bool whole, std::vector<TokenRow>& rows)
      : batch_(batch), whole_(whole), rows_(rows) {}

  /// False at the end.
  bool next() {
    rows_.clear();
    while (sequence_ < batch_.size() && has_room()) {
      const SequenceRows& s = batch_[sequence_];
      const std::size_t before = s.cache->length();
      rows_.push_back({s.ids[at_], s.types.empty() ? 0 : s.types[at_], before + at_, before + s.ids.size(), s.cache});
      if (++at_ < s.ids.size()) continue;
      at_ = 0;
      ++sequence_;
    }
    return !rows_.empty();
  }
  [[nodiscard]] std::size_t rows() const noexcept { return rows_.size(); }
  /// Whether this row of the ones at hand is its sequence's last.
  [[nodiscard]] bool is_last(std::size_t row) const { return rows_[row].position + 1 == rows_[row].end; }

 private:
  [[nodiscard]] bool has_room() const {
    if (!whole_) return rows_.size() < kChunk;
    return at_ != 0 || rows_.empty() || rows_.size() + batch_[sequence_].ids.size() <= kChunk;
  }

  std::span<const SequenceRows> batch_;
  const bool whole_;
  std::vector<TokenRow>& rows_;
  std::size_t sequence_ = 0, at_ = 0;
};

/// An error unless all are from 0 up to `end`.
Status check_numbers(std::span<const std::int32_t> numbers, std::size_t end, const char* what, const char* expected) {
  for (std::size_t i = 0; i < numbers.size(); ++i)
    if (numbers[i] < 0 || static_cast<std::size_t>(numbers[i]) >= end)
      return fail(ErrorCode::usage, what + std::to_string(i) + " is " + std::to_string(numbers[i]) + ", expected " +
                                        expected + " from 0 to " + std::to_string(end - 1));
  return {};
}

Status check_types(const SequenceRows& s, const ModelConfig& config) {
  if (s.types.empty()) return {};
  if (config.types == 0) return fail(ErrorCode::usage, "the model has no types of tokens");
  if (s.types.size() != s.ids.size())
    return fail(ErrorCode::usage, std::to_string(s.types.size()) + " types of " + std::to_string(s.ids.size()) +
                                      " tokens, expected one for each");
  return check_numbers(s.types, config.types, "the type of token ", "a type");
}

/// What holds of its tokens and of a source's.
Status check_tokens(const SequenceRows& s, const ModelConfig& config) {
  if (s.ids.empty()) return fail(ErrorCode::usage, "no token ids; expected at least one");
  if (s.cache == nullptr || !s.cache->fits(config))
    return fail(ErrorCode::usage, "the cache was made for a model of another shape");
  if (Status ok = check_numbers(s.ids, config.vocabulary, "token ", "an id"); !ok) return ok;
  return check_types(s, config);
}

Status check_sequence(const SequenceRows& s, const ModelConfig& config) {
  if (Status ok = check_tokens(s, config); !ok) return ok;
  if (!config.encoder.empty() && s.cache->source_length() == 0)
    return fail(ErrorCode::usage, "the model reads a source, but the cache holds none; encode() it first");
  const std::size_t length = s.cache->length();
  const auto too_many = [&](const std::string& room) {
    return fail(ErrorCode::limit,
                std::to_string(length) + " + " + std::to_string(s.ids.size()) + " tokens, but " + room);
  };
  if (s.ids.size() > s.cache->capacity() - length)
    return too_many("the cache has room for " + std::to_string(s.cache->capacity()));
  if (config.position_limit != 0 && length + s.ids.size() > config.position_limit)
    return too_many("the model has " + std::to_string(config.position_limit) + " positions");
  return {};
}

Status run_blocks(const std::vector<Block>& blocks, StepRunner& runner) {
  for (const Block& block : blocks)
    if (Status ok = runner.run(block.steps); !ok) return ok;
  return {};
}

/// No cache may be given to two sequences.
Status check_distinct(std::span<const SequenceRows> batch) {
  for (std::size_t i = 0; i < batch.size(); ++i)
    for (std::size_t j = 0; j < i; ++j)
      if (batch[j].cache == batch[i].cache) return fail(ErrorCode::usage, "one cache is given to two sequences");
  return {};
}

/// The length of sequences that come whole is known.
void set_contexts(const ModelConfig& config, std::span<const SequenceRows> batch) {
  for (const SequenceRows& s : batch) s.cache->set_context(config, s.ids.size());
}

/// Runs a batch through stem and blocks, some tokens at a time; `take(first, runner, feed)` then has their rows.
template <class Take>
Status run_batch(const ModelConfig& config, std::span<const SequenceRows> batch, TokenFeed feed, StepRunner& runner,
                 const Take& take) {
  for (std::size_t first = 0; feed.next(); first += feed.rows()) {
    runner.start_tokens();
    if (Status ok = runner.run(config.stem); !ok) return ok;
    if (Status ok = run_blocks(config.blocks, runner); !ok) return ok;
    if (Status ok = take(first, feed.rows(), feed); !ok) return ok;
  }
  for (const SequenceRows& s : batch) s.cache->advance(s.ids.size());
  return {};
}

/// Moves the last row of every sequence to the front; how many there are.
std::size_t keep_last_rows(MatrixView<float> rows, const TokenFeed& feed) {
  std::size_t kept = 0;
  for (std::size_t r = 0; r < rows.rows(); ++r)
    if (feed.is_last(r)) std::ranges::copy(rows.row(r), rows.row(kept++).begin());
  return kept;
}

}  // namespace

Status check_predicts_next(const ModelConfig& config) {
  if (!is_bidirectional(config) && config.encoder.empty()) return {};
  const std::string what = "a " + std::string(config.family->model_type) + " model ";
  return fail(ErrorCode::unsupported,
              what + (config.encoder.empty() ? "sees all tokens of a sequence; it predicts no next one"
                                             : "predicts tokens from a source beside those before"));
}

Status Model::check_batch(std::span<const SequenceRows> batch) const {
  if (batch.empty()) return fail(ErrorCode::usage, "no sequences; expected at least one");
  for (std::size_t i = 0; i < batch.size(); ++i) {
    if (Status ok = check_sequence(batch[i], config_); !ok) return ok;
    if (plan_->is_bidirectional && batch[i].cache->length() != 0)
      return fail(ErrorCode::usage, "attention looks both ways, so a sequence comes whole, but the cache holds " +
                                        std::to_string(batch[i].cache->length()) + " tokens already; clear() it");
  }
  return check_distinct(batch);
}

Status Model::check_sources(std::span<const SequenceRows> batch) const {
  if (config_.encoder.empty()) return fail(ErrorCode::unsupported, "the model reads no source that could be encoded");
  if (batch.empty()) return fail(ErrorCode::usage, "no sources; expected at least one");
  for (const SequenceRows& s : batch) {
    if (Status ok = check_tokens(s, config_); !ok) return ok;
    if (s.cache->length() != 0)
      return fail(ErrorCode::usage, "the cache holds tokens that saw another source; clear() it");
    if (s.ids.size() > s.cache->source_capacity())
      return fail(ErrorCode::limit, "a source of " + std::to_string(s.ids.size()) +
                                        " tokens, but the cache has room for " +
                                        std::to_string(s.cache->source_capacity()));
  }
  return check_distinct(batch);
}

Status Model::check_head() const {
  if (!config_.head.empty()) return {};
  return fail(ErrorCode::unsupported,
              "the model has no head that makes logits; hidden_states() gives what it computes");
}

Status Model::forward(std::span<const SequenceRows> batch, MatrixView<float> logits, Workspace& work,
                      const Context& context, LayerTap* tap) const {
  return guarded([&]() -> Status {
    if (Status ok = check_head(); !ok) return ok;
    if (Status ok = check_batch(batch); !ok) return ok;
    const std::size_t count = count_ids(batch);
    if (logits.cols() != config_.vocabulary || (logits.rows() != batch.size() && logits.rows() != count))
      return bad_shape("logits", logits,
                       (batch.size() == count ? "" : std::to_string(batch.size()) + " or ") + std::to_string(count),
                       config_.vocabulary);
    if (Status ok = work.reserve_for(*this, batch, plan_->is_bidirectional); !ok) return ok;
    if (plan_->is_bidirectional) set_contexts(config_, batch);
    StepRunner runner(*this, *work.state_, context, tap);
    std::size_t done = 0;
    const TokenFeed tokens(batch, plan_->is_bidirectional, work.state_->tokens);
    return run_batch(config_, batch, tokens, runner,
                     [&](std::size_t, std::size_t rows, const TokenFeed& feed) -> Status {
                       if (logits.rows() != count) rows = keep_last_rows(runner.view(config_.carried), feed);
                       if (rows == 0) return {};
                       runner.set_rows(rows);
                       if (Status ok = runner.run(config_.tail); !ok) return ok;
                       runner.bind(config_.logits, logits.rows(done, rows));
                       done += rows;
                       return runner.run(config_.head);
                     });
  });
}

Status Model::forward(std::span<const std::int32_t> ids, KvCache& cache, MatrixView<float> logits,
                      const Context& context) const {
  Workspace work;
  return forward(std::array{SequenceRows{ids, &cache}}, logits, work, context);
}

Status Model::hidden_states(std::span<const SequenceRows> batch, MatrixView<float> states, Workspace& work,
                            const Context& context, LayerTap* tap) const {
  return guarded([&]() -> Status {
    if (Status ok = check_batch(batch); !ok) return ok;
    const std::size_t count = count_ids(batch);
    if (states.rows() != count || states.cols() != config_.hidden)
      return bad_shape("states", states, std::to_string(count), config_.hidden);
    if (Status ok = work.reserve_for(*this, batch, plan_->is_bidirectional); !ok) return ok;
    if (plan_->is_bidirectional) set_contexts(config_, batch);
    StepRunner runner(*this, *work.state_, context, tap);
    const TokenFeed tokens(batch, plan_->is_bidirectional, work.state_->tokens);
    return run_batch(config_, batch, tokens, runner,
                     [&](std::size_t first, std::size_t rows, const TokenFeed&) -> Status {
                       if (Status ok = runner.run(config_.tail); !ok) return ok;
                       const MatrixView<float> computed = runner.view(config_.states);
                       for (std::size_t r = 0; r < rows; ++r)
                         std::ranges::copy(computed.row(r), states.row(first + r).begin());
                       return {};
                     });
  });
}

Status Model::hidden_states(std::span<const std::int32_t> ids, KvCache& cache, MatrixView<float> states,
                            const Context& context) const {
  Workspace work;
  return hidden_states(std::array{SequenceRows{ids, &cache}}, states, work, context);
}

Status Model::encode(std::span<const SequenceRows> batch, Workspace& work, const Context& context,
                     LayerTap* tap) const {
  return guarded([&]() -> Status {
    if (Status ok = check_sources(batch); !ok) return ok;
    if (Status ok = work.reserve_for(*this, batch, true); !ok) return ok;
    for (const SequenceRows& s : batch) s.cache->set_source(0);
    StepRunner runner(*this, *work.state_, context, tap);
    for (TokenFeed feed(batch, true, work.state_->tokens); feed.next();) {
      runner.start_tokens();
      if (Status ok = run_blocks(config_.encoder, runner); !ok) return ok;
    }
    for (const SequenceRows& s : batch) s.cache->set_source(s.ids.size());
    return {};
  });
}

Status Model::encode(std::span<const std::int32_t> ids, KvCache& cache, const Context& context) const {
  Workspace work;
  return encode(std::array{SequenceRows{ids, &cache}}, work, context);
}

Status Model::logits_of(MatrixView<const float> states, MatrixView<float> logits, Workspace& work,
                        const Context& context) const {
  return guarded([&]() -> Status {
    if (Status ok = check_head(); !ok) return ok;
    if (states.cols() != config_.hidden)
      return bad_shape("states", states, std::to_string(states.rows()), config_.hidden);
    if (logits.rows() != states.rows() || logits.cols() != config_.vocabulary)
      return bad_shape("logits", logits, std::to_string(states.rows()), config_.vocabulary);
    return run_rows(config_.head, config_.logits, states, logits, work, context);
  });
}

Status Model::run_rows(const std::vector<Step>& steps, BufferId target, MatrixView<const float> states,
                       MatrixView<float> out, Workspace& work, const Context& context) const {
  if (Status ok = work.reserve(*this, std::min(states.rows(), kChunk), 1); !ok) return ok;
  StepRunner runner(*this, *work.state_, context, nullptr);
  for (std::size_t first = 0; first < states.rows(); first += kChunk) {
    const std::size_t rows = std::min(kChunk, states.rows() - first);
    runner.set_rows(rows);
    const MatrixView<float> own = runner.view(config_.states);
    for (std::size_t r = 0; r < rows; ++r) std::ranges::copy(states.row(first + r), own.row(r).begin());
    runner.bind(target, out.rows(first, rows));
    if (Status ok = runner.run(steps); !ok) return ok;
  }
  return {};
}

Status Model::pooled_of(MatrixView<const float> states, MatrixView<float> pooled, const Context& context) const {
  return guarded([&]() -> Status {
    if (config_.pooler.empty()) return fail(ErrorCode::unsupported, "the model has no pooler");
    for (const auto& [name, rows] : {std::pair{"states", states}, {"pooled", MatrixView<const float>(pooled)}})
      if (rows.cols() != config_.hidden || rows.rows() != states.rows())
        return bad_shape(name, rows, std::to_string(states.rows()), config_.hidden);
    Workspace work;
    return run_rows(config_.pooler, config_.pooled, states, pooled, work, context);
  });
}

Status Model::logits_of(MatrixView<const float> states, MatrixView<float> logits, const Context& context) const {
  Workspace work;
  return logits_of(states, logits, work, context);
}

Status Model::replace(TensorId weight, Linear layer) {
  if (weight >= tensors_.size() || !config_.tensors[weight].is_matrix())
    return fail(ErrorCode::usage, "tensor " + std::to_string(weight) + " is no matrix of the model");
  Linear& old = tensors_[weight].linear;
  if (layer.out_features() != old.out_features() || layer.in_features() != old.in_features())
    return fail(ErrorCode::bad_shape,
                "a layer " + io::shape_text(std::array{layer.out_features(), layer.in_features()}) + " in place of " +
                    io::shape_text(std::array{old.out_features(), old.in_features()}));
  old = std::move(layer);
  return {};
}

}  // namespace kvant::nn
