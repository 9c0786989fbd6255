// SPDX-License-Identifier: Apache-2.0
#include "buffer_plan.hpp"

#include <algorithm>
#include <numeric>
#include <variant>

namespace kvant::nn {
namespace {

/// What a step reads and writes; a part of a buffer counts as read where it is written, since the rest stays.
struct Uses {
  void operator()(const Embed& s) { write(s.out); }
  void operator()(const Norm& s) { read(s.in), put(s.in, s.out); }
  void operator()(const Multiply& s) { read(s.in), s.accumulate ? change(s.out.buffer) : write(s.out.buffer); }
  void operator()(const Rotate& s) { change(s.heads.buffer); }
  void operator()(const Attend& s) { read(s.q), read(s.k), read(s.v), write(s.out.buffer); }
  void operator()(const StoreSource& s) { read(s.k), read(s.v); }
  void operator()(const AttendSource& s) { read(s.q), write(s.out.buffer); }
  void operator()(const Activate& s) { change(s.x.buffer); }
  void operator()(const Gate& s) { read(s.by), change(s.x.buffer); }
  void operator()(const Add& s) { read(s.by), change(s.x.buffer); }
  void operator()(const Copy& s) { read(s.in), write(s.out.buffer); }
  void operator()(const Scale& s) { change(s.x.buffer); }
  void operator()(const Softcap& s) { change(s.x.buffer); }
  void operator()(const Clamp& s) { change(s.x.buffer); }
  void operator()(const Experts& s) {
    all.push_back({s.in, true});
    all.push_back({s.scores, true});
    write(s.out);
  }

  void read(const Slice& s) { all.push_back({s.buffer, true}); }
  void write(BufferId b) { all.push_back({b, false}); }
  void change(BufferId b) { all.push_back({b, true}); }
  void put(const Slice& in, const Slice& out) { in.buffer == out.buffer ? change(out.buffer) : write(out.buffer); }

  std::vector<BufferUse> all;
};

struct Life {
  std::size_t first = 0, last = 0;
  bool is_used = false;
};

/// Mentions of one list, experts' steps in their place.
class Lives {
 public:
  Lives(const ModelConfig& config, std::vector<bool>& always) : always_(always), lives_(config.buffers.size()) {}

  void add(const ModelConfig& config, const std::vector<Step>& steps) {
    for (const Step& step : steps) {
      ++now_;
      for (const BufferUse& use : uses_of(step)) mention(use);
      const auto* experts = std::get_if<Experts>(&step);
      if (experts == nullptr) continue;
      mention({experts->expert_in, false});
      add(config, config.expert_steps[experts->steps]);
      ++now_;
      for (const BufferId b : {experts->in, experts->out, experts->expert_in, experts->expert_out}) mention({b, true});
    }
  }

  [[nodiscard]] bool overlap(std::size_t a, std::size_t b) const {
    const Life& x = lives_[a];
    const Life& y = lives_[b];
    return x.is_used && y.is_used && x.first <= y.last && y.first <= x.last;
  }

 private:
  void mention(const BufferUse& use) {
    Life& life = lives_[use.buffer];
    if (!life.is_used && use.reads) always_[use.buffer] = true;
    if (!life.is_used) life = {now_, now_, true};
    life.last = now_;
  }

  std::vector<bool>& always_;
  std::vector<Life> lives_;
  std::size_t now_ = 0;
};

}  // namespace

std::vector<BufferUse> uses_of(const Step& step) {
  Uses uses;
  std::visit(uses, step);
  return std::move(uses.all);
}

std::vector<const std::vector<Step>*> lists_of(const ModelConfig& config) {
  std::vector<const std::vector<Step>*> lists;
  for (const Block& block : config.encoder) lists.push_back(&block.steps);
  lists.push_back(&config.stem);
  for (const Block& block : config.blocks) lists.push_back(&block.steps);
  lists.insert(lists.end(), {&config.tail, &config.head, &config.pooler});
  return lists;
}

BufferPlan plan_buffers(const ModelConfig& config) {
  const std::size_t count = config.buffers.size();
  std::vector<bool> always(count);
  always[config.carried] = always[config.states] = true;
  std::vector<Lives> lists;
  for (const std::vector<Step>* steps : lists_of(config)) {
    lists.emplace_back(config, always);
    lists.back().add(config, *steps);
  }
  const auto conflict = [&](std::size_t a, std::size_t b) {
    return always[a] || always[b] || std::ranges::any_of(lists, [&](const Lives& l) { return l.overlap(a, b); });
  };
  std::vector<std::size_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return config.buffers[a].width > config.buffers[b].width; });
  BufferPlan plan;
  plan.slot_of.resize(count);
  std::vector<std::vector<std::size_t>> members;
  for (const std::size_t b : order) {
    if (b == config.logits) continue;  // the caller's
    std::size_t slot = 0;
    while (slot < members.size() && std::ranges::any_of(members[slot], [&](std::size_t m) { return conflict(b, m); }))
      ++slot;
    if (slot == members.size()) {
      members.emplace_back();
      plan.widths.push_back(config.buffers[b].width);
    }
    members[slot].push_back(b);
    plan.slot_of[b] = slot;
  }
  return plan;
}

}  // namespace kvant::nn
